//! `miroir-ctl man`: the manual, a page for every command.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;

use crate::cli::{Cli, Output};
use crate::failure::Failure;
use crate::output::{self, Report, printable};

/// The command: all pages into a directory, which is made if need be; without one the first page, to be read.
pub fn run(directory: Option<&Path>, output: Output) -> Result<Report, Failure> {
    let Some(directory) = directory else {
        return first_page().map(Report::good).map_err(|error| Failure::Refused(error.to_string()));
    };
    let name = directory.display().to_string();
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| Failure::Refused(format!("{name}: {error}")))?;
    Ok(Report::good(match output {
        Output::Json => output::json(&json!({ "directory": name })),
        Output::Table => format!("the pages of the manual are in {}\n", printable(&name)),
    }))
}

fn first_page() -> io::Result<String> {
    let mut page = Vec::new();
    Man::new(Cli::command()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    /// The names of the pages of a command and of all below it, and what each command is called.
    fn pages(command: &Command, before: &str) -> Vec<(String, String)> {
        let name = format!("{before}{}", command.get_name());
        let below = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut pages: Vec<_> = below.flat_map(|command| pages(command, &format!("{name}-"))).collect();
        pages.push((format!("{name}.1"), command.get_name().to_owned()));
        pages
    }

    #[test]
    fn every_command_has_a_page() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let made = directory.path().join("man1");
        run(Some(&made), Output::Table)?;
        let pages = pages(&Cli::command(), "");
        assert!(pages.iter().any(|(page, _)| page == "miroir-ctl-node-remove.1"), "{pages:?}");
        for (page, command) in &pages {
            let text = std::fs::read_to_string(made.join(page)).map_err(|error| format!("{page}: {error}"))?;
            assert!(text.contains(".SH SYNOPSIS") && text.contains(&command.replace('-', "\\-")), "{page}: {text}");
        }
        assert_eq!(std::fs::read_dir(&made)?.count(), pages.len());
        Ok(())
    }
}

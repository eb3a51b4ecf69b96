//! `miroir-ctl completions`: what a shell has to know to complete a command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output::Report;

/// The command.
pub fn run(shell: Shell) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "miroir-ctl", &mut script);
    Report::good(String::from_utf8_lossy(&script).into_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Command, ValueEnum};

    use super::*;

    /// The words of all commands below this one.
    fn words(command: &Command) -> Vec<String> {
        let below = command.get_subcommands().filter(|command| !command.is_hide_set());
        below.flat_map(|command| [vec![command.get_name().to_owned()], words(command)].concat()).collect()
    }

    #[test]
    fn every_shell_learns_every_command_and_option() {
        let words = words(&Cli::command());
        assert!(words.len() > 30 && words.contains(&"undrain".into()), "{words:?}");
        for shell in Shell::value_variants() {
            let script = run(*shell).text;
            let known: Vec<&str> = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
            for word in &words {
                assert!(known.contains(&word.as_str()), "{shell}: {word}");
            }
            assert!(script.contains("accept-data-loss") && script.contains("ca-file"), "{shell}");
        }
    }
}

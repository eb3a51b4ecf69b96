//! `miroir-ctl`: the operator's command line, an ordinary client of the admin API.

mod cli;
mod client;
mod commands;
mod confirm;
mod credentials;
mod failure;
mod output;
mod target;
mod tls;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(&cli) {
        Ok(report) => {
            // A reader that has seen enough closes the pipe: that is no failure of the command.
            let printed = io::stdout().lock().write_all(report.text.as_bytes());
            match printed {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(failure::FAILED),
                Ok(()) | Err(_) if report.good => ExitCode::SUCCESS,
                Ok(()) | Err(_) => ExitCode::from(failure::FAILED),
            }
        }
        Err(failure) => {
            // Nothing is left to tell when standard error is closed as well.
            let _ = writeln!(io::stderr().lock(), "miroir-ctl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

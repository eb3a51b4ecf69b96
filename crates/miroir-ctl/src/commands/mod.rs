//! One file per command: its arguments, one question, its printing.

pub mod completions;
pub mod config;
pub mod group;
pub mod jobs;
pub mod leases;
pub mod man;
pub mod node;
pub mod peers;
pub mod progress;
pub mod rebalance;
pub mod settings;
pub mod stale;
pub mod status;
pub mod task;
pub mod topology;
pub mod verify;
pub mod watch;

use crate::cli::{Cli, Command, ConfigCommand, SettingsCommand, TaskCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Report;

/// Do what was typed.
pub fn run(cli: &Cli) -> Result<Report, Failure> {
    let output = cli.common.output;
    let client = || Client::new(&cli.common);
    match &cli.command {
        Command::Status => status::run(&client()?, output),
        Command::Topology => topology::run(&client()?, output),
        Command::Peers => peers::run(&client()?, output),
        Command::Leases => leases::run(&client()?, output),
        Command::Stale { command } => stale::run(&client()?, command.as_ref(), output),
        Command::Verify { index, deep } => verify::run(&client()?, index.as_deref(), *deep, output),
        Command::Jobs => jobs::run(&client()?, output),
        Command::Node(command) => node::run(&client()?, command, output),
        Command::Group(command) => group::run(&client()?, command, output),
        Command::Rebalance(command) => rebalance::run(&client()?, command, output),
        Command::Settings(SettingsCommand::Status { uid }) => settings::status(&client()?, uid, output),
        Command::Settings(SettingsCommand::Repair { uid }) => settings::repair(&client()?, uid, output),
        Command::Task(TaskCommand::Show { uid }) => task::show(&client()?, *uid, output),
        Command::Config(ConfigCommand::Check { file, overrides }) => config::check(file, overrides, output),
        Command::Completions { shell } => Ok(completions::run(*shell)),
        Command::Man { directory } => man::run(directory.as_deref(), output),
    }
}

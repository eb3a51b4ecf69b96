//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{config, settings, task};

/// Looks at and operates a Miroir cluster.
///
/// The admin key is taken from MIROIR_ADMIN_API_KEY, else from ~/.config/miroir/credentials
/// (`admin_key = "..."`), else from --admin-key.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable.
#[derive(Debug, Parser)]
#[command(name = "miroir-ctl", version)]
pub struct Cli {
    /// How to reach Miroir, and how to print.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Where Miroir listens.
    #[arg(long, global = true, env = "MIROIR_URL", default_value = "http://127.0.0.1:7700")]
    pub url: String,
    /// The admin key, when neither the environment nor the credentials file has one.
    #[arg(long, global = true, value_name = "KEY", hide_env_values = true)]
    pub admin_key: Option<String>,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Is Miroir ready, and are all replicas in use? Exits with 1 when it is not ready.
    Status,
    /// The nodes, their states and what they hold.
    Topology,
    /// Replicas that missed something, and how far their healing is.
    Stale,
    /// The instances of Miroir that are alive, and the epoch of the topology that each acts on.
    Peers,
    /// Which instance leads what, and until when.
    Leases,
    /// Queued work: what is done, by whom, and what went wrong.
    Jobs,
    /// Settings of an index on its nodes.
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Tasks.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Commands about settings.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// How a change of settings stands, and what each node holds. Exits with 1 when the index takes no documents.
    Status {
        /// The index.
        #[arg(value_parser = settings::parse_uid)]
        uid: String,
    },
    /// Bring nodes that are behind to the committed settings. Exits with 1 when one could not be.
    Repair {
        /// The index.
        #[arg(value_parser = settings::parse_uid)]
        uid: String,
    },
}

/// Commands about tasks.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// One task and the node tasks it stands for.
    Show {
        /// `12` or `mtask-00012`.
        #[arg(value_parser = task::parse_uid)]
        uid: u64,
    },
}

/// Commands about configuration files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Would Miroir start with this file, in this environment?
    Check {
        /// The YAML file.
        file: PathBuf,
        /// A setting over the file and the environment, as in `--set shards=16`; may be repeated.
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = config::parse_override)]
        overrides: Vec<(String, String)>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

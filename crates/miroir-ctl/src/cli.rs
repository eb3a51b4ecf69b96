//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::commands::{config, group, node, settings, task};

/// Looks at and operates a Miroir cluster.
///
/// The admin key is taken from the profile that is chosen, else from MIROIR_ADMIN_API_KEY, else from the credentials file
/// (`admin_key = "..."`), else from --admin-key.
///
/// The credentials file is ~/.config/miroir/credentials, or miroir/credentials below XDG_CONFIG_HOME. A table
/// [profile.NAME] has a `url` and, if need be, an `admin_key` or an `admin_key_file`, and a `ca_file`.
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
    /// Where Miroir listens; else what the profile says, else MIROIR_URL, else http://127.0.0.1:7700.
    #[arg(long, global = true)]
    pub url: Option<String>,
    /// The cluster that is meant: a table [profile.NAME] of the credentials file; else MIROIR_PROFILE.
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Certificates in PEM format: an https server has to have one that they vouch for. Left out: those of the system.
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The admin key, when neither the profile, the environment nor the credentials file has one.
    #[arg(long, global = true, value_name = "KEY")]
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
    Stale {
        /// What to do about them; left out: list them.
        #[command(subcommand)]
        command: Option<StaleCommand>,
    },
    /// The instances of Miroir that are alive, and the epoch of the topology that each acts on.
    Peers,
    /// Which instance leads what, and until when.
    Leases,
    /// Have all replicas compared, and what differs repaired. Exits with 1 when some differ still.
    ///
    /// Repairs are made unless `anti_entropy.auto_repair` is false. Without --deep, ids and times of the last write are
    /// compared, not what documents contain.
    Verify {
        /// Only this index.
        #[arg(value_parser = settings::parse_uid)]
        index: Option<String>,
        /// Compare what documents contain, too.
        #[arg(long)]
        deep: bool,
    },
    /// Queued work: what is done, by whom, and what went wrong.
    Jobs,
    /// The nodes of the cluster: which there are, and who joins and leaves.
    ///
    /// A change begins at once and goes on by itself, whatever becomes of this command: follow it with --wait or with
    /// `miroir-ctl rebalance status --watch`. There is one change at a time. Clients read and write as before while
    /// shards are copied.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Replica groups: pools of nodes that hold all shards each.
    #[command(subcommand)]
    Group(GroupCommand),
    /// The change of the cluster that is under way.
    #[command(subcommand)]
    Rebalance(RebalanceCommand),
    /// Settings of an index on its nodes.
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Tasks.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print what a shell has to know to complete the command line.
    ///
    /// For bash: miroir-ctl completions bash > ~/.local/share/bash-completion/completions/miroir-ctl
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual: a page for every command, into a directory. Left out: print the first page.
    ///
    /// For all users: miroir-ctl man /usr/local/share/man/man1
    Man {
        /// The directory; it is made if need be.
        directory: Option<PathBuf>,
    },
}

/// Whether to wait for a change of the cluster.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Show how far the change has come until it has ended. Exits with 1 when it was canceled.
    #[arg(long)]
    pub wait: bool,
}

/// Whether to ask before what cannot be taken back.
#[derive(Clone, Copy, Debug, Args)]
pub struct Sure {
    /// Do not ask whether it is meant. Where standard input or standard error is no terminal, nobody is asked anyway.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Commands about stale replicas.
#[derive(Debug, Subcommand)]
pub enum StaleCommand {
    /// The last resort where every fresh replica is gone for good: take the stale ones of a node for fresh.
    ///
    /// Whatever they lack is lost: writes that were acknowledged, and that only nodes hold which cannot be reached. When
    /// one of those comes back it is made equal to what was promoted. Refused for each shard with a fresh replica on a node
    /// that answers; it is healed from there.
    Promote {
        /// The node.
        #[arg(value_parser = node::parse_id)]
        node: String,
        /// Only this index.
        #[arg(long, value_parser = settings::parse_uid)]
        index: Option<String>,
        /// Only this shard of the index; repeat for more.
        #[arg(long = "shard", value_name = "NUMBER", requires = "index")]
        shards: Vec<u32>,
        /// Has to be given: what the replicas lack is lost.
        #[arg(long, required = true)]
        accept_data_loss: bool,
    },
}

/// Commands about nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// The nodes, their groups and states, and how many shard replicas each holds.
    List,
    /// Let a node join a replica group; it takes its share of the shards from the other nodes of the group.
    ///
    /// The node has to run Meilisearch with the key that all nodes have (`node_master_key`), and must not hold indexes of
    /// the names of the cluster's. Name it in the configuration of every instance as well, when it has joined.
    Add {
        /// A name of your choice: letters, digits, `-`, `_` and `.`.
        #[arg(value_parser = node::parse_id)]
        id: String,
        /// Where it listens, as in http://10.0.0.8:7700.
        address: String,
        /// The replica group; may be left out when there is one group alone.
        #[arg(long, value_name = "NUMBER")]
        group: Option<u32>,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Move all shards of a node to the other nodes of its group. It stays a member that holds nothing.
    ///
    /// Refused when nobody else of its group could hold them.
    Drain {
        /// The node.
        #[arg(value_parser = node::parse_id)]
        id: String,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Let a drained node take its share of the shards again.
    Undrain {
        /// The node.
        #[arg(value_parser = node::parse_id)]
        id: String,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Move all shards of a node to the others of its group, and let it be a member no longer.
    ///
    /// A node that is gone for good is removed alike: what it held is copied from other replicas. Take it out of the
    /// configuration of every instance when it has left. Somebody at a terminal is asked first.
    Remove {
        /// The node.
        #[arg(value_parser = node::parse_id)]
        id: String,
        /// Whether to ask first.
        #[command(flatten)]
        sure: Sure,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
}

/// Commands about replica groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Add a replica group. Its nodes are filled from the other groups; reads use it once it holds everything.
    Add {
        /// Its number; left out: the next one.
        group: Option<u32>,
        /// A node of it; repeat for more.
        #[arg(long = "node", value_name = "ID=ADDRESS", required = true, value_parser = group::parse_node)]
        nodes: Vec<(String, String)>,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove a replica group and all of its nodes. The last one cannot be. Somebody at a terminal is asked first.
    Remove {
        /// Its number.
        group: u32,
        /// Whether to ask first.
        #[command(flatten)]
        sure: Sure,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
}

/// Commands about the change that is under way.
#[derive(Debug, Subcommand)]
pub enum RebalanceCommand {
    /// Give every node its share of the shards, where a change that was canceled has left them uneven.
    Start {
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// How far the change has come that is under way, what it waits for, and how the last one ended.
    Status {
        /// Show it until it has ended. Exits with 1 when it was canceled.
        #[arg(long)]
        watch: bool,
    },
    /// Begin no more copies, and switch to none. What was begun is finished.
    Pause,
    /// Go on with what was paused.
    Resume,
    /// Give up what has not been switched to. What has been stays where it is.
    Cancel {
        /// Show it until it has ended.
        #[arg(long)]
        wait: bool,
    },
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
    /// Bring lagging nodes to the committed settings. Exits with 1 when one could not be.
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

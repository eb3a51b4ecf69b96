//! `miroir-devnode`: Meilisearch-compatible nodes on consecutive ports, for development and demos.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use miroir_devnode::{Node, NodeOptions};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs Meilisearch-compatible nodes for development and demos.
///
/// Each node listens on its own port, keeps its data in its own directory and runs the real search engine. Data and
/// accepted writes survive a restart. Stop with Ctrl-C.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many nodes to run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// The first node's port; the others take the ports after it. 0 lets the system choose.
    #[arg(long, default_value_t = 7701)]
    port: u16,

    /// Where the nodes keep their data, each in a directory `node-1`, `node-2`, and so on.
    #[arg(long, value_name = "DIR", default_value = "./devnode-data")]
    data: PathBuf,

    /// The key that requests must carry as `Authorization: Bearer KEY`. Without it the nodes are open to everyone.
    #[arg(long, value_name = "KEY", env = "MEILI_MASTER_KEY", hide_env_values = true)]
    master_key: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stopped = runtime.block_on(async { stop_signal() })?;
    let mut nodes = Vec::new();
    for number in 0..arguments.nodes {
        let port = match arguments.port {
            0 => 0,
            first => first.checked_add(number).context("the ports would exceed 65535")?,
        };
        let data_dir = arguments.data.join(format!("node-{}", number + 1));
        let bind = SocketAddr::new(arguments.host, port);
        let master_key = arguments.master_key.clone();
        let node = Node::start(NodeOptions { data_dir: data_dir.clone(), bind, master_key })
            .with_context(|| format!("could not start node {}", number + 1))?;
        println!("node-{} http://{} {}", number + 1, node.address(), data_dir.display());
        nodes.push(node);
    }
    runtime.block_on(stopped);
    for node in nodes {
        node.stop();
    }
    Ok(())
}

/// Resolves once the process is asked to stop.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

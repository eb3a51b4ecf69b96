//! `miroir-ctl peers`: the instances that are alive, and the epoch that each acts on.

use miroir_api::{Peer, Peers};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Report, json, table};

/// The command.
pub fn run(client: &Client, output: Output) -> Result<Report, Failure> {
    let value: Value = client.get("/peers")?;
    let peers = Peers::deserialize(&value).map_err(|error| client.misshapen("the peers", &error))?;
    Ok(Report::good(match output {
        Output::Json => json(&value),
        Output::Table => print(&peers),
    }))
}

fn print(peers: &Peers) -> String {
    let row = |peer: &Peer| {
        let asked = if peer.own { "answers this" } else { "" };
        let cells = [&peer.id, &peer.address, &peer.epoch.to_string(), &peer.version, &peer.since, asked];
        cells.map(|cell| cell.to_string()).to_vec()
    };
    let rows: Vec<Vec<String>> = peers.peers.iter().map(row).collect();
    table(&["id", "listens on", "epoch", "version", "since", ""], &rows, "No instances.")
}

//! A cluster: nodes, and one orchestrator in front of them.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::config::{self, ADMIN_KEY, CLIENT_KEY};
use crate::node::{NODE_KEY, Node, START_BOUND, Scratch};
use crate::process::Process;
use crate::{binaries, ports, wait};

/// How a cluster is to be laid out.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    nodes: usize,
    groups: usize,
    replication_factor: usize,
    shards: usize,
    overrides: Vec<(String, Value)>,
}

impl ClusterBuilder {
    /// Nodes altogether, spread evenly over the groups.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Replica groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Replicas of a shard in each group.
    #[must_use]
    pub fn rf(mut self, replicas: usize) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// Shards of a new index.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// What a read does without a shard: `partial` or `error`.
    #[must_use]
    pub fn policy(self, policy: &str) -> Self {
        self.set("scatter.unavailable_shard_policy", json!(policy))
    }

    /// Any other setting, by its dotted path.
    #[must_use]
    pub fn set(mut self, path: &str, value: Value) -> Self {
        self.overrides.push((path.to_owned(), value));
        self
    }

    /// Starts everything and waits until the cluster is ready.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(self) -> Cluster {
        let scratch = Scratch::new().unwrap_or_else(|error| panic!("{error:#}"));
        let nodes: Vec<Node> = (0..self.nodes).map(|i| Node::start(&format!("node-{i}"), scratch.path())).collect();
        for node in &nodes {
            node.client().healthy(START_BOUND);
        }
        let mut cluster = Cluster {
            proxy: None,
            nodes,
            port: ports::free(),
            metrics_port: ports::free(),
            config: scratch.path().join("miroir.yaml"),
            layout: self,
            scratch,
        };
        cluster.write_config();
        cluster.start_proxy();
        cluster.wait_ready();
        cluster
    }
}

/// A running cluster. Dropped: everything is killed and removed.
#[derive(Debug)]
pub struct Cluster {
    proxy: Option<Process>,
    nodes: Vec<Node>,
    port: u16,
    metrics_port: u16,
    config: PathBuf,
    layout: ClusterBuilder,
    // Last, so that the processes are gone before their files.
    scratch: Scratch,
}

impl Cluster {
    /// Three nodes, one group, two replicas, 16 shards, unless said otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder { nodes: 3, groups: 1, replication_factor: 2, shards: 16, overrides: Vec::new() }
    }

    fn write_config(&self) {
        let layout = &self.layout;
        let store = self.scratch.path().join("miroir.db");
        let mut file = config::base(self.port, self.metrics_port, &store.to_string_lossy(), NODE_KEY);
        file["shards"] = json!(layout.shards);
        file["replication_factor"] = json!(layout.replication_factor);
        file["replica_groups"] = json!(layout.groups);
        let member = |(i, node): (usize, &Node)| json!({ "id": format!("node-{i}"), "address": node.address(), "replica_group": i * layout.groups / layout.nodes });
        file["nodes"] = self.nodes.iter().enumerate().map(member).collect();
        for (path, value) in &layout.overrides {
            config::set(&mut file, path, value.clone());
        }
        std::fs::write(&self.config, format!("{file:#}\n")).unwrap_or_else(|error| panic!("configuration: {error}"));
    }

    fn start_proxy(&mut self) {
        let log = self.scratch.path().join("miroir.log");
        let file = self.config.to_string_lossy();
        let started =
            binaries::proxy().and_then(|binary| Process::start("miroir", &binary, &["--config", &file], &log));
        self.proxy = Some(started.unwrap_or_else(|error| panic!("orchestrator: {error:#}")));
    }

    /// Waits until the orchestrator says that it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready in time.
    pub fn wait_ready(&mut self) {
        let client = self.client();
        let Some(proxy) = self.proxy.as_mut() else { panic!("the orchestrator is not running") };
        wait::eventually("the orchestrator is ready", START_BOUND, || {
            if let Some(status) = proxy.ended() {
                panic!("the orchestrator ended ({status}):\n{}", proxy.log());
            }
            client.try_send("GET", "/_miroir/ready", None, &[]).ok().filter(|answer| answer.status == 200)
        });
    }

    /// `http://host:port` of the orchestrator.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its host and port.
    pub fn socket(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client with the clients' key.
    pub fn client(&self) -> Client {
        Client::new(&self.address(), CLIENT_KEY)
    }

    /// A client with the operators' key.
    pub fn admin(&self) -> Client {
        Client::new(&self.address(), ADMIN_KEY)
    }

    /// A client of the metrics port.
    pub fn metrics(&self) -> Client {
        Client::anonymous(&format!("http://127.0.0.1:{}", self.metrics_port))
    }

    /// A client of one node, past the orchestrator.
    pub fn node_client(&self, node: usize) -> Client {
        self.nodes[node].client()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// `kill -9` of one node.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// SIGSTOP to one node: it accepts connections and answers nothing, until it is killed.
    pub fn pause_node(&self, node: usize) {
        self.nodes[node].pause();
    }

    /// Starts a killed node again, on its port and files.
    pub fn restart_node(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// The orchestrator's process number; 0 while it is not running.
    pub fn proxy_pid(&self) -> u32 {
        self.proxy.as_ref().map_or(0, Process::pid)
    }

    /// What the orchestrator has printed.
    pub fn proxy_log(&self) -> String {
        self.proxy.as_ref().map(Process::log).unwrap_or_default()
    }

    /// `kill -9` of the orchestrator.
    pub fn kill_proxy(&mut self) {
        self.proxy = None;
    }

    /// SIGTERM to the orchestrator; the status it exits with, `None` when it does not within `bound`.
    pub fn terminate_proxy(&mut self, bound: Duration) -> Option<ExitStatus> {
        self.proxy.as_mut().and_then(|proxy| proxy.terminate(bound))
    }

    /// Starts the orchestrator again, on its port and store, and waits until it is ready.
    pub fn restart_proxy(&mut self) {
        self.kill_proxy();
        self.start_proxy();
        self.wait_ready();
    }

    /// Whether the topology counts the node as usable, from the orchestrator's point of view.
    ///
    /// # Panics
    /// When the topology cannot be read.
    pub fn node_state(&self, node: usize) -> String {
        let topology = self.admin().get("/_miroir/topology").expect(200);
        let id = format!("node-{node}");
        let nodes = topology.body["nodes"].as_array().cloned().unwrap_or_default();
        let found = nodes.iter().find(|known| known["id"] == id.as_str());
        found.and_then(|known| known["state"].as_str()).unwrap_or("unknown").to_owned()
    }
}

//! A cluster: nodes, and one orchestrator in front of them, or several that share a Redis.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use miroir_api::{Stale, StaleReplica, Topology};
use serde_json::{Value, json};

use crate::client::Client;
use crate::config;
use crate::disk::SmallDisk;
use crate::faults::Faults;
use crate::instance::Instance;
use crate::node::{NODE_KEY, Node, START_BOUND, Scratch};
use crate::redis::Redis;

/// How a cluster is to be laid out.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    nodes: usize,
    groups: usize,
    replication_factor: usize,
    shards: usize,
    instances: usize,
    disk: Option<usize>,
    faults: bool,
    overrides: Vec<(String, Value)>,
}

impl ClusterBuilder {
    /// With a relay in front of every node that can spoil requests.
    #[must_use]
    pub fn faults(mut self) -> Self {
        self.faults = true;
        self
    }

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

    /// Orchestrators; more than one share a Redis.
    #[must_use]
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// The orchestrator's file is on a disk of so many bytes, where this machine permits that.
    #[must_use]
    pub fn disk(mut self, bytes: usize) -> Self {
        self.disk = Some(bytes);
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
        let redis = (self.instances > 1).then(|| Redis::start(scratch.path()));
        let instances = (0..self.instances).map(|i| Instance::new(i, scratch.path())).collect();
        let socket = |node: &Node| node.address().trim_start_matches("http://").to_owned();
        let faults = nodes.iter().filter(|_| self.faults).map(|node| Faults::before(socket(node))).collect();
        let mut cluster = Cluster { instances, redis, nodes, faults, layout: self, scratch };
        std::fs::create_dir(cluster.store_dir()).unwrap_or_else(|error| panic!("a directory for the store: {error}"));
        for i in 0..cluster.instances.len() {
            cluster.write_config(i);
            if let Some(disk) = cluster.layout.disk.and_then(|bytes| SmallDisk::at(&cluster.store_dir(), bytes)) {
                cluster.instances[i].on(disk);
            }
            cluster.instances[i].start();
        }
        cluster.wait_ready();
        cluster
    }
}

/// A running cluster. Dropped: everything is killed and removed.
#[derive(Debug)]
pub struct Cluster {
    instances: Vec<Instance>,
    redis: Option<Redis>,
    nodes: Vec<Node>,
    faults: Vec<Faults>,
    layout: ClusterBuilder,
    // Last, so that the processes are gone before their files.
    scratch: Scratch,
}

impl Cluster {
    /// Three nodes, one group, two replicas, 16 shards, one orchestrator, unless said otherwise.
    pub fn builder() -> ClusterBuilder {
        let overrides = Vec::new();
        ClusterBuilder {
            nodes: 3,
            groups: 1,
            replication_factor: 2,
            shards: 16,
            instances: 1,
            faults: false,
            disk: None,
            overrides,
        }
    }

    fn store_dir(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    /// Where the orchestrator keeps its state, unless that is in Redis.
    pub fn store_file(&self) -> PathBuf {
        self.store_dir().join("miroir.db")
    }

    fn write_config(&self, instance: usize) {
        let layout = &self.layout;
        let store = match &self.redis {
            Some(redis) => json!({ "backend": "redis", "url": redis.url() }),
            None => json!({ "backend": "sqlite", "path": self.store_file() }),
        };
        let instance = &self.instances[instance];
        let mut file = config::base(instance.port, instance.metrics_port, &store, NODE_KEY);
        file["shards"] = json!(layout.shards);
        file["replication_factor"] = json!(layout.replication_factor);
        file["replica_groups"] = json!(layout.groups);
        let member = |(i, node): (usize, &Node)| json!({ "id": format!("node-{i}"), "address": self.faults.get(i).map_or_else(|| node.address(), Faults::address), "replica_group": i * layout.groups / layout.nodes });
        // Those that were started later are for the test to make known.
        file["nodes"] = self.nodes.iter().take(layout.nodes).enumerate().map(member).collect();
        for (path, value) in &layout.overrides {
            config::set(&mut file, path, value.clone());
        }
        let written = std::fs::write(&instance.config, format!("{file:#}\n"));
        written.unwrap_or_else(|error| panic!("configuration: {error}"));
    }

    /// Waits until every orchestrator that runs says that it is ready.
    ///
    /// # Panics
    /// When one ends, or does not become ready in time.
    pub fn wait_ready(&mut self) {
        for instance in &mut self.instances {
            instance.wait_ready();
        }
    }

    /// One of the orchestrators.
    pub fn instance(&self, instance: usize) -> &Instance {
        &self.instances[instance]
    }

    /// One of the orchestrators, to kill or to start.
    pub fn instance_mut(&mut self, instance: usize) -> &mut Instance {
        &mut self.instances[instance]
    }

    /// Another setting, by its dotted path, for orchestrators that start from now on.
    pub fn set(&mut self, path: &str, value: Value) {
        self.layout.overrides.push((path.to_owned(), value));
        (0..self.instances.len()).for_each(|i| self.write_config(i));
    }

    /// What the orchestrators share.
    ///
    /// # Panics
    /// When there is one orchestrator alone.
    pub fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("a cluster of several instances")
    }

    /// `http://host:port` of the orchestrator.
    pub fn address(&self) -> String {
        self.instances[0].address()
    }

    /// Its host and port.
    pub fn socket(&self) -> String {
        format!("127.0.0.1:{}", self.instances[0].port)
    }

    /// A client with the clients' key.
    pub fn client(&self) -> Client {
        self.instances[0].client()
    }

    /// A client with the operators' key.
    pub fn admin(&self) -> Client {
        self.instances[0].admin()
    }

    /// A client of the metrics port.
    pub fn metrics(&self) -> Client {
        self.instances[0].metrics()
    }

    /// A client of one node, past the orchestrator.
    pub fn node_client(&self, node: usize) -> Client {
        self.nodes[node].client()
    }

    /// What spoils the requests to one node.
    ///
    /// # Panics
    /// When the cluster was not built with faults.
    pub fn faults(&self, node: usize) -> &Faults {
        &self.faults[node]
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Starts one more node, that no orchestrator knows of, and waits until it answers. Returns its number.
    pub fn spare(&mut self) -> usize {
        let number = self.nodes.len();
        let node = Node::start(&format!("node-{number}"), self.scratch.path());
        node.client().healthy(START_BOUND);
        if self.layout.faults {
            self.faults.push(Faults::before(node.address().trim_start_matches("http://").to_owned()));
        }
        self.nodes.push(node);
        number
    }

    /// Where orchestrators reach a node: at its relay, if there is one.
    pub fn node_address(&self, node: usize) -> String {
        self.faults.get(node).map_or_else(|| self.nodes[node].address(), Faults::address)
    }

    /// `kill -9` of one node.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// SIGCONT to one node.
    pub fn resume_node(&self, node: usize) {
        self.nodes[node].resume();
    }

    /// SIGSTOP to one node: it accepts connections and answers nothing, until it is killed or goes on.
    pub fn pause_node(&self, node: usize) {
        self.nodes[node].pause();
    }

    /// Starts a killed node again, on its port and files.
    pub fn restart_node(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// One of the nodes, to do something with its disk.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The orchestrator's process number; 0 while it is not running.
    pub fn proxy_pid(&self) -> u32 {
        self.instances[0].pid()
    }

    /// What the orchestrator has printed.
    pub fn proxy_log(&self) -> String {
        self.instances[0].log()
    }

    /// `kill -9` of the orchestrator.
    pub fn kill_proxy(&mut self) {
        self.instances[0].kill();
    }

    /// SIGTERM to the orchestrator; the status it exits with, `None` when it does not within `bound`.
    pub fn terminate_proxy(&mut self, bound: Duration) -> Option<ExitStatus> {
        self.instances[0].terminate(bound)
    }

    /// Starts the orchestrator again, on its port and store, and waits until it is ready.
    pub fn restart_proxy(&mut self) {
        self.instances[0].restart();
    }

    /// The replicas that an instance knows as stale.
    ///
    /// # Panics
    /// When it does not tell.
    #[track_caller]
    pub fn stale(&self, instance: usize) -> Vec<StaleReplica> {
        let told: Stale = self.instance(instance).admin().get("/_miroir/stale").expect(200).read();
        told.stale
    }

    /// The nodes of these.
    ///
    /// # Panics
    /// When the instance does not tell.
    #[track_caller]
    pub fn stale_nodes(&self, instance: usize) -> BTreeSet<String> {
        self.stale(instance).into_iter().map(|replica| replica.node).collect()
    }

    /// Whether the topology counts the node as usable, from the orchestrator's point of view.
    ///
    /// # Panics
    /// When the topology cannot be read.
    pub fn node_state(&self, node: usize) -> String {
        let topology: Topology = self.admin().get("/_miroir/topology").expect(200).read();
        let id = format!("node-{node}");
        let found = topology.nodes.iter().find(|known| known.node.id == id);
        found.map_or_else(|| "unknown".to_owned(), |known| known.node.state.to_string())
    }
}

//! Everything goes wrong at once: requests to nodes are late or lost, clients hang up, nodes and instances and the store
//! say nothing for a while, instances are stopped and killed. When it is over, replicas are equal or known as stale, and
//! each document is as it was acknowledged last.
//!
//! `MIROIR_STORM_SEED` gives another storm, `MIROIR_STORM_S` a longer one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;

use miroir_tests::faults::Weather;
use miroir_tests::replicas::{all_held, assert_alike, differences_become_known};
use miroir_tests::{AtLast, Client, Cluster, Rng, eventually, wait};

const BOUND: Duration = Duration::from_secs(180);
const INDEXES: usize = 6;
/// So few that each is written again and again.
const IDS: usize = 8;
const INSTANCES: usize = 2;
const NODES: usize = 3;

fn of_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What a document was made to be, one after the other.
type History = Vec<Write>;

#[derive(Debug)]
struct Write {
    /// None: deleted.
    becomes: Option<u64>,
    acknowledged: bool,
    /// Through which instance, when that was asked for and when it ended, and how.
    _told: (usize, OffsetDateTime, OffsetDateTime, String),
}

/// One client that writes one index, each write after the answer to the one before.
struct Writer {
    index: String,
    rng: Rng,
    clients: Vec<Client>,
    histories: BTreeMap<String, History>,
    version: u64,
}

impl Writer {
    fn new(number: usize, seed: u64, clients: &[Client]) -> Self {
        Self {
            index: format!("index-{number}"),
            rng: Rng::new(seed.wrapping_mul(31).wrapping_add(number as u64)),
            clients: clients.to_vec(),
            histories: BTreeMap::new(),
            version: 0,
        }
    }

    /// Returns whether the write was acknowledged.
    fn write(&mut self) -> bool {
        self.version += 1;
        let (version, documents) = (self.version, format!("/indexes/{}/documents", self.index));
        let count = 1 + self.rng.below(3);
        let ids: Vec<String> = (0..count).map(|_| format!("d{}", self.rng.below(IDS))).collect();
        let (method, path, body, becomes) = match self.rng.below(10) {
            0 => ("POST", format!("{documents}/delete-batch"), json!(ids), None),
            1..4 => ("PUT", documents, ids.iter().map(|id| json!({ "id": id, "v": version })).collect(), Some(version)),
            _ => ("POST", documents, ids.iter().map(|id| json!({ "id": id, "v": version })).collect(), Some(version)),
        };
        let instance = self.rng.below(self.clients.len());
        let client = self.clients[instance].clone();
        let client = match self.rng.chance(0.15) {
            true => client.hanging_up_after(Duration::from_millis(20 + self.rng.below(900) as u64)),
            false => client,
        };
        let body = body.to_string();
        let asked = OffsetDateTime::now_utc();
        let answer = client.try_send(method, &path, Some(body.as_bytes()), &[("content-type", "application/json")]);
        let acknowledged = answer.as_ref().is_ok_and(|answer| answer.status == 202);
        let how = answer.map_or_else(|error| error.to_string(), |answer| format!("{} {}", answer.status, answer.text));
        let told = (instance, asked, OffsetDateTime::now_utc(), how);
        for id in ids {
            self.histories.entry(id).or_default().push(Write { becomes, acknowledged, _told: told.clone() });
        }
        acknowledged
    }

    /// Each document is what was acknowledged last, or what was asked for later and never acknowledged.
    fn check(&self, found: &BTreeMap<String, Value>) {
        for (id, history) in &self.histories {
            let last = history.iter().rposition(|write| write.acknowledged).unwrap_or(0);
            let mut possible: Vec<Option<u64>> = history[last..].iter().map(|write| write.becomes).collect();
            if !history[last].acknowledged {
                possible.push(None);
            }
            let version = found.get(id).and_then(|document| document["v"].as_u64());
            assert!(
                possible.contains(&version),
                "{} {id} is {version:?} and should be one of {possible:?}: {:#?}",
                self.index,
                &history[history.len().saturating_sub(8)..]
            );
        }
    }
}

/// It need not be ready: whether everything is covered is the weather's to say.
fn begin_again(cluster: &mut Cluster, instance: usize) {
    let instance = cluster.instance_mut(instance);
    instance.kill();
    instance.start();
    instance.client().healthy(BOUND);
}

/// One thing after the other goes wrong.
fn disturb(cluster: &mut Cluster, rng: &mut Rng, until: Instant) {
    let pause = |rng: &mut Rng, most: usize| std::thread::sleep(Duration::from_millis(200 + rng.below(most) as u64));
    while Instant::now() < until {
        let (instance, node) = (rng.below(INSTANCES), rng.below(NODES));
        match rng.below(6) {
            0 => {
                cluster.instance_mut(instance).terminate(Duration::from_secs(90));
                begin_again(cluster, instance);
            }
            1 => {
                cluster.instance_mut(instance).kill();
                pause(rng, 1500);
                begin_again(cluster, instance);
            }
            2 => {
                cluster.instance(instance).pause();
                pause(rng, 6000);
                cluster.instance(instance).resume();
            }
            3 => {
                cluster.redis().pause();
                pause(rng, 5000);
                cluster.redis().resume();
            }
            4 => {
                cluster.pause_node(node);
                pause(rng, 4000);
                cluster.resume_node(node);
            }
            _ => {}
        }
        pause(rng, 1500);
    }
}

/// What each instance says of itself and of the nodes, and what it knows as stale.
fn how_it_stands(cluster: &Cluster) -> String {
    let of = |instance: usize, path: &str| match cluster.instance(instance).admin().try_send("GET", path, None, &[]) {
        Ok(answer) => answer.text,
        Err(error) => error.to_string(),
    };
    let paths = ["/_miroir/ready?cluster=true", "/_miroir/topology", "/_miroir/stale"];
    let told =
        (0..INSTANCES).flat_map(|instance| paths.map(|path| format!("{instance}{path}: {}", of(instance, path))));
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn after_a_storm_replicas_are_equal_or_known_as_stale_and_the_last_acknowledged_write_is_there() {
    let seed = of_environment("MIROIR_STORM_SEED", 1);
    let length = Duration::from_secs(of_environment("MIROIR_STORM_S", 20));
    println!("a storm of {length:?}: MIROIR_STORM_SEED={seed}");
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::builder()
        .nodes(NODES)
        .rf(2)
        .shards(4)
        .instances(INSTANCES)
        .faults()
        // Longer than the weather holds up what is sent: what a network delivers later than this comes after anything.
        .set("write.node_timeout_ms", json!(3000))
        .set("scatter.node_timeout_ms", json!(2000))
        .start();
    let clients: Vec<Client> = (0..INSTANCES).map(|i| cluster.instance(i).client()).collect();
    let mut writers: Vec<Writer> = (0..INDEXES).map(|number| Writer::new(number, seed, &clients)).collect();
    writers.iter().for_each(|writer| clients[0].create(&writer.index, "id"));
    for node in 0..NODES {
        let by = Duration::from_millis(2500);
        let weather = Weather { late: 0.12, by, dropped: 0.01, swallowed: 0.01, masked: 0.005 };
        cluster.faults(node).storm(weather, rng.number());
    }
    let (stop, acknowledged, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        for writer in &mut writers {
            let (stop, acknowledged, asked) = (&stop, &acknowledged, &asked);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    acknowledged.fetch_add(usize::from(writer.write()), Ordering::Relaxed);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        disturb(&mut cluster, &mut rng, Instant::now() + length);
        drop(at_last);
    });
    let (acknowledged, asked) = (acknowledged.into_inner(), asked.into_inner());
    println!("{acknowledged} of {asked} writes were acknowledged");
    assert!(acknowledged > 20, "only {acknowledged} of {asked} writes were acknowledged");

    (0..NODES).for_each(|node| cluster.faults(node).clear());
    // Replicas that were in doubt are compared, one after the other, before all is covered again.
    let covered = wait::poll(Duration::from_secs(60), || {
        let answer = clients[0].try_send("GET", "/_miroir/ready?cluster=true", None, &[]);
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    });
    assert!(covered.is_some(), "not everything is covered: {}", how_it_stands(&cluster));
    eventually("every node is there", BOUND, || {
        (0..NODES).all(|node| matches!(cluster.node_state(node).as_str(), "healthy" | "recovering")).then_some(())
    });
    eventually("all tasks end", BOUND, || {
        let open = clients[0].get("/tasks?statuses=enqueued,processing&limit=1");
        (open.status == 200 && open.body["total"] == 0).then_some(())
    });
    for writer in &writers {
        // An instance that lost a lock under a write finds out once it holds the index write lock again.
        differences_become_known(&cluster, 0, &writer.index, Duration::from_secs(30));
    }
    eventually("everything is healed", BOUND, || cluster.stale(0).is_empty().then_some(()));
    for writer in &writers {
        let nodes: Vec<usize> = (0..NODES).collect();
        let (found, _) = assert_alike(&cluster, &nodes, &writer.index, 2);
        writer.check(&found);
        assert_eq!(all_held(&cluster, &writer.index).len(), NODES);
    }
}

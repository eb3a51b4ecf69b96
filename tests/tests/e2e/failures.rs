//! Nodes are lost in mid-traffic: reads stay complete while one replica of every shard lives, writes are accepted and
//! say so, and what is missing is named.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use miroir_api::Shards;
use miroir_tests::{Answer, AtLast, Client, Cluster, eventually};

const STEADY: u64 = 300;
const BOUND: Duration = Duration::from_secs(30);

fn documents(prefix: &str, from: usize, count: usize) -> Value {
    (from..from + count).map(|i| json!({ "id": format!("{prefix}-{i}"), "title": "lasting word", "n": i })).collect()
}

/// Searches an index whose documents are all known, again and again; every answer must be whole.
fn search_until(client: &Client, stop: &AtomicBool, answered: &AtomicUsize) {
    let searches = [
        json!({ "q": "lasting", "hitsPerPage": 7, "page": 2 }),
        json!({ "q": "", "limit": 1000, "attributesToRetrieve": ["id"] }),
        json!({ "q": "word", "filter": "n < 100", "hitsPerPage": 200 }),
        json!({ "q": "", "sort": ["n:desc"], "limit": 5 }),
    ];
    for search in searches.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let answer = client.search("steady", search);
        assert_eq!(answer.status, 200, "{search}: {}", answer.text);
        assert_eq!(answer.header("x-miroir-degraded"), None, "{search}");
        let total = answer.body["totalHits"].as_u64().or(answer.body["estimatedTotalHits"].as_u64());
        let expected = if search.get("filter").is_some() { 100 } else { STEADY };
        assert_eq!(total, Some(expected), "{search}: {}", answer.text);
        let ids: BTreeSet<String> = hits(&answer).iter().map(|hit| hit["id"].to_string()).collect();
        assert_eq!(ids.len(), hits(&answer).len(), "a document twice: {search}");
        if search.get("sort").is_some() {
            let order: Vec<u64> = hits(&answer).iter().filter_map(|hit| hit["n"].as_u64()).collect();
            assert_eq!(order, [299, 298, 297, 296, 295]);
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn hits(answer: &Answer) -> &[Value] {
    answer.body["hits"].as_array().map_or(&[], Vec::as_slice)
}

/// What a writer was told: the task and whether the write was degraded.
type Accepted = Mutex<Vec<(usize, Answer)>>;

/// Writes batches of 20 documents until told to stop; every write must be accepted.
fn write_until(client: &Client, writer: usize, stop: &AtomicBool, accepted: &Accepted) {
    for batch in 0.. {
        if stop.load(Ordering::Relaxed) || batch == 4000 {
            return;
        }
        let from = (writer * 4000 + batch) * 20;
        let answer = client.add("growing", &documents("g", from, 20));
        assert_eq!(answer.status, 202, "{}", answer.text);
        accepted.lock().unwrap_or_else(PoisonError::into_inner).push((from, answer));
    }
}

fn ids_of(client: &Client, index: &str) -> Vec<String> {
    client.documents(index).iter().map(|document| document["id"].as_str().unwrap_or("?").to_owned()).collect()
}

/// Every document of the accepted writes is there, once; the index holds nothing else.
#[track_caller]
fn assert_exactly(client: &Client, accepted: &[(usize, Answer)]) {
    let expected: BTreeSet<String> =
        accepted.iter().flat_map(|(from, _)| (*from..from + 20).map(|i| format!("g-{i}"))).collect();
    let listed = ids_of(client, "growing");
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a document is listed twice");
    let missing: Vec<_> = expected.difference(&unique).take(5).collect();
    let surplus: Vec<_> = unique.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
    assert_eq!(client.count("growing"), expected.len() as u64);
    let all = client.search("growing", &json!({ "q": "lasting", "hitsPerPage": 1 })).expect(200);
    assert_eq!(all.body["totalHits"], expected.len());
}

fn prepare(client: &Client) {
    for index in ["steady", "growing"] {
        client.create(index, "id");
        client.configure(index, &json!({ "filterableAttributes": ["n"], "sortableAttributes": ["n"] }));
    }
    client.load("steady", &documents("s", 0, STEADY as usize));
}

/// Kills a node while two clients search and two write; what the writers were told, and when it was killed.
fn kill_in_traffic(cluster: &mut Cluster, node: usize) -> Vec<(usize, Answer)> {
    let client = cluster.client();
    let (stop, answered, accepted) = (AtomicBool::new(false), AtomicUsize::new(0), Accepted::default());
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let (client, stop, answered, accepted) = (&client, &stop, &answered, &accepted);
        let mut threads = Vec::new();
        for writer in 0..2 {
            threads.push(scope.spawn(move || search_until(client, stop, answered)));
            threads.push(scope.spawn(move || write_until(client, writer, stop, accepted)));
        }
        let counts =
            || (answered.load(Ordering::Relaxed), accepted.lock().unwrap_or_else(PoisonError::into_inner).len());
        // Whether so much more traffic went through. No panic in here: the threads must be told to stop first.
        let past = |searches: usize, writes: usize| {
            let started = counts();
            let look = || {
                let now = counts();
                let done = now.0 >= started.0 + searches && now.1 >= started.1 + writes;
                (done || threads.iter().any(|thread| thread.is_finished())).then_some(done)
            };
            miroir_tests::wait::poll(BOUND, look) == Some(true)
        };
        let before = past(20, 5);
        cluster.kill_node(node);
        let after = past(60, 15);
        drop(at_last);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        assert!(before && after, "the traffic came to a halt");
    });
    accepted.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn stale_on(cluster: &Cluster, node: &str) -> usize {
    let shards: Shards = cluster.admin().get("/_miroir/shards").expect(200).read();
    shards.stale.iter().filter(|replica| replica.node == node).count()
}

#[test]
fn one_lost_node_of_three_costs_neither_reads_nor_writes() {
    let unhealed = ("rebalancer.auto_rebalance_on_recovery", json!(false));
    let mut cluster = Cluster::builder().nodes(3).rf(2).set(unhealed.0, unhealed.1).start();
    let client = cluster.client();
    prepare(&client);
    let mut accepted = kill_in_traffic(&mut cluster, 1);
    let degraded = accepted.iter().filter(|(_, answer)| answer.header("x-miroir-degraded").is_some()).count();
    assert!(degraded > 0, "no write said that a replica was missed");

    // From now on every write misses the lost node's replicas and says so.
    let from = 1_000_000;
    let late = client.add("growing", &documents("g", from, 20)).expect(202);
    let header = late.header("x-miroir-degraded").unwrap_or_default().to_owned();
    assert!(header.contains("groups=0") && header.contains("shards="), "{header:?}");
    accepted.push((from, late));
    for (_, answer) in &accepted {
        client.done(answer);
    }
    assert_exactly(&client, &accepted);

    // The node comes back without what it missed: it must be known as stale, and not be read for it.
    assert!(stale_on(&cluster, "node-1") > 0, "the lost node's replicas are not recorded as stale");
    cluster.restart_node(1);
    eventually("the node is seen again", BOUND, || {
        let state = cluster.node_state(1);
        matches!(state.as_str(), "healthy" | "recovering").then_some(())
    });
    assert!(stale_on(&cluster, "node-1") > 0, "a return alone does not make replicas fresh");
    for _ in 0..10 {
        assert_exactly(&client, &accepted);
    }

    // What is recorded as stale outlives the orchestrator.
    let before = stale_on(&cluster, "node-1");
    cluster.restart_proxy();
    assert_eq!(stale_on(&cluster, "node-1"), before);
    assert_exactly(&cluster.client(), &accepted);
}

/// Shards of which no replica is on `survivor`.
fn shards_without(cluster: &Cluster, survivor: &str) -> Vec<u64> {
    let view: Shards = cluster.admin().get("/_miroir/shards").expect(200).read();
    let gone = view.groups[0].shards.iter().filter(|placed| !placed.replicas.iter().any(|node| node == survivor));
    gone.map(|placed| placed.shard.into()).collect()
}

#[test]
fn a_shard_without_a_replica_is_named_by_reads_and_refuses_writes() {
    let mut cluster = Cluster::builder().nodes(3).rf(2).policy("partial").start();
    let client = cluster.client();
    prepare(&client);
    let gone = shards_without(&cluster, "node-2");
    assert!(!gone.is_empty());
    cluster.kill_node(0);
    cluster.kill_node(1);
    let names: Vec<String> = gone.iter().map(u64::to_string).collect();
    let expected = format!("shards={}", names.join(","));

    let answer = client.search("steady", &json!({ "q": "lasting", "hitsPerPage": 1000 })).expect(200);
    assert_eq!(answer.header("x-miroir-degraded"), Some(expected.as_str()));
    let seen = hits(&answer).len() as u64;
    assert!(seen > 0 && seen < STEADY, "{seen} of {STEADY}");
    assert_eq!(answer.body["totalHits"].as_u64(), Some(seen));

    // Twenty documents of each shard and more: some belong to shards that are gone.
    let refused = client.add("steady", &documents("late", 0, 320));
    assert_eq!(refused.verdict(), (503, "miroir_no_quorum".to_owned()), "{}", refused.text);

    let other = client.search("steady", &json!({ "q": "", "facets": ["n"] })).expect(200);
    assert_eq!(other.header("x-miroir-degraded"), Some(expected.as_str()));
}

#[test]
fn under_the_error_policy_a_missing_shard_is_an_error() {
    let mut cluster = Cluster::builder().nodes(2).rf(1).policy("error").start();
    let client = cluster.client();
    prepare(&client);
    cluster.kill_node(0);
    let answer = client.search("steady", &json!({ "q": "lasting" }));
    assert_eq!(answer.verdict(), (503, "miroir_shard_unavailable".to_owned()), "{}", answer.text);
    assert_eq!(answer.body["type"], "system");
    let refused = client.add("steady", &documents("late", 0, 200));
    assert_eq!(refused.verdict(), (503, "miroir_no_quorum".to_owned()), "{}", refused.text);
    cluster.restart_node(0);
    eventually("reads are whole again", BOUND, || {
        let answer = client.search("steady", &json!({ "q": "lasting", "filter": "n < 300", "hitsPerPage": 1 }));
        (answer.status == 200 && answer.header("x-miroir-degraded").is_none()).then_some(())
    });
}

#[test]
fn another_group_answers_for_the_shards_that_one_group_lost() {
    let mut cluster = Cluster::builder().nodes(4).groups(2).rf(1).policy("error").start();
    let client = cluster.client();
    prepare(&client);
    let accepted = kill_in_traffic(&mut cluster, 3);
    let degraded = accepted.iter().filter_map(|(_, answer)| answer.header("x-miroir-degraded")).next_back();
    assert!(degraded.is_some_and(|header| header.contains("groups=1")), "{degraded:?}");
    for (_, answer) in &accepted {
        client.done(answer);
    }
    assert_exactly(&client, &accepted);
}

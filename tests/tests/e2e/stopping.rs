//! Instances that are asked to stop, or that lose a lock without knowing: what they have begun comes to its end, or is known
//! not to have.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use miroir_tests::faults::writes_of;
use miroir_tests::replicas::{all_held, assert_alike};
use miroir_tests::{Client, Cluster, Fault, eventually};

const BOUND: Duration = Duration::from_secs(60);
const INDEX: &str = "things";
const DOCUMENTS: &str = "/indexes/things/documents";

/// Two instances before two nodes that hold everything.
fn pair() -> Cluster {
    let cluster = Cluster::builder().nodes(2).rf(2).shards(4).instances(2).faults().start();
    cluster.instance(0).client().create(INDEX, "id");
    cluster
}

fn document(version: u64) -> Value {
    json!([{ "id": "one", "version": version }])
}

fn versions(cluster: &Cluster) -> Vec<Value> {
    all_held(cluster, INDEX).iter().map(|held| held["one"]["version"].clone()).collect()
}

#[test]
fn an_instance_that_is_asked_to_stop_serves_on_for_a_while_and_says_that_it_is_not_ready() {
    let mut cluster = Cluster::builder().nodes(2).rf(2).set("server.stop_delay_ms", json!(2500)).start();
    let client = cluster.client();
    client.load(INDEX, &document(1));
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            // One connection for each: kept-alive ones are served, and so are new ones.
            let fresh = || Client::new(client.base(), miroir_tests::config::CLIENT_KEY);
            eventually("it is not ready", BOUND, || (fresh().get("/_miroir/ready").status == 503).then_some(()));
            client.add(INDEX, &document(2)).expect(202);
            fresh().search(INDEX, &json!({})).expect(200);
        });
        let begun = Instant::now();
        let status = cluster.terminate_proxy(Duration::from_secs(30));
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        assert!(begun.elapsed() >= Duration::from_millis(2500), "it took {:?}", begun.elapsed());
        watched.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    cluster.restart_proxy();
    client.all_ended(BOUND);
    assert_eq!(versions(&cluster), [json!(2), json!(2)]);
}

#[test]
fn a_write_under_way_in_an_instance_that_stops_keeps_its_lock_until_it_is_recorded() {
    let mut cluster = pair();
    let (stopping, other) = (cluster.instance(0).client(), cluster.instance(1).client());
    stopping.load(INDEX, &document(0));
    // Longer than a lock lasts that nobody keeps up.
    cluster.faults(1).spoil("POST", &writes_of(INDEX), 1, Fault::Delay(Duration::from_secs(6)));
    let seen = cluster.faults(0).seen("POST", &writes_of(INDEX));
    let relays = [cluster.faults(0).clone(), cluster.faults(1).clone()];
    std::thread::scope(|scope| {
        let first = scope.spawn(|| stopping.add(INDEX, &document(1)));
        eventually("it is under way", BOUND, || (relays[0].seen("POST", &writes_of(INDEX)) > seen).then_some(()));
        let stopped = scope.spawn(|| cluster.instance_mut(0).terminate(Duration::from_secs(60)));
        let second = other.add(INDEX, &document(2)).expect(202);
        other.done(&second);
        // Its client is answered, although nothing else is taken any more.
        first.join().expect("no panic").expect(202);
        assert!(stopped.join().expect("no panic").is_some_and(|status| status.success()));
    });
    other.all_ended(BOUND);
    assert_eq!(versions(&cluster), [json!(2), json!(2)]);
    assert_eq!(cluster.stale_nodes(1), BTreeSet::new());
}

#[test]
fn an_instance_that_sleeps_under_a_write_finds_out_and_what_is_in_doubt_is_compared() {
    let cluster = pair();
    let (sleeper, other) = (cluster.instance(0).client(), cluster.instance(1).client());
    sleeper.load(INDEX, &document(0));
    cluster.faults(1).spoil("POST", &writes_of(INDEX), 1, Fault::Delay(Duration::from_secs(7)));
    let seen = cluster.faults(0).seen("POST", &writes_of(INDEX));
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| sleeper.add(INDEX, &document(1)));
        eventually("it is under way", BOUND, || {
            (cluster.faults(0).seen("POST", &writes_of(INDEX)) > seen).then_some(())
        });
        cluster.instance(0).pause();
        let second = eventually("another instance takes over", BOUND, || {
            let answer = other.add(INDEX, &document(2));
            (answer.status == 202).then_some(answer)
        });
        other.done(&second);
        // It was not sent before the first one can have come to the other node.
        assert_eq!(versions(&cluster), [json!(2), json!(2)]);
        cluster.instance(0).resume();
        first.join().expect("no panic")
    });
    assert_eq!(first.verdict(), (503, "miroir_store_unavailable".to_owned()), "{}", first.text);
    assert!(first.text.contains("may have been made, or not"), "{}", first.text);
    other.all_ended(BOUND);
    eventually("it is known who may differ", BOUND, || (!cluster.stale_nodes(1).is_empty()).then_some(()));
    eventually("all is equal", BOUND, || cluster.stale_nodes(1).is_empty().then_some(()));
    assert_alike(&cluster, &[0, 1], INDEX, 2);
    assert_eq!(versions(&cluster), [json!(2), json!(2)], "what was acknowledged last is there");
}

/// Sends a write that node 1 gets only after a while, and kills the instance when node 0 has it.
fn kill_under_a_write(cluster: &mut Cluster, late: Duration) {
    let client = cluster.instance(0).client();
    let body = document(1).to_string().into_bytes();
    cluster.faults(1).spoil("POST", &writes_of(INDEX), 1, Fault::Delay(late));
    std::thread::scope(|scope| {
        let sent =
            scope.spawn(|| client.try_send("POST", DOCUMENTS, Some(&body), &[("content-type", "application/json")]));
        eventually("one node has it", BOUND, || (versions(cluster)[0] == json!(1)).then_some(()));
        cluster.instance_mut(0).kill();
        assert!(sent.join().expect("no panic").is_err(), "it was answered");
    });
}

#[test]
fn a_write_that_its_instance_was_killed_under_does_not_come_after_the_next_one() {
    let mut cluster = pair();
    cluster.instance(0).client().load(INDEX, &document(0));
    kill_under_a_write(&mut cluster, Duration::from_secs(5));
    let other = cluster.instance(1).client();
    let next = other.add(INDEX, &document(2)).expect(202);
    assert!(!cluster.stale_nodes(1).is_empty(), "nobody knows that replicas may differ");
    other.done(&next);
    other.all_ended(BOUND);
    eventually("all is equal", BOUND, || cluster.stale_nodes(1).is_empty().then_some(()));
    assert_eq!(versions(&cluster), [json!(2), json!(2)], "what was acknowledged last is there");
}

#[test]
fn what_an_instance_was_killed_under_is_compared_although_nobody_writes_again() {
    let mut cluster =
        Cluster::builder().nodes(2).rf(2).shards(4).faults().set("write.node_timeout_ms", json!(10_000)).start();
    let client = cluster.client();
    client.create(INDEX, "id");
    client.load(INDEX, &document(0));
    kill_under_a_write(&mut cluster, Duration::from_secs(2));
    cluster.restart_proxy();
    eventually("it is known who may differ", BOUND, || (!cluster.stale_nodes(0).is_empty()).then_some(()));
    eventually("all is equal", BOUND, || cluster.stale_nodes(0).is_empty().then_some(()));
    assert_alike(&cluster, &[0, 1], INDEX, 2);
    // What was given back is in no doubt.
    assert!(cluster.terminate_proxy(BOUND).is_some_and(|status| status.success()));
    cluster.restart_proxy();
    let begun = Instant::now();
    client.done(&client.add(INDEX, &document(3)));
    // Whoever takes over what was left waits for what may be on its way.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!((cluster.stale_nodes(0), versions(&cluster)), (BTreeSet::new(), vec![json!(3), json!(3)]));
}

//! Whoever leads a change of the membership is killed in each of its states, and so are the nodes that it is about: the
//! change ends well all the same, and nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use miroir_api::{MoveState, RebalancePhase, Rebalancing};
use miroir_tests::replicas::assert_equal;
use miroir_tests::{AtLast, Client, Cluster, Fault, Ledger, dataset, eventually, moves, wait};

/// Two instances, three nodes with documents, and a fourth node.
fn led_by_two() -> (Cluster, usize, Ledger) {
    let mut cluster = Cluster::builder()
        .instances(2)
        .faults()
        .set("leader_election", json!({ "lease_ttl_s": 3, "renew_interval_s": 1 }))
        .set("rebalancer.max_concurrent_migrations", json!(2))
        .set("write.node_timeout_ms", json!(3000))
        .start();
    let documents = dataset::documents(STEADY, 11);
    let client = cluster.client();
    client.create("steady", "id");
    client.load("steady", &Value::from(documents.clone()));
    Ledger::prepare(&client, "ledger");
    let known = Ledger::default();
    known.knows(&documents);
    let spare = cluster.spare();
    (cluster, spare, known)
}

fn leads(cluster: &Cluster, instance: usize) -> bool {
    let metrics = cluster.instance(instance).metrics().try_send("GET", "/metrics", None, &[]);
    metrics.is_ok_and(|answer| answer.text.contains("miroir_leader{scope=\"rebalance\"} 1"))
}

/// Who leads the change.
fn leader(cluster: &Cluster) -> usize {
    eventually("somebody leads", moves::move_bound(), || (0..2).find(|instance| leads(cluster, *instance)))
}

/// Where the change stands, as `holds` looks for it.
fn wait_for(admin: &Client, what: &str, holds: impl Fn(&Rebalancing) -> bool) {
    eventually(what, moves::move_bound(), || moves::under_way(admin).filter(|operation| holds(operation)).map(drop));
}

/// Documents of the index that nobody writes to.
const STEADY: usize = 1500;
/// Between two searches of a reader.
const PACE: Duration = Duration::from_millis(60);

/// Searches the index that nobody writes to, until told to stop; every answer is whole.
fn read(client: &Client, stop: &AtomicBool) {
    let search = json!({ "q": "", "hitsPerPage": 20, "attributesToRetrieve": ["id"] }).to_string();
    let headers = [("content-type", "application/json")];
    while !stop.load(Ordering::Relaxed) {
        // Otherwise the instance was killed.
        if let Ok(answer) = client.try_send("POST", "/indexes/steady/search", Some(search.as_bytes()), &headers) {
            assert_eq!((answer.status, &answer.body["totalHits"]), (200, &json!(STEADY)), "{}", answer.text);
            assert_eq!(answer.header("x-miroir-degraded"), None);
        }
        std::thread::sleep(PACE);
    }
}

/// Clients read and write, the change comes to be where it is held up, its leader is killed, and what holds it up is gone.
fn killed(spoil: impl FnOnce(&Cluster, usize), what: &str, holds: impl Fn(&Rebalancing) -> bool) {
    let (mut cluster, spare, known) = led_by_two();
    let clients = [cluster.instance(0).client(), cluster.instance(1).client()];
    let (ledger, stop) = (Ledger::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let at_last = (ledger.writing(), AtLast(&stop));
        let (ledger, clients, stop) = (&ledger, &clients, &stop);
        let mut threads: Vec<_> =
            (0..2).map(|writer| scope.spawn(move || ledger.write(clients, "ledger", writer))).collect();
        // Each instance is read from all the time.
        threads.extend((0..4).map(|reader| scope.spawn(move || read(&clients[reader % 2], stop))));
        ledger.progress(10);
        spoil(&cluster, spare);
        let begun = moves::add(&cluster, spare, 0);
        assert_eq!(begun.status, 202, "{}", begun.text);
        let first = leader(&cluster);
        wait_for(&cluster.instance(first).admin(), what, holds);
        cluster.instance_mut(first).kill();
        (0..cluster.nodes().len()).for_each(|node| cluster.faults(node).clear());
        let other = cluster.instance(1 - first).admin();
        eventually("the other one leads", moves::move_bound(), || leads(&cluster, 1 - first).then_some(()));
        cluster.instance_mut(first).restart();
        moves::done(&other, &begun);
        drop(at_last);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let client = cluster.client();
    assert_whole(&cluster);
    assert_equal(&cluster, &[0, 1, 2, 3], "ledger", 2, &ledger.settle(&client));
    assert_equal(&cluster, &[0, 1, 2, 3], "steady", 2, &known.settle(&client));
    let held = moves::replicas(&cluster.admin());
    assert!(held.iter().all(|(_, replicas)| *replicas == 8), "{held:?}");
}

/// What was written last may have been missed by a node that a dead instance did not tell: it is healed.
fn assert_whole(cluster: &Cluster) {
    eventually("nothing is stale", moves::move_bound(), || cluster.stale(0).is_empty().then_some(()));
}

const EVER: usize = 1_000_000;

fn any_is(state: MoveState) -> impl Fn(&Rebalancing) -> bool {
    move |operation| operation.moves.iter().any(|moving| moving.state == state)
}

#[test]
fn its_leader_is_killed_while_it_is_prepared() {
    let spoil = |cluster: &Cluster, spare| cluster.faults(spare).spoil("POST", "/indexes", EVER, Fault::Drop);
    killed(spoil, "preparing", |operation| operation.phase == RebalancePhase::Preparing);
}

#[test]
fn its_leader_is_killed_before_anything_is_copied() {
    // The node is looked at once more in each epoch before anything is written to it: the second time it does not answer.
    let spoil = |cluster: &Cluster, spare| {
        let faults = cluster.faults(spare).clone();
        std::thread::spawn(move || {
            wait::poll(moves::move_bound(), || (faults.seen("PATCH", "/settings") > 1).then_some(()));
            faults.spoil("GET", "/indexes?", EVER, Fault::Drop);
        });
    };
    killed(spoil, "moving", |operation| operation.phase == RebalancePhase::Moving && operation.replicas.copying == 0);
}

/// Reads take a while: an instance that is read from all the time acts on a new epoch alone only after that.
fn slow_reads(cluster: &Cluster, _spare: usize) {
    for node in 0..cluster.nodes().len() {
        cluster.faults(node).spoil("POST", "/search", EVER, Fault::Delay(Duration::from_millis(400)));
    }
}

#[test]
fn its_leader_is_killed_before_all_know_that_a_node_may_hold_more() {
    killed(slow_reads, "planned", |operation| operation.replicas.planned > 0);
}

#[test]
fn its_leader_is_killed_before_all_write_to_a_new_replica() {
    let waits = |operation: &Rebalancing| {
        let replicas = &operation.replicas;
        replicas.waiting > 0 && replicas.copying == 0 && replicas.switched == 0
    };
    killed(slow_reads, "waiting", waits);
}

#[test]
fn its_leader_is_killed_before_all_read_from_a_new_replica() {
    killed(slow_reads, "switched", any_is(MoveState::Switched));
}

#[test]
fn its_leader_is_killed_while_documents_are_copied() {
    let spoil = |cluster: &Cluster, spare| {
        cluster.faults(spare).spoil("POST", "/documents?", EVER, Fault::Answer(503, json!({})))
    };
    killed(spoil, "copying", any_is(MoveState::Copying));
}

#[test]
fn its_leader_is_killed_while_old_copies_are_deleted() {
    // They are for a while, however fast the machine is.
    let spoil = |cluster: &Cluster, _| {
        for node in 0..3 {
            cluster.faults(node).spoil("POST", "/documents/delete", EVER, Fault::Delay(Duration::from_millis(800)));
        }
    };
    killed(spoil, "left", any_is(MoveState::Left));
}

#[test]
fn nodes_are_killed_while_documents_are_copied_from_and_to_them() {
    let mut cluster = Cluster::builder()
        .set("rebalancer.max_concurrent_migrations", json!(1))
        .set("write.node_timeout_ms", json!(3000))
        .start();
    let documents = dataset::documents(4000, 13);
    let client = cluster.client();
    client.create("steady", "id");
    client.load("steady", &Value::from(documents.clone()));
    let known = Ledger::default();
    known.knows(&documents);
    Ledger::prepare(&client, "ledger");
    let ledger = Ledger::default();
    let (spare, admin) = (cluster.spare(), cluster.admin());
    std::thread::scope(|scope| {
        let at_last = ledger.writing();
        let (ledger, client) = (&ledger, [client.clone()]);
        let writer = scope.spawn(move || ledger.write(&client, "ledger", 0));
        ledger.progress(10);
        let begun = moves::add(&cluster, spare, 0);
        moves::reaches(&admin, &MoveState::Copying);
        // The target, and then a source: with two replicas there is another one to copy from.
        for node in [spare, 0] {
            cluster.kill_node(node);
            eventually("it is known to be away", moves::move_bound(), || {
                (cluster.node_state(node) == "failed").then_some(())
            });
            ledger.progress(10);
            cluster.restart_node(node);
        }
        moves::done(&admin, &begun);
        drop(at_last);
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(ledger.refused(), Vec::<String>::new());
    assert_whole(&cluster);
    assert_equal(&cluster, &[0, 1, 2, 3], "ledger", 2, &ledger.settle(&cluster.client()));
    assert_equal(&cluster, &[0, 1, 2, 3], "steady", 2, &known.settle(&cluster.client()));
}

//! Changes of the membership that cannot be, and those that an operator calls off: nothing is changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use miroir_api::{Awaited, MoveState, RebalancePhase, WaitsFor};
use miroir_tests::replicas::assert_equal;
use miroir_tests::{Answer, Client, Cluster, Fault, Ledger, dataset, eventually, moves, ports};

fn message(answer: &Answer) -> &str {
    answer.body["message"].as_str().unwrap_or_default()
}

/// Everything that a refusal must leave as it is.
fn state(cluster: &Cluster) -> Value {
    let admin = cluster.admin();
    let topology = admin.get("/_miroir/topology").expect(200).body;
    let shape = |node: &Value| json!([node["id"], node["address"], node["shardReplicas"], node["draining"]]);
    let nodes: Vec<Value> = topology["nodes"].as_array().into_iter().flatten().map(shape).collect();
    let indexes = |node: usize| cluster.node_client(node).get("/indexes").expect(200).body["total"].clone();
    let indexes: Vec<Value> = (0..cluster.nodes().len()).map(indexes).collect();
    json!([topology["epoch"], nodes, indexes, moves::under_way(&admin).map(|operation| operation.id)])
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::builder().nodes(2).groups(2).rf(1).shards(4).faults().start();
    let (client, admin) = (cluster.client(), cluster.admin());
    client.load("movies", &json!([{ "id": 1 }]));
    let spare = cluster.spare();
    let address = cluster.node_address(spare);
    let before = state(&cluster);

    let add = |body: Value| admin.post("/_miroir/nodes", &body);
    let node = |id: &str, address: &str| json!({ "id": id, "address": address, "replicaGroup": 0 });
    let nowhere = format!("http://127.0.0.1:{}", ports::free());
    let taken = cluster.node_address(1);
    let conflict = "miroir_conflict";
    let cases: Vec<(Answer, u16, &str, &str)> = vec![
        (admin.delete("/_miroir/nodes/node-0"), 409, conflict, "The node `node-0` holds the last replica"),
        (moves::ask(&admin, "nodes/node-1/drain"), 409, conflict, "The node `node-1` holds the last replica"),
        (admin.delete("/_miroir/nodes/nobody"), 404, "miroir_node_not_found", "There is no node `nobody`."),
        (moves::ask(&admin, "nodes/nobody/drain"), 404, "miroir_node_not_found", "There is no node `nobody`."),
        (moves::ask(&admin, "nodes/node-0/undrain"), 409, conflict, "The node `node-0` is not drained."),
        (admin.delete("/_miroir/groups/7"), 404, "miroir_replica_group_not_found", "There is no replica group 7."),
        (admin.delete("/_miroir/groups/x"), 400, "bad_request", "`x` is no replica group"),
        (add(node("node-1", &address)), 409, conflict, "There is a node `node-1` already."),
        (add(node("node-2", &taken)), 409, conflict, "The node `node-1` has the address"),
        (add(node("node-2", &nowhere)), 400, "miroir_node_unfit", "The node `node-2` does not answer at its address."),
        (
            add(json!({ "id": "node-2", "address": address, "replicaGroup": 9 })),
            404,
            "miroir_replica_group_not_found",
            "There is no replica group 9.",
        ),
        (
            admin.post("/_miroir/groups", &json!({ "replicaGroup": 1, "nodes": [{ "id": "x", "address": address }] })),
            409,
            conflict,
            "There is a replica group 1 already.",
        ),
        (admin.post("/_miroir/groups", &json!({ "nodes": [] })), 400, "bad_request", "A new replica group needs nodes"),
        (moves::ask(&admin, "rebalance/pause"), 409, conflict, "No change of the cluster is under way."),
        (moves::ask(&admin, "rebalance/cancel"), 409, conflict, "No change of the cluster is under way."),
    ];
    for (answer, status, code, begins) in &cases {
        assert_eq!((answer.status, answer.code()), (*status, *code), "{}", answer.text);
        assert!(message(answer).starts_with(begins), "{begins}: {}", answer.text);
    }
    assert_eq!(state(&cluster), before);

    // What the node itself is.
    let unfit = |what: &str| {
        let answer = add(node("node-2", &address)).expect(400);
        assert_eq!(answer.code(), "miroir_node_unfit", "{}", answer.text);
        assert!(message(&answer).contains(what), "{what}: {}", answer.text);
    };
    let faults = cluster.faults(spare);
    faults.spoil("GET", "/version", 1, Fault::Answer(200, json!({ "pkgVersion": "1.12.3" })));
    unfit("runs Meilisearch 1.12.3, and 1.15.0 is the oldest that will do");
    faults.spoil("GET", "/version", 1, Fault::Answer(200, json!({ "pkgVersion": "nonsense" })));
    unfit("the node's version cannot be read: nonsense");
    faults.spoil("GET", "/version", 1, Fault::Answer(403, json!({ "code": "invalid_api_key" })));
    unfit("`node_master_key`");
    let own = cluster.node_client(spare);
    own.load("movies", &json!([{ "id": 9 }]));
    unfit("holds an index `movies` of its own");
    own.done(&own.delete("/indexes/movies"));
    assert_eq!(state(&cluster), before);
}

#[test]
fn bad_input_names_the_field() {
    let cluster = Cluster::builder().nodes(1).rf(1).shards(4).start();
    let admin = cluster.admin();
    let url = "http://127.0.0.1:1";
    let cases = [
        ("nodes", json!([]), "expected an object"),
        ("nodes", json!({}), "Missing field `id`."),
        ("nodes", json!({ "id": "a" }), "Missing field `address`."),
        ("nodes", json!({ "id": 5, "address": url }), "Invalid value at `.id`: expected a string, but found `5`."),
        ("nodes", json!({ "id": "a b", "address": url }), "Invalid value at `.id`: \"a b\" is not 1 to 64 letters"),
        ("nodes", json!({ "id": "a", "address": "x:1" }), "Invalid value at `.address`: must begin with http://"),
        ("nodes", json!({ "id": "a", "address": url, "replicaGroup": "0" }), "Invalid value at `.replicaGroup`"),
        ("nodes", json!({ "id": "a", "address": url, "group": 0 }), "Unknown field `.group`: expected one of"),
        ("groups", json!({}), "Missing field `nodes`."),
        ("groups", json!({ "nodes": 1 }), "Invalid value at `.nodes`: expected an array"),
        ("groups", json!({ "nodes": [1] }), "Invalid value at `.nodes[0]`: expected an object"),
        ("groups", json!({ "nodes": [{ "id": "a" }] }), "Missing field `nodes[0].address`."),
        ("groups", json!({ "nodes": [{ "id": "a", "address": url, "x": 1 }] }), "Unknown field `.nodes[0].x`"),
        ("groups", json!({ "replicaGroup": -1, "nodes": [] }), "Invalid value at `.replicaGroup`"),
    ];
    for (route, body, expected) in cases {
        let answer = admin.post(&format!("/_miroir/{route}"), &body);
        assert_eq!((answer.status, answer.code()), (400, "bad_request"), "{body}: {}", answer.text);
        assert!(message(&answer).contains(expected), "{body}: {}", answer.text);
    }
    let outsider = Client::new(&cluster.address(), "nonsense");
    assert_eq!(moves::ask(&outsider, "rebalance/cancel").status, 401);
}

/// A cluster of three nodes with documents, and a fourth one.
fn growing() -> (Cluster, usize, Ledger) {
    let mut cluster = Cluster::builder()
        .faults()
        .set("rebalancer.max_concurrent_migrations", json!(1))
        .set("write.node_timeout_ms", json!(2000))
        .start();
    let documents = dataset::documents(1500, 5);
    let client = cluster.client();
    client.create("steady", "id");
    client.load("steady", &Value::from(documents.clone()));
    let known = Ledger::default();
    known.knows(&documents);
    let spare = cluster.spare();
    (cluster, spare, known)
}

/// The cluster is as it was before.
#[track_caller]
fn assert_as_before(cluster: &Cluster, spare: usize, known: &Ledger, replicas: &[(String, u64)]) {
    let admin = cluster.admin();
    assert_eq!(moves::replicas(&admin), replicas);
    assert_equal(cluster, &[0, 1, 2], "steady", 2, &known.settle(&cluster.client()));
    let left = cluster.node_client(spare).get("/indexes").expect(200);
    assert_eq!(left.body["total"], 0, "{}", left.text);
    let stale = admin.get("/_miroir/stale").expect(200);
    assert_eq!(stale.body["stale"], json!([]), "{}", stale.text);
}

#[test]
fn a_change_is_called_off_while_it_is_prepared() {
    let (cluster, spare, known) = growing();
    let admin = cluster.admin();
    let before = moves::replicas(&admin);
    // The node answers, but makes no index.
    cluster.faults(spare).spoil("POST", "/indexes", 1_000_000, Fault::Drop);
    let begun = moves::add(&cluster, spare, 0);
    assert_eq!(moves::under_way(&admin).map(|operation| operation.phase), Some(RebalancePhase::Preparing));
    let second = moves::ask(&admin, "nodes/node-0/drain").expect(409);
    assert!(message(&second).starts_with("Another change of the cluster is under way"), "{}", second.text);
    moves::ask(&admin, "rebalance/cancel").expect(200);
    let last = moves::ended(&admin, &begun);
    assert!(last.canceled, "{last:?}");
    cluster.faults(spare).clear();
    assert_as_before(&cluster, spare, &known, &before);
    moves::done(&admin, &moves::add(&cluster, spare, 0));
}

#[test]
fn a_change_is_paused_and_called_off_while_documents_are_copied() {
    let (cluster, spare, known) = growing();
    let admin = cluster.admin();
    let before = moves::replicas(&admin);
    // Nothing can be copied there.
    cluster.faults(spare).spoil("POST", "/documents?", 1_000_000, Fault::Answer(503, json!({})));
    let begun = moves::add(&cluster, spare, 0);
    moves::reaches(&admin, &MoveState::Copying);
    moves::ask(&admin, "rebalance/pause").expect(200);
    eventually("it is paused", moves::move_bound(), || {
        let operation = moves::under_way(&admin)?;
        (operation.waits_for == Some(WaitsFor::Other(Awaited::Operator))).then_some(())
    });
    cluster.faults(spare).clear();
    moves::ask(&admin, "rebalance/cancel").expect(200);
    assert!(moves::ended(&admin, &begun).canceled);
    assert_as_before(&cluster, spare, &known, &before);
}

#[test]
fn what_has_moved_stays_when_the_rest_is_called_off() {
    let (cluster, spare, known) = growing();
    let admin = cluster.admin();
    let begun = moves::add(&cluster, spare, 0);
    eventually("something has moved", moves::move_bound(), || {
        let operation = moves::under_way(&admin)?;
        (operation.replicas.switched > 0).then_some(())
    });
    moves::ask(&admin, "rebalance/cancel").expect(200);
    let last = moves::ended(&admin, &begun);
    let moved = last.replicas;
    assert!(moved > 0, "{last:?}");
    let held: BTreeMap<String, u64> = moves::replicas(&admin).into_iter().collect();
    assert_eq!(held.get("node-3"), Some(&moved), "{held:?}");
    assert_equal(&cluster, &[0, 1, 2, 3], "steady", 2, &known.settle(&cluster.client()));
    // The shares are made even again.
    moves::done(&admin, &moves::ask(&admin, "rebalance"));
    let held = moves::replicas(&admin);
    assert!(held.iter().all(|(_, replicas)| *replicas == 8), "{held:?}");
    assert_equal(&cluster, &[0, 1, 2, 3], "steady", 2, &known.settle(&cluster.client()));
}

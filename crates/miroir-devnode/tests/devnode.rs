//! What the devnode promises beyond what every Meilisearch does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use miroir_devnode::{Node, NodeOptions, StartError};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn start(dir: &Path) -> Node {
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Node::start(NodeOptions { data_dir: dir.to_owned(), bind, master_key: None }).unwrap()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

fn get(node: &Node, path: &str) -> Value {
    let mut answer = agent().get(format!("http://{}{path}", node.address())).call().unwrap();
    answer.body_mut().read_json().unwrap()
}

fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let mut answer = agent().post(format!("http://{}{path}", node.address())).send_json(body).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
}

fn write(node: &Node, path: &str, body: &Value) -> u64 {
    let (status, task) = post(node, path, body);
    assert_eq!(status, 202, "{task}");
    task["taskUid"].as_u64().unwrap()
}

fn settled(node: &Node, uid: u64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let task = get(node, &format!("/tasks/{uid}"));
        if !matches!(task["status"].as_str(), Some("enqueued" | "processing")) {
            return task;
        }
        assert!(Instant::now() < deadline, "{task}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_document_that_only_the_indexer_refuses_fails_its_own_task_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    let answer = agent()
        .patch(format!("http://{}/indexes/a/settings", node.address()))
        .send_json(json!({"sortableAttributes": ["_geo"]}))
        .unwrap();
    assert_eq!(answer.status(), 202);
    write(&node, "/indexes/a/documents", &json!([{"id": 0}]));
    let batches = [json!([{"id": 1}]), json!([{"id": 2, "_geo": "nowhere"}]), json!([{"id": 3}])];
    let tasks = batches.map(|batch| write(&node, "/indexes/a/documents", &batch));
    let statuses = tasks.map(|uid| settled(&node, uid)["status"].as_str().unwrap().to_owned());
    assert_eq!(statuses, ["succeeded", "failed", "succeeded"]);
    assert_eq!(get(&node, "/indexes/a/documents")["total"], 3);
    node.stop();
}

#[test]
fn nodes_live_side_by_side_and_their_data_can_be_opened_again() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for round in 0..3_u64 {
        let nodes = dirs.each_ref().map(|dir| start(dir.path()));
        for (place, node) in nodes.iter().enumerate() {
            let before = get(node, "/indexes?limit=1")["total"].as_u64().unwrap();
            assert_eq!(before, u64::from(round > 0));
            let uid = write(node, "/indexes/a/documents", &json!([{"id": round, "node": place}]));
            assert_eq!(settled(node, uid)["status"], "succeeded");
            let (_, found) = post(node, "/indexes/a/search", &json!({"q": place.to_string()}));
            assert!(found["hits"].as_array().unwrap().iter().any(|hit| hit["id"] == round), "{found}");
            assert_eq!(get(node, "/indexes/a/documents")["total"], round + 1);
        }
        for node in nodes {
            node.stop();
        }
    }
}

#[test]
fn tasks_that_were_not_reached_before_a_stop_are_applied_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    let last = (0..30).map(|id| write(&node, "/indexes/a/documents", &json!([{"id": id}]))).last().unwrap();
    node.stop();
    let node = start(dir.path());
    assert_eq!(settled(&node, last)["status"], "succeeded");
    assert_eq!(get(&node, "/indexes/a/documents")["total"], 30);
    node.stop();
}

#[test]
fn a_taken_address_is_told() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let node = start(dirs[0].path());
    let options = NodeOptions { data_dir: dirs[1].path().to_owned(), bind: node.address(), master_key: None };
    assert!(matches!(Node::start(options), Err(StartError::Bind { .. })));
    node.stop();
}

#[test]
fn strange_queries_never_bring_the_node_down() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    let documents = json!([{"id": 1, "title": "é \u{2055}\u{1F600} \u{0} x", "_geo": null, "a.b": [[], {}]}]);
    let uid = write(&node, "/indexes/a/documents", &documents);
    assert_eq!(settled(&node, uid)["status"], "succeeded");
    let long = "a ".repeat(5_000);
    let deep = format!("{}id = 1{}", "(".repeat(3_000), ")".repeat(3_000));
    let many = (0..5_000).map(|id| format!("id = {id}")).collect::<Vec<_>>().join(" OR ");
    for query in [
        json!({"q": long}),
        json!({"q": "\u{0}\u{FFFF}\"\"\" - -- \u{2055}"}),
        json!({"q": "-x -\"y", "attributesToHighlight": ["*", "a.b", ""], "attributesToCrop": ["*:0", ":", "title:"]}),
        json!({"q": "é", "attributesToCrop": ["title:1"], "cropLength": 0, "showMatchesPosition": true}),
        json!({"filter": deep}),
        json!({"filter": many}),
        json!({"filter": "NOT NOT NOT id = 1"}),
        json!({"filter": []}),
        json!({"filter": ""}),
        json!({"sort": ["_geoPoint(0,0):asc", "_geoPoint(nan,inf):desc"]}),
        json!({"sort": [":asc", ""]}),
        json!({"facets": ["*", ""]}),
        json!({"attributesToRetrieve": ["a.b.c", "a..b", ""]}),
        json!({"q": "x", "attributesToSearchOn": [""]}),
        json!({"page": 1, "hitsPerPage": u64::MAX}),
        json!({"offset": u64::MAX, "limit": u64::MAX}),
        json!({"rankingScoreThreshold": 1, "q": "x", "distinct": ""}),
    ] {
        let (status, answer) = post(&node, "/indexes/a/search", &query);
        let shown: String = query.to_string().chars().take(120).collect();
        assert!(status == 200 || status == 400, "{shown}: {status} {answer}");
    }
    assert_eq!(get(&node, "/health")["status"], "available");
    node.stop();
}

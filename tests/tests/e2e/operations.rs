//! What operators see: state, readiness, metrics, keys, and configurations that are refused at start.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_api::{NodeState, ShardReplicas, Shards, Topology, TopologyNode, Version};
use miroir_tests::config::{self, ADMIN_KEY, CLIENT_KEY};
use miroir_tests::node::Scratch;
use miroir_tests::process::Process;
use miroir_tests::{Client, Twin, binaries, ports, wait};

#[test]
fn the_topology_names_every_node_and_its_state() {
    let twin = Twin::shared();
    let topology: Topology = twin.cluster.admin().get("/_miroir/topology").expect(200).read();
    assert_eq!((topology.shards, topology.replication_factor, topology.replica_groups), (16, 2, 1));
    assert_eq!(topology.nodes.len(), 3);
    for (i, TopologyNode { node, .. }) in topology.nodes.iter().enumerate() {
        assert_eq!((&node.id, &node.state, node.replica_group), (&format!("node-{i}"), &NodeState::Healthy, 0));
        assert_eq!(node.address, twin.cluster.nodes()[i].address());
    }
}

#[test]
fn every_shard_has_its_replicas_on_different_nodes() {
    let shards: Shards = Twin::shared().cluster.admin().get("/_miroir/shards").expect(200).read();
    assert_eq!(shards.stale, []);
    let placed = &shards.groups[0].shards;
    assert_eq!(placed.len(), 16);
    let mut held = std::collections::BTreeMap::<&str, usize>::new();
    for (i, ShardReplicas { shard, replicas }) in placed.iter().enumerate() {
        assert_eq!(usize::try_from(*shard), Ok(i));
        assert!(replicas.len() == 2 && replicas[0] != replicas[1], "{shard}: {replicas:?}");
        for replica in replicas {
            *held.entry(replica).or_default() += 1;
        }
    }
    assert!(held.values().all(|count| (10..=11).contains(count)), "32 replicas over 3 nodes: {held:?}");
}

#[test]
fn readiness_health_and_version_need_no_more_than_they_should() {
    let twin = Twin::shared();
    let anyone = Client::anonymous(&twin.cluster.address());
    assert_eq!(anyone.get("/health").expect(200).body, json!({ "status": "available" }));
    assert_eq!(anyone.get("/_miroir/ready").status, 200);
    assert_eq!(anyone.get("/_miroir/metrics").status, 401);
    let version = twin.same("version", |client| {
        let mut answer = client.get("/version");
        // Which build it is differs; that it is said does not.
        for field in ["commitSha", "commitDate"] {
            assert!(answer.body[field].is_string(), "{}", answer.text);
            answer.body[field] = Value::Null;
        }
        answer
    });
    assert!(version.body["pkgVersion"].is_string());
    let ours: Version = twin.cluster.admin().get("/_miroir/version").expect(200).read();
    assert!(!ours.version.is_empty(), "{ours:?}");
}

#[test]
fn metrics_have_their_names_on_a_port_of_their_own() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    client.load("measured", &json!([{ "id": 1 }]));
    client.search("measured", &json!({})).expect(200);
    let metrics = twin.cluster.metrics().get("/metrics").expect(200);
    let names = [
        "miroir_request_duration_seconds",
        "miroir_requests_total",
        "miroir_requests_in_flight",
        "miroir_node_healthy",
        "miroir_node_request_duration_seconds",
        "miroir_shard_coverage",
        "miroir_degraded_shards",
        "miroir_shard_distribution",
        "miroir_stale_replicas",
        "miroir_task_processing_age_seconds",
        "miroir_tasks_total",
        "miroir_task_registry_size",
        "miroir_scatter_fan_out_size",
        "miroir_scatter_partial_responses",
        "miroir_scatter_retries",
    ];
    for name in names {
        assert!(metrics.text.contains(name), "{name} is not in\n{}", metrics.text);
    }
    let value = |prefix: &str| -> Option<f64> {
        let line = metrics.text.lines().find(|line| line.starts_with(prefix))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    assert_eq!(value("miroir_node_healthy{node_id=\"node-0\"}"), Some(1.0));
    assert_eq!(value("miroir_shard_coverage"), Some(1.0));
    assert_eq!(value("miroir_stale_replicas"), Some(0.0));
    assert!(value("miroir_scatter_fan_out_size_count").is_some_and(|count| count >= 1.0));
    assert!(metrics.text.contains("/indexes/{uid}/search"), "the route, not the path, is the label");
    assert!(!metrics.text.contains("/indexes/measured"), "a client's paths are not labels");
}

#[test]
fn keys_are_judged_as_one_server_judges_them() {
    let twin = Twin::shared();
    twin.create("locked");
    let paths = [
        "/indexes",
        "/indexes/locked",
        "/indexes/locked/search",
        "/indexes/locked/documents",
        "/indexes/locked/settings",
        "/tasks",
        "/stats",
        "/version",
        "/health",
    ];
    let variants: [Option<&str>; 6] =
        [None, Some(""), Some("Bearer wrong"), Some("Bearer"), Some("Basic abc"), Some("bearer wrong")];
    for path in paths {
        for header in variants {
            let [ours, theirs] = [twin.cluster.address(), twin.reference.address()].map(|base| {
                let client = Client::anonymous(&base);
                header.map_or(client.clone(), |value| client.with_header("authorization", value)).get(path)
            });
            assert_eq!(ours.verdict(), theirs.verdict(), "{path} with {header:?}: {}", ours.text);
        }
    }
    let none = Client::anonymous(&twin.cluster.address()).get("/indexes");
    assert_eq!(none.verdict(), (401, "missing_authorization_header".to_owned()));
    let wrong = Client::new(&twin.cluster.address(), "wrong").get("/indexes");
    assert_eq!(wrong.verdict(), (403, "invalid_api_key".to_owned()));
    // Neither the operators' key nor the nodes' opens the clients' routes.
    for key in [ADMIN_KEY, miroir_tests::node::NODE_KEY] {
        assert_eq!(Client::new(&twin.cluster.address(), key).get("/indexes").status, 403);
    }
}

#[test]
fn the_admin_api_wants_the_admin_key() {
    let twin = Twin::shared();
    let anyone = Client::anonymous(&twin.cluster.address());
    for path in [
        "/_miroir/topology",
        "/_miroir/shards",
        "/_miroir/stale",
        "/_miroir/version",
        "/_miroir/leases",
        "/_miroir/jobs",
        "/_miroir/openapi.json",
    ] {
        for client in [anyone.clone(), twin.cluster.client(), anyone.with_header("x-admin-key", "wrong")] {
            assert_eq!(client.get(path).verdict(), (401, "miroir_invalid_auth".to_owned()), "{path}");
        }
        assert_eq!(anyone.with_header("x-admin-key", ADMIN_KEY).get(path).status, 200, "{path}");
        assert_eq!(twin.cluster.admin().get(path).status, 200, "{path}");
    }
}

#[test]
fn unknown_routes_and_wrong_methods_have_empty_bodies() {
    let twin = Twin::shared();
    let requests = [
        ("GET", "/nowhere"),
        ("GET", "/indexes/a/nowhere"),
        ("POST", "/nowhere"),
        ("DELETE", "/indexes"),
        ("POST", "/health"),
        ("PATCH", "/indexes/a/documents"),
        ("PUT", "/indexes/a/settings"),
        ("PUT", "/tasks"),
        ("DELETE", "/version"),
        ("GET", "/indexes/a/documents/b/c"),
    ];
    for (method, path) in requests {
        let [ours, theirs] = twin.clients().map(|client| client.send(method, path, None, &[]));
        assert_eq!((ours.status, &ours.text), (theirs.status, &theirs.text), "{method} {path}");
        assert!(
            matches!(ours.status, 404 | 405) && ours.text.is_empty(),
            "{method} {path}: {} {}",
            ours.status,
            ours.text
        );
    }
    let ours = twin.cluster.admin().get("/_miroir/nowhere");
    assert_eq!(ours.status, 404);
}

#[test]
fn slashes_too_many_make_no_difference() {
    let twin = Twin::shared();
    twin.create("slashed");
    for path in ["/indexes/slashed/", "/health/", "//indexes/slashed", "/indexes//slashed/settings/"] {
        twin.same(path, |client| client.get(path));
    }
}

/// A configuration of three nodes that nothing listens on.
fn sound() -> Value {
    let mut file = config::base(
        ports::free(),
        ports::free(),
        &json!({ "backend": "sqlite", "path": "" }),
        "node-key-of-sixteen-bytes",
    );
    file["nodes"] = (0..3).map(|i| json!({ "id": format!("n{i}"), "address": format!("http://127.0.0.1:{}", ports::free()), "replica_group": 0 })).collect();
    file
}

/// What the orchestrator prints, and the code it exits with, when started on `file`; `None`: it goes on running.
fn start(file: &Value, arguments: &[&str]) -> (Option<i32>, String) {
    let scratch = Scratch::new().unwrap_or_else(|error| panic!("{error:#}"));
    let path = scratch.path().join("miroir.yaml");
    let mut file = file.clone();
    if file["task_store"]["path"] == "" {
        file["task_store"]["path"] = json!(scratch.path().join("miroir.db"));
    }
    std::fs::write(&path, file.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let binary = binaries::proxy().unwrap_or_else(|error| panic!("{error:#}"));
    let path = path.to_string_lossy();
    let mut all = vec!["--config", &path];
    all.extend(arguments);
    let process = Process::start("miroir", &binary, &all, &scratch.path().join("log"));
    let mut process = process.unwrap_or_else(|error| panic!("{error:#}"));
    let status = wait::poll(Duration::from_secs(5), || process.ended());
    (status.map(|status| status.code().unwrap_or(-1)), process.log())
}

#[test]
fn configurations_that_cannot_be_right_stop_the_start_with_one_line() {
    let production = json!({ "environment": "production" });
    let cases: [(&str, Value, &str); 14] = [
        ("an unknown key", json!({ "replication_facto": 2 }), "replication_facto"),
        ("an unknown nested key", json!({ "server": { "prt": 1 } }), "server.prt"),
        ("a value of the wrong type", json!({ "shards": "many" }), "shards"),
        ("no shards", json!({ "shards": 0 }), "shards"),
        ("no nodes", json!({ "nodes": [] }), "nodes"),
        (
            "one id for two nodes",
            json!({ "nodes": [{ "id": "a", "address": "http://127.0.0.1:1" }, { "id": "a", "address": "http://127.0.0.1:2" }] }),
            "nodes[1].id",
        ),
        ("a node that is no address", json!({ "nodes": [{ "id": "a", "address": "somewhere" }] }), "nodes[0].address"),
        ("a group without a node", json!({ "replica_groups": 2 }), "group"),
        (
            "a node of a group beyond",
            json!({ "nodes": [{ "id": "a", "address": "http://127.0.0.1:1", "replica_group": 3 }] }),
            "replica_group",
        ),
        ("more replicas than nodes", json!({ "replication_factor": 4 }), "replication_factor"),
        ("an empty key in production", json!({ "environment": "production", "master_key": "" }), "master_key"),
        (
            "an empty node key in production",
            json!({ "environment": "production", "node_master_key": "" }),
            "node_master_key",
        ),
        (
            "an empty admin key in production",
            json!({ "environment": "production", "admin": { "api_key": "" } }),
            "admin.api_key",
        ),
        (
            "a policy that does not exist",
            json!({ "scatter": { "unavailable_shard_policy": "hope" } }),
            "scatter.unavailable_shard_policy",
        ),
    ];
    for (what, change, names) in cases {
        let mut file = sound();
        for (key, value) in change.as_object().into_iter().flatten() {
            match (file.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
                (Some(section), Some(values)) => section.extend(values.clone()),
                _ => file[key] = value.clone(),
            }
        }
        let (code, log) = start(&file, &[]);
        assert!(code.is_some_and(|code| code != 0), "{what}: {code:?}\n{log}");
        assert!(log.contains(names), "{what}: {names} is not named:\n{log}");
        assert_eq!(log.lines().count(), 1, "{what}: more than a line:\n{log}");
        assert!(!log.contains("panicked"), "{what}:\n{log}");
        let (code, log) = start(&file, &["config", "check"]);
        assert!(code.is_some_and(|code| code != 0) && log.contains(names), "config check of {what}: {code:?}\n{log}");
    }
    let mut sane = sound();
    for (key, value) in production.as_object().into_iter().flatten() {
        sane[key] = value.clone();
    }
    let (code, log) = start(&sane, &["config", "check"]);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_start_without_its_nodes_waits_for_them_and_is_not_ready() {
    let scratch = Scratch::new().unwrap_or_else(|error| panic!("{error:#}"));
    let mut file = sound();
    file["task_store"]["path"] = json!(scratch.path().join("miroir.db"));
    let address = format!("http://127.0.0.1:{}", file["server"]["port"]);
    let path = scratch.path().join("miroir.yaml");
    std::fs::write(&path, file.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let binary = binaries::proxy().unwrap_or_else(|error| panic!("{error:#}"));
    let log = scratch.path().join("miroir.log");
    let process = Process::start("miroir", &binary, &["--config", &path.to_string_lossy()], &log);
    let process = process.unwrap_or_else(|error| panic!("{error:#}"));
    let client = Client::new(&address, CLIENT_KEY);
    client.healthy(Duration::from_secs(20));
    let ready = client.get("/_miroir/ready");
    assert_eq!(ready.status, 503, "{}\n{}", ready.text, process.log());
    assert_eq!(client.get("/indexes").expect(200).body["total"], 0, "the catalog needs no node");
    assert_eq!(client.post("/indexes", &json!({ "uid": "a" })).status, 503);
}

#[test]
fn logs_are_json_lines() {
    let log = Twin::shared().cluster.proxy_log();
    assert!(!log.trim().is_empty());
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|entry| entry.is_object()), "not JSON: {line}");
    }
}

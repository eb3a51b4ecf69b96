//! What each command asks, prints and exits with.

use std::net::TcpListener;

use crate::stub::{Stub, ctl, home, text};

pub const TOPOLOGY: &str = r#"{"epoch":1,"shards":16,"replicationFactor":2,"replicaGroups":1,"placement":"balanced",
"nodes":[{"id":"meili-0","address":"http://127.0.0.1:7701","replicaGroup":0,"state":"healthy",
"since":"2026-01-01T00:00:00Z","lastError":null,"version":"1.50.0","shardReplicas":11},
{"id":"meili-1","address":"http://127.0.0.1:7702","replicaGroup":0,"state":"failed",
"since":"2026-01-02T00:00:00Z","lastError":"connection refused","version":null,"shardReplicas":10}],
"degradedShards":10,"staleReplicas":3,"somethingNew":true}"#;

const TASK: &str = r#"{"uid":12,"batchUid":12,"indexUid":"products","status":"succeeded","type":"documentAdditionOrUpdate",
"canceledBy":null,"details":{"receivedDocuments":2,"indexedDocuments":2},"error":null,"duration":"PT0.1S",
"enqueuedAt":"2026-01-01T00:00:00Z","startedAt":"2026-01-01T00:00:01Z","finishedAt":"2026-01-01T00:00:02Z",
"nodeTasks":[{"node":"meili-0","uid":7,"shards":[0,1,2,9],"status":"succeeded","error":null},
{"node":"meili-1","uid":9,"shards":[3],"status":"failed","error":{"message":"no room","code":"internal","type":"internal","link":""}}]}"#;

const LEASES: &str = r#"{"leases":[{"scope":"job:j-1","holder":"one#4","token":9,"endsInMs":29950},
{"scope":"settings_broadcast:movies","holder":"one","token":7,"endsInMs":8049}],"somethingNew":true}"#;

const PEERS: &str = r#"{"peers":[{"id":"web-1-ab12","self":true,"address":"0.0.0.0:7700","epoch":3,"version":"0.1.0",
"since":"2026-01-01T00:00:00Z"},{"id":"web-2-cd34","self":false,"address":"0.0.0.0:7701","epoch":2,"version":"0.1.0",
"since":"2026-01-01T00:00:01Z"}],"somethingNew":true}"#;

const JOBS: &str = r#"{"jobs":[{"id":"j-1","kind":"dump_import","state":"running","cursor":{"line":7},"chunks":12,
"attempts":0,"vanished":0,"error":null,"notBefore":null,"enqueuedAt":"2026-01-01T00:00:00Z",
"updatedAt":"2026-01-01T00:00:01Z","claim":{"scope":"job:j-1","holder":"one#4","token":9,"endsInMs":29950}},
{"id":"j-2","kind":"reshard","state":"failed","cursor":null,"chunks":0,"attempts":3,"vanished":0,"error":"no room",
"notBefore":null,"enqueuedAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:02Z","claim":null}]}"#;

pub const MOVING: &str = r#"{"inProgress":true,"operation":{"id":"t-1","change":{"type":"addNode","node":"meili-3",
"replicaGroup":0},"phase":"moving","intent":"run","canceled":false,"epoch":4,"waitsFor":null,"replicas":{"total":8,
"planned":0,"waiting":3,"copying":2,"switched":3,"abandoned":0},"documents":40,"moves":[],
"startedAt":"2026-01-01T00:00:00Z"},"last":null}"#;

pub const ENDED: &str = r#"{"inProgress":false,"operation":null,"last":{"id":"t-1","change":{"type":"addNode",
"node":"meili-3","replicaGroup":0},"canceled":false,"replicas":8,"documents":120,
"startedAt":"2026-01-01T00:00:00Z","finishedAt":"2026-01-01T00:01:00Z"}}"#;

#[test]
fn status_summarises_a_ready_cluster() {
    let stub =
        Stub::start(&[("/_miroir/ready?cluster=true", 200, r#"{"ready":true}"#), ("/_miroir/topology", 200, TOPOLOGY)]);
    let out = ctl(home().path(), &["status", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(
        text(&out.stdout),
        "ready            yes\n\
         nodes            1 of 2 healthy\n\
         \x20                meili-1 is failed: connection refused\n\
         shards           16, replication factor 2, replica groups 1\n\
         degraded shards  10\n\
         stale replicas   3\n"
    );
}

#[test]
fn status_fails_when_not_ready_and_says_why() {
    let stub = Stub::start(&[
        ("/_miroir/ready?cluster=true", 503, r#"{"ready":false,"reasons":["shard 3 has no replica"]}"#),
        ("/_miroir/topology", 200, TOPOLOGY),
    ]);
    let out = ctl(home().path(), &["status"], &[("MIROIR_URL", &stub.url)]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stdout).contains("because          shard 3 has no replica\n"), "{}", text(&out.stdout));
    let out = ctl(home().path(), &["--output", "json", "status"], &[("MIROIR_URL", &stub.url)]);
    assert_eq!(out.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(value["ready"], false);
    assert_eq!(value["topology"]["nodes"][1]["id"], "meili-1");
}

#[test]
fn topology_prints_a_table_or_what_the_server_said() {
    let stub = Stub::start(&[("/_miroir/topology", 200, TOPOLOGY)]);
    let out = ctl(home().path(), &["topology", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(0));
    let printed = text(&out.stdout);
    assert!(printed.contains("replication factor  2\n"), "{printed}");
    assert!(printed.contains("meili-0  0      healthy  11        1.50.0   http://127.0.0.1:7701"), "{printed}");
    assert!(printed.contains("meili-1  0      failed   10        -        http://127.0.0.1:7702"), "{printed}");
    let out = ctl(home().path(), &["topology", "--url", &stub.url, "--output", "json"], &[]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(value["somethingNew"], true);
}

#[test]
fn task_show_lists_the_node_tasks() {
    let stub = Stub::start(&[("/_miroir/tasks/12", 200, TASK)]);
    for typed in ["12", "mtask-00012"] {
        let out = ctl(home().path(), &["task", "show", typed, "--url", &stub.url], &[]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        let printed = text(&out.stdout);
        assert!(printed.contains("meili-0  7          succeeded  0-2,9   -\n"), "{printed}");
        assert!(printed.contains("meili-1  9          failed     3       no room [internal]\n"), "{printed}");
    }
    let out = ctl(home().path(), &["task", "show", "13", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stderr), "miroir-ctl: Not here. [task_not_found]\n");
}

#[test]
fn leases_are_printed_with_what_is_left_of_them() {
    let stub = Stub::start(&[("/_miroir/leases", 200, LEASES)]);
    let out = ctl(home().path(), &["leases", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(
        text(&out.stdout),
        "scope                      holder  token  ends in\n\
         job:j-1                    one#4   9      29.9 s\n\
         settings_broadcast:movies  one     7      8.0 s\n"
    );
    let out = ctl(home().path(), &["leases", "--url", &stub.url, "--output", "json"], &[]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(value["somethingNew"], true);
    let stub = Stub::start(&[("/_miroir/leases", 200, r#"{"leases":[{}]}"#)]);
    let out = ctl(home().path(), &["leases", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("another shape"), "{}", text(&out.stderr));
}

#[test]
fn peers_are_printed_with_the_epoch_that_each_acts_on() {
    let stub = Stub::start(&[("/_miroir/peers", 200, PEERS)]);
    let out = ctl(home().path(), &["peers", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(
        text(&out.stdout),
        "id          listens on    epoch  version  since\n\
         web-1-ab12  0.0.0.0:7700  3      0.1.0    2026-01-01T00:00:00Z  answers this\n\
         web-2-cd34  0.0.0.0:7701  2      0.1.0    2026-01-01T00:00:01Z\n"
    );
    let out = ctl(home().path(), &["peers", "--url", &stub.url, "--output", "json"], &[]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(value["somethingNew"], true);
    let stub = Stub::start(&[("/_miroir/peers", 200, r#"{"peers":[{}]}"#)]);
    let out = ctl(home().path(), &["peers", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("another shape"), "{}", text(&out.stderr));
}

#[test]
fn jobs_are_printed_with_who_claims_them_and_what_went_wrong() {
    let stub = Stub::start(&[("/_miroir/jobs", 200, JOBS)]);
    let out = ctl(home().path(), &["jobs", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let printed = text(&out.stdout);
    assert!(printed.starts_with("job  kind         state    chunks  attempts  claimed by  "), "{printed}");
    assert!(printed.contains("j-1  dump_import  running  12      0         one#4       "), "{printed}");
    assert!(printed.contains("j-2  reshard      failed   0       3         -           "), "{printed}");
    assert!(printed.ends_with("  no room\n"), "{printed}");
    let out = ctl(home().path(), &["jobs", "--url", &stub.url, "--output", "json"], &[]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(value["jobs"][0]["cursor"]["line"], 7);
}

#[test]
fn the_admin_key_comes_from_the_environment_then_the_file_then_the_flag() {
    let stub = Stub::start(&[("/_miroir/topology", 200, TOPOLOGY)]);
    let home = home();
    let mut keys = Vec::new();
    let flag = ["topology", "--url", &stub.url, "--admin-key", "from-flag"];
    ctl(home.path(), &["topology", "--url", &stub.url], &[]);
    ctl(home.path(), &flag, &[]);
    let directory = home.path().join(".config/miroir");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("credentials"), "admin_key = \"from-file\"\n").expect("a file");
    ctl(home.path(), &flag, &[]);
    ctl(home.path(), &flag, &[("MIROIR_ADMIN_API_KEY", "from-environment")]);
    for _ in 0..4 {
        keys.push(stub.asked.recv().expect("a request").1);
    }
    let bearer = |key: &str| Some(format!("Bearer {key}"));
    assert_eq!(keys, [None, bearer("from-flag"), bearer("from-file"), bearer("from-environment")]);
    std::fs::write(directory.join("credentials"), "admin_key = s3cret").expect("a file");
    let out = ctl(home.path(), &flag, &[]);
    assert_eq!(out.status.code(), Some(2));
    let message = text(&out.stderr);
    assert!(message.contains("expected TOML") && !message.contains("s3cret"), "{message}");
}

#[test]
fn a_refused_key_is_a_failure_with_a_hint() {
    const BODY: &str =
        r#"{"message":"The admin key is missing.","code":"miroir_invalid_auth","type":"auth","link":"x"}"#;
    let stub = Stub::start(&[("/_miroir/topology", 401, BODY)]);
    let out = ctl(home().path(), &["topology", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(1));
    let message = text(&out.stderr);
    assert!(message.contains("The admin key is missing. [miroir_invalid_auth] (no admin key given"), "{message}");
}

#[test]
fn something_else_than_miroir_is_a_failure() {
    let stub = Stub::start(&[("/_miroir/topology", 200, "<html>"), ("/_miroir/ready?cluster=true", 200, "[]")]);
    let out = ctl(home().path(), &["topology", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("is it Miroir?"));
    let out = ctl(home().path(), &["status", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("another shape"));
}

#[test]
fn nobody_there_is_unreachable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address").port()
    };
    let out = ctl(home().path(), &["status", "--url", &format!("http://127.0.0.1:{port}")], &[]);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("cannot be reached"));
}

#[test]
fn wrong_usage_is_told_apart() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["task", "show", "twelve"],
        &["status", "--url", "ftp://example.com"],
        &["status", "--url", "https://127.0.0.1:1", "--ca-file", "/does/not/exist"],
        &["status", "--output", "xml"],
        &["config", "check"],
    ] {
        let out = ctl(home().path(), arguments, &[]);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {}", text(&out.stderr));
    }
    assert_eq!(ctl(home().path(), &["--help"], &[]).status.code(), Some(0));
}

#[test]
fn config_check_says_what_the_proxy_would_say() {
    let home = home();
    let file = home.path().join("miroir.yaml");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(&file, "nodes: [{ id: a, address: \"http://127.0.0.1:7701\" }]\n").expect("a file");
    let out = ctl(home.path(), &["config", "check", path], &[("MIROIR__SHARDS", "16")]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains(": valid\n") && text(&out.stdout).contains("shards              16\n"));
    let out = ctl(home.path(), &["config", "check", path, "--set", "replication_factor=2"], &[]);
    assert_eq!(out.status.code(), Some(1));
    let expected =
        format!("{path}: replication_factor: is 2, but replica group 0 has 1 node; a node holds a shard once\n");
    assert_eq!(text(&out.stdout), expected);
    let out = ctl(home.path(), &["config", "check", path, "--output", "json"], &[("MIROIR__NOPE", "1")]);
    assert_eq!(out.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(value["valid"], false);
    let out = ctl(home.path(), &["config", "check", "/does/not/exist"], &[]);
    assert_eq!(out.status.code(), Some(1));
}

#[test]
fn an_empty_table_is_a_sentence() {
    let stub = Stub::start(&[
        ("/_miroir/jobs", 200, r#"{"jobs":[]}"#),
        ("/_miroir/leases", 200, r#"{"leases":[]}"#),
        ("/_miroir/peers", 200, r#"{"peers":[]}"#),
        ("/_miroir/stale", 200, r#"{"stale":[],"healing":[]}"#),
    ]);
    for (command, sentence) in [
        ("jobs", "No jobs.\n"),
        ("leases", "No leases.\n"),
        ("peers", "No instances.\n"),
        ("stale", "No stale replicas.\n"),
    ] {
        let out = ctl(home().path(), &[command, "--url", &stub.url], &[]);
        assert_eq!((text(&out.stdout).as_str(), out.status.code()), (sentence, Some(0)), "{}", text(&out.stderr));
    }
    let out = ctl(home().path(), &["jobs", "--output", "json", "--url", &stub.url], &[]);
    assert_eq!(text(&out.stdout), "{\n  \"jobs\": []\n}\n");
}

#[test]
fn long_work_is_told_line_by_line_where_there_is_no_terminal() {
    let stub = Stub::start(&[
        ("/_miroir/rebalance/status", 200, MOVING),
        ("/_miroir/rebalance/status", 200, MOVING),
        ("/_miroir/rebalance/status", 200, MOVING),
        ("/_miroir/rebalance/status", 200, ENDED),
    ]);
    let out = ctl(home().path(), &["rebalance", "status", "--watch", "--url", &stub.url], &[]);
    let told = "add node meili-3 to group 0: 3 of 8 replicas moved, 2 being copied, 40 documents\n";
    assert_eq!(text(&out.stderr), told);
    assert_eq!(text(&out.stdout), "done: add node meili-3 to group 0, 8 replicas moved, 120 documents\n");
}

#[test]
fn a_script_is_not_asked() {
    const BEGUN: &str = r#"{"id":"t-2","change":{"type":"removeNode","node":"meili-1"},"replicas":10}"#;
    let stub = Stub::start(&[("/_miroir/nodes/meili-1", 202, BEGUN), ("/_miroir/groups/0", 202, BEGUN)]);
    for arguments in [["node", "remove", "meili-1"], ["group", "remove", "0"]] {
        for more in [&["--url", &stub.url][..], &["--url", &stub.url, "--yes"]] {
            let out = ctl(home().path(), &[&arguments[..], more].concat(), &[]);
            assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
            assert!(text(&out.stdout).starts_with("begun: 10 replicas are to move"), "{}", text(&out.stdout));
        }
    }
    let asked: Vec<String> = stub.asked.try_iter().map(|(path, _)| path).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[test]
fn shells_and_the_manual_are_told_of_the_commands() {
    let home = home();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let out = ctl(home.path(), &["completions", shell], &[]);
        assert_eq!(out.status.code(), Some(0), "{shell}: {}", text(&out.stderr));
        assert!(text(&out.stdout).contains("undrain"), "{shell}");
    }
    let out = ctl(home.path(), &["man"], &[]);
    assert!(out.status.code() == Some(0) && text(&out.stdout).contains(".TH miroir-ctl 1"), "{}", text(&out.stdout));
    let directory = home.path().join("man1");
    let name = directory.to_str().expect("UTF-8");
    let out = ctl(home.path(), &["man", name], &[]);
    assert_eq!(text(&out.stdout), format!("the pages of the manual are in {name}\n"));
    assert!(directory.join("miroir-ctl-stale-promote.1").is_file());
    std::fs::write(home.path().join("file"), "").expect("a file");
    let out = ctl(home.path(), &["man", home.path().join("file/man1").to_str().expect("UTF-8")], &[]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
}

#[test]
fn settings_status_prints_what_each_node_holds() {
    const CALM: &str = r#"{"index":"movies","version":1,"fingerprint":null,"broadcast":null,"frozen":[],"nodes":[
{"node":"node-0","live":true,"version":1,"current":true,"stage":null,"task":null,"fingerprint":null},
{"node":"node-1","live":true,"version":1,"current":true,"stage":null,"task":null,"fingerprint":null}]}"#;
    let stub = Stub::start(&[("/_miroir/indexes/movies/settings/status", 200, CALM)]);
    let out = ctl(home().path(), &["settings", "status", "movies", "--url", &stub.url], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(
        text(&out.stdout),
        "version    1\nbroadcast  none\n\n\
         node    version  settings  stage  task  fingerprint\n\
         node-0  1        current\n\
         node-1  1        current\n"
    );
}

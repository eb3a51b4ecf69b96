//! What operators see of changes of settings, and what they can do when a node does not comply.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::config::ADMIN_KEY;
use miroir_tests::ctl::{self, Printed};
use miroir_tests::{Answer, Client, Cluster, ClusterBuilder, Fault, wait};

const BOUND: Duration = Duration::from_secs(60);
const ALWAYS: usize = usize::MAX;
const SETTINGS: &str = "/indexes/movies/settings";

/// Nodes that can be made to spoil what they are told, and are told once more at most.
fn faulty() -> ClusterBuilder {
    Cluster::builder()
        .shards(4)
        .faults()
        .set("settings_drift_check.interval_s", json!(3600))
        .set("settings_broadcast.max_repair_retries", json!(1))
}

fn synonym(word: &str) -> Value {
    json!({ "synonyms": { word: ["film"] } })
}

/// A change cannot be verified before the faults are cleared.
fn hold_back(cluster: &Cluster) {
    for node in 0..cluster.nodes().len() {
        cluster.faults(node).spoil("GET", SETTINGS, ALWAYS, Fault::Answer(500, json!({})));
    }
}

fn clear_faults(cluster: &Cluster) {
    (0..cluster.nodes().len()).for_each(|node| cluster.faults(node).clear());
}

/// The node holds something else than it is told, so many times.
fn disobeys(cluster: &Cluster, node: usize, times: usize) {
    cluster.faults(node).spoil("PATCH", SETTINGS, times, Fault::Replace(json!({ "stopWords": ["x"] })));
}

fn run(cluster: &Cluster, arguments: &[&str]) -> Printed {
    ctl::run(&cluster.address(), ADMIN_KEY, arguments)
}

fn gauge(cluster: &Cluster, name: &str) -> Option<f64> {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn shows(cluster: &Cluster, name: &str, value: f64) {
    wait::eventually(&format!("{name} is {value}"), BOUND, || (gauge(cluster, name) == Some(value)).then_some(()));
}

fn add(client: &Client) -> Answer {
    client.add("movies", &json!([{ "id": 1, "title": "film" }]))
}

#[test]
fn miroir_ctl_shows_how_a_change_stands() {
    let cluster = faulty().start();
    let client = cluster.client();
    client.create("movies", "id");
    client.configure("movies", &synonym("first"));
    let calm = run(&cluster, &["settings", "status", "movies"]);
    let rows = "node    version  settings  stage  task  fingerprint\n\
                node-0  1        current\nnode-1  1        current\nnode-2  1        current\n";
    assert_eq!((calm.code, calm.out), (Some(0), format!("version    1\nbroadcast  none\n\n{rows}")), "{}", calm.err);
    assert_eq!(gauge(&cluster, "miroir_settings_broadcast_phase"), Some(0.0));

    hold_back(&cluster);
    let changes = ["second", "third"].map(|word| client.patch(SETTINGS, &synonym(word)).expect(202));
    let busy = wait::eventually("it is to be verified", BOUND, || {
        let printed = run(&cluster, &["settings", "status", "movies"]);
        printed.out.contains("broadcast  verify (1 more waiting)\n").then_some(printed)
    });
    assert_eq!(busy.code, Some(0), "{busy:?}");
    assert_eq!(busy.out.matches(" current   applied").count(), 3, "{}", busy.out);
    shows(&cluster, "miroir_settings_broadcast_phase", 2.0);
    let told = run(&cluster, &["--output", "json", "settings", "status", "movies"]).json();
    assert_eq!((&told["broadcast"]["version"], &told["broadcast"]["waiting"]), (&json!(2), &json!(1)), "{told}");
    clear_faults(&cluster);
    changes.iter().for_each(|accepted| drop(client.done(accepted)));
    shows(&cluster, "miroir_settings_broadcast_phase", 0.0);
    shows(&cluster, "miroir_settings_version{index=\"movies\"}", 3.0);
    // Nothing is left of changes that all nodes refuse, not even where somebody was about to lead them.
    for _ in 0..10 {
        client.patch(SETTINGS, &json!({ "rankingRules": ["nope"] })).expect(400);
    }
    shows(&cluster, "miroir_leader{scope=\"settings_broadcast\"}", 0.0);
    shows(&cluster, "miroir_settings_broadcast_phase", 0.0);

    for command in ["status", "repair"] {
        let missing = run(&cluster, &["settings", command, "nope"]);
        assert_eq!((missing.code, missing.out.as_str()), (Some(1), ""), "{command}: {missing:?}");
        assert_eq!(missing.err, "miroir-ctl: Index `nope` not found. [index_not_found]\n", "{command}");
        assert_eq!(run(&cluster, &["settings", command, "../keys"]).code, Some(2), "{command}");
        let stranger = ctl::run(&cluster.address(), "another", &["settings", command, "movies"]);
        assert!(stranger.code == Some(1) && stranger.err.contains("[miroir_invalid_auth]"), "{stranger:?}");
    }
}

#[test]
fn miroir_ctl_repairs_an_index_that_takes_no_documents() {
    let mut cluster = faulty().set("settings_drift_check.auto_repair", json!(false)).start();
    let client = cluster.client();
    client.create("movies", "id");
    client.configure("movies", &synonym("before"));
    // It does not comply, and then lets itself be put back: only an operator says that it may be trusted.
    disobeys(&cluster, 1, 2);
    let task = client.ended(&client.patch(SETTINGS, &synonym("after")));
    assert_eq!(task["status"], "failed", "{task}");
    assert_eq!(add(&client).verdict(), (503, "miroir_settings_frozen".to_owned()));
    shows(&cluster, "miroir_settings_frozen_indexes", 1.0);
    let frozen = run(&cluster, &["settings", "status", "movies"]);
    assert_eq!(frozen.code, Some(1), "{frozen:?}");
    assert!(frozen.out.contains("frozen     because of node-1: see miroir-ctl settings repair\n"), "{}", frozen.out);
    let told = run(&cluster, &["settings", "status", "movies", "--output", "json"]);
    assert_eq!((told.code, &told.json()["frozen"]), (Some(1), &json!(["node-1"])), "{told:?}");

    cluster.kill_node(1);
    wait::eventually("it is missed", BOUND, || (cluster.node_state(1) == "failed").then_some(()));
    let vain = run(&cluster, &["settings", "repair", "movies"]);
    assert_eq!((vain.code, vain.out.as_str()), (Some(1), "node    outcome      error\nnode-1  unreachable\n"));
    cluster.restart_node(1);
    wait::eventually("it is back", BOUND, || {
        matches!(cluster.node_state(1).as_str(), "recovering" | "healthy").then_some(())
    });
    assert_eq!(add(&client).verdict(), (503, "miroir_settings_frozen".to_owned()), "nobody has repaired it");
    let repaired = run(&cluster, &["settings", "repair", "movies"]);
    assert_eq!((repaired.code, repaired.out.as_str()), (Some(0), "node    outcome   error\nnode-1  repaired\n"));
    let free = run(&cluster, &["settings", "status", "movies"]);
    assert!(free.code == Some(0) && !free.out.contains("frozen"), "{free:?}");
    client.done(&add(&client).expect(202));
    let nothing = run(&cluster, &["settings", "repair", "movies"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(0), "Every node holds the committed settings.\n"));
}

#[test]
fn an_index_that_takes_no_documents_is_freed_by_the_reconciler() {
    let cluster = faulty().start();
    let client = cluster.client();
    client.create("movies", "id");
    client.configure("movies", &synonym("before"));
    for (round, times) in [(1.0, 2), (2.0, ALWAYS)] {
        disobeys(&cluster, 1, times);
        let task = client.ended(&client.patch(SETTINGS, &synonym("after")));
        assert_eq!(task["status"], "failed", "{task}");
        assert_eq!(gauge(&cluster, "miroir_settings_unrepairable_total"), Some(round));
        if times == ALWAYS {
            assert_eq!(add(&client).verdict(), (503, "miroir_settings_frozen".to_owned()));
            clear_faults(&cluster);
        }
        let accepted = wait::eventually("it takes documents", BOUND, || Some(add(&client)).filter(|a| a.status == 202));
        client.done(&accepted);
        shows(&cluster, "miroir_settings_frozen_indexes", 0.0);
    }
    for node in 0..3 {
        let held = cluster.node_client(node).get(SETTINGS).expect(200).body;
        assert_eq!((&held["synonyms"], &held["stopWords"]), (&json!({ "before": ["film"] }), &json!([])), "{node}");
    }
}

#[test]
fn only_so_many_changes_of_one_index_wait() {
    const WAITING: usize = 256;
    let cluster = faulty().start();
    let client = cluster.client();
    client.create("movies", "id");
    client.configure("movies", &synonym("before"));
    hold_back(&cluster);
    let change = |n: usize| client.patch(SETTINGS, &json!({ "stopWords": [format!("w{n}")] }));
    (0..=WAITING).for_each(|n| drop(change(n).expect(202)));
    let refused = change(WAITING + 1);
    assert_eq!(refused.verdict(), (503, "miroir_overloaded".to_owned()), "{}", refused.text);
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    let status = cluster.admin().get("/_miroir/indexes/movies/settings/status").expect(200).body;
    assert_eq!(status["broadcast"]["waiting"], WAITING, "{status}");
    // Another index is not concerned, and there is room as soon as one has ended.
    client.configure("others", &synonym("other"));
    clear_faults(&cluster);
    wait::eventually("there is room", BOUND, || (change(WAITING + 2).status == 202).then_some(()));
}

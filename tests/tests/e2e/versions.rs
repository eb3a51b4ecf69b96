//! Versions of settings: what answers say of them, what reads may demand, and that no node is read from that does not
//! hold the committed ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Answer, AtLast, Client, Cluster, wait};

const BOUND: Duration = Duration::from_secs(30);
const VERSION: &str = "x-miroir-settings-version";
const INCONSISTENT: &str = "x-miroir-settings-inconsistent";
const FLOOR: &str = "x-miroir-min-settings-version";

fn films(count: usize) -> Value {
    (0..count).map(|id| json!({ "id": id, "title": "a spaceship", "n": id })).collect()
}

/// One of each read of an index.
fn reads(client: &Client, index: &str) -> Vec<(&'static str, Answer)> {
    let at = |rest: &str| format!("/indexes/{index}/{rest}");
    vec![
        ("search", client.post(&at("search"), &json!({ "q": "spaceship" }))),
        ("search by query", client.get(&at("search?q=spaceship"))),
        (
            "multi-search",
            client.post("/multi-search", &json!({ "queries": [{ "indexUid": index, "q": "spaceship" }] })),
        ),
        ("federation", client.post("/multi-search", &json!({ "federation": {}, "queries": [{ "indexUid": index }] }))),
        ("facet search", client.post(&at("facet-search"), &json!({ "facetName": "title" }))),
        ("similar", client.post(&at("similar"), &json!({ "id": 1, "embedder": "own" }))),
        ("similar by query", client.get(&at("similar?id=1&embedder=own"))),
        ("document", client.get(&at("documents/1"))),
        ("documents", client.get(&at("documents?limit=3"))),
        ("fetch", client.post(&at("documents/fetch"), &json!({ "limit": 3 }))),
        ("fetch by id", client.post(&at("documents/fetch"), &json!({ "ids": [1, 2] }))),
    ]
}

fn settings() -> Value {
    json!({
        "filterableAttributes": ["title", "n"],
        "embedders": { "own": { "source": "userProvided", "dimensions": 2 } },
    })
}

fn with_vectors(count: usize) -> Value {
    (0..count)
        .map(|id| json!({ "id": id, "title": "a spaceship", "n": id, "_vectors": { "own": [0.1 * id as f64, 1.0] } }))
        .collect()
}

#[test]
fn reads_tell_the_version_and_heed_a_floor() {
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    client.create("films", "id");
    client.load("films", &with_vectors(20));
    for (read, answer) in reads(&client, "films") {
        assert_eq!(answer.header(VERSION), None, "{read}: nothing was committed");
    }
    client.configure("films", &settings());
    client.configure("films", &json!({ "synonyms": { "rocket": ["spaceship"] } }));
    for (read, answer) in reads(&client, "films") {
        assert_eq!(answer.status, 200, "{read}: {}", answer.text);
        assert_eq!(answer.header(VERSION), Some("2"), "{read}");
        assert_eq!(answer.header(INCONSISTENT), None, "{read}");
    }
    for floor in ["0", "1", "2", " 2 "] {
        for (read, answer) in reads(&client.with_header(FLOOR, floor), "films") {
            assert_eq!((answer.status, answer.header(VERSION)), (200, Some("2")), "{floor}, {read}: {}", answer.text);
        }
    }
    for floor in ["3", "18446744073709551615"] {
        for (read, answer) in reads(&client.with_header(FLOOR, floor), "films") {
            let expected = (503, "miroir_settings_version_stale".to_owned());
            assert_eq!(answer.verdict(), expected, "{floor}, {read}: {}", answer.text);
            assert!(answer.body["message"].as_str().is_some_and(|text| text.contains("`films`")), "{}", answer.text);
        }
    }
    for floor in ["", "x", "-1", "1.5", "+2", "18446744073709551616", "2, 2", "\u{662}"] {
        for (read, answer) in reads(&client.with_header(FLOOR, floor), "films") {
            let expected = (400, "miroir_invalid_header".to_owned());
            assert_eq!(answer.verdict(), expected, "{floor}, {read}: {}", answer.text);
        }
    }
    several_indexes(&client);
}

/// A version is told only of one index; a floor holds for each.
fn several_indexes(client: &Client) {
    client.create("plain", "id");
    let multi = |client: &Client, uids: &[&str]| {
        let queries: Vec<Value> = uids.iter().map(|uid| json!({ "indexUid": uid, "q": "rocket" })).collect();
        client.post("/multi-search", &json!({ "queries": queries }))
    };
    assert_eq!(multi(client, &["films", "films"]).expect(200).header(VERSION), Some("2"));
    assert_eq!(multi(client, &["films", "plain"]).expect(200).header(VERSION), None);
    assert_eq!(multi(client, &[]).expect(200).header(VERSION), None);
    let demanding = client.with_header(FLOOR, "1");
    assert_eq!(multi(&demanding, &["films", "films"]).status, 200);
    let stale = multi(&demanding, &["films", "plain"]);
    assert_eq!(stale.verdict(), (503, "miroir_settings_version_stale".to_owned()), "{}", stale.text);
    assert!(stale.text.contains("`plain`"), "{}", stale.text);
    // Writes know no floors, and an index that is missing is missing at any.
    let missing = demanding.search("nothing", &json!({}));
    assert_eq!(missing.verdict(), (404, "index_not_found".to_owned()), "{}", missing.text);
    client.done(&client.with_header(FLOOR, "9").add("plain", &films(1)));
    // Whoever may not see an index does not learn of its settings either.
    let key = json!({ "actions": ["search"], "indexes": ["films"], "expiresAt": null });
    let key = client.post("/keys", &key).expect(201);
    let own = Client::new(client.base(), key.body["key"].as_str().unwrap_or_default()).with_header(FLOOR, "9");
    assert_eq!(multi(&own, &["films", "plain"]).verdict(), (403, "invalid_api_key".to_owned()));
}

fn gone(cluster: &Cluster, node: usize) {
    wait::eventually("the node is missed", BOUND, || (cluster.node_state(node) == "failed").then_some(()));
}

fn hits(answer: &Answer) -> usize {
    answer.body["hits"].as_array().map_or(0, Vec::len)
}

/// Requests of this kind that a node was sent, as the orchestrator counts them.
fn asked(cluster: &Cluster, node: usize, operation: &str) -> u64 {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    let start = "miroir_node_request_duration_seconds_count{";
    let of_node = [format!("node_id=\"node-{node}\""), format!("operation=\"{operation}\"")];
    let line = text.lines().find(|line| line.starts_with(start) && of_node.iter().all(|label| line.contains(label)));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_node_that_missed_a_change_is_not_read_before_it_holds_it() {
    let mut cluster = Cluster::builder().nodes(2).rf(2).set("replica_selection.strategy", json!("random")).start();
    let client = cluster.client();
    client.create("films", "id");
    client.load("films", &films(20));
    cluster.kill_node(0);
    gone(&cluster, 0);
    client.configure("films", &json!({ "synonyms": { "rocket": ["spaceship"] } }));
    let search = |client: &Client| client.search("films", &json!({ "q": "rocket", "limit": 50 })).expect(200);
    assert_eq!(hits(&search(&client)), 20);
    let before = asked(&cluster, 0, "search");

    // From the first moment on, and until it is read again, every answer is by the new rules.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let searching = scope.spawn(|| {
            let demanding = client.with_header(FLOOR, "1");
            while !stop.load(Ordering::Relaxed) {
                for client in [&client, &demanding] {
                    let answer = search(client);
                    assert_eq!(hits(&answer), 20, "a node without the synonym was asked: {}", answer.text);
                    assert_eq!(answer.header("x-miroir-degraded"), None);
                    assert_eq!(client.get("/indexes/films/documents/1").status, 200);
                    assert_eq!(client.get("/indexes/films/documents?limit=50").body["total"], 20);
                }
            }
        });
        cluster.restart_node(0);
        let again = wait::poll(BOUND, || (asked(&cluster, 0, "search") > before).then_some(()));
        drop(at_last);
        searching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(again.is_some(), "the node was never read again");
    });
    let held = cluster.node_client(0).get("/indexes/films/settings/synonyms").expect(200);
    assert_eq!(held.body, json!({ "rocket": ["spaceship"] }));

    // Alone, it answers for all, at the version of all.
    cluster.kill_node(1);
    gone(&cluster, 1);
    let alone = search(&client.with_header(FLOOR, "1"));
    assert_eq!((hits(&alone), alone.header(VERSION)), (20, Some("1")), "{}", alone.text);
}

#[test]
fn shards_that_only_nodes_behind_could_answer_for_are_missing() {
    let mut cluster = Cluster::builder().nodes(2).rf(2).start();
    let client = cluster.client();
    client.create("films", "id");
    client.load("films", &films(20));
    cluster.kill_node(0);
    gone(&cluster, 0);
    client.configure("films", &json!({ "synonyms": { "rocket": ["spaceship"] } }));
    cluster.kill_node(1);
    // What is left has lost the index: it goes on lagging, however often it is looked at.
    cluster.kill_proxy();
    cluster.restart_node(0);
    let node = cluster.node_client(0);
    node.healthy(BOUND);
    node.done(&node.delete("/indexes/films"));
    // Not everything is answered for, so it is not ready.
    cluster.instance_mut(0).start();
    client.healthy(BOUND);
    let missing = client.search("films", &json!({ "q": "rocket" }));
    assert_eq!(missing.verdict(), (503, "miroir_shard_unavailable".to_owned()), "{}", missing.text);
    let missing = client.with_header(FLOOR, "1").search("films", &json!({ "q": "rocket" }));
    assert_eq!(missing.verdict(), (503, "miroir_settings_version_stale".to_owned()), "{}", missing.text);
    wait::eventually("it is looked at", BOUND, || (asked(&cluster, 0, "settings_check") > 1).then_some(()));
    let missing = client.search("films", &json!({ "q": "rocket" }));
    // Whoever makes the index anew on it has found out that it lacks everything.
    if node.get("/indexes/films").status == 200 {
        let known = cluster.stale(0);
        let lacking = known.iter().filter(|replica| replica.node == "node-0").count();
        assert_eq!(lacking, 16, "{known:?}");
        if missing.status == 200 {
            assert!(missing.header("x-miroir-degraded").is_some(), "nobody is told that it is stale: {}", missing.text);
            return;
        }
    }
    assert_eq!(missing.verdict(), (503, "miroir_shard_unavailable".to_owned()), "{}", missing.text);
}

fn drifted(cluster: &Cluster) -> (u64, u64) {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("miroir_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(u64::MAX)
    };
    (value("settings_hash_mismatch_total"), value("settings_drift_repair_total"))
}

/// As a careless operator would: past the orchestrator.
fn meddle(cluster: &Cluster, node: usize, settings: &Value) {
    let node = cluster.node_client(node);
    node.done(&node.patch("/indexes/films/settings", settings));
}

#[test]
fn a_node_that_was_changed_behind_our_back_is_found_and_repaired() {
    let cluster = Cluster::builder().set("settings_drift_check.interval_s", json!(1)).start();
    let client = cluster.client();
    client.create("films", "id");
    client.create("others", "id");
    client.configure("films", &json!({ "synonyms": { "rocket": ["spaceship"] }, "stopWords": ["a"] }));
    let committed = |node: usize| cluster.node_client(node).get("/indexes/films/settings").expect(200).body;
    let before = committed(1);
    assert_eq!(drifted(&cluster), (0, 0));
    let change = json!({ "synonyms": { "car": ["auto"] }, "stopWords": null, "rankingRules": ["typo"] });
    for round in 1..=2 {
        meddle(&cluster, 1, &change);
        wait::eventually("it is repaired", BOUND, || (committed(1) == before).then_some(()));
        wait::eventually("it is counted", BOUND, || (drifted(&cluster).1 == round).then_some(()));
        assert_eq!(drifted(&cluster), (round, round));
    }
    // Nothing else is taken for drift, and the repaired node is read again.
    let checks = asked(&cluster, 1, "settings_check");
    wait::eventually("it is looked at again", BOUND, || {
        (asked(&cluster, 1, "settings_check") > checks + 4).then_some(())
    });
    assert_eq!(drifted(&cluster), (2, 2));
    assert_eq!(client.search("films", &json!({})).expect(200).header(VERSION), Some("1"));
    assert_eq!(client.get("/indexes/films/settings/stop-words").expect(200).body, json!(["a"]));
}

#[test]
fn without_auto_repair_drift_is_only_told() {
    let cluster = Cluster::builder()
        .set("settings_drift_check.interval_s", json!(1))
        .set("settings_drift_check.auto_repair", json!(false))
        .start();
    let client = cluster.client();
    client.create("films", "id");
    client.configure("films", &json!({ "stopWords": ["a"] }));
    meddle(&cluster, 1, &json!({ "stopWords": ["b"] }));
    wait::eventually("it is counted", BOUND, || (drifted(&cluster).0 > 1).then_some(()));
    assert_eq!(drifted(&cluster).1, 0);
    let held = cluster.node_client(1).get("/indexes/films/settings/stop-words").expect(200);
    assert_eq!(held.body, json!(["b"]));
    assert!(cluster.proxy_log().contains("other settings than were committed"));
}

#[test]
fn keys_that_nodes_hide_are_no_drift() {
    let cluster = Cluster::builder().set("settings_drift_check.interval_s", json!(1)).start();
    let client = cluster.client();
    client.create("films", "id");
    let rest = |key: &str| {
        json!({
            "source": "rest", "url": "http://127.0.0.1:9/embed", "apiKey": key, "dimensions": 2,
            "request": { "text": "{{text}}" }, "response": { "embedding": "{{embedding}}" },
        })
    };
    let own = json!({ "source": "userProvided", "dimensions": 2 });
    let embedders = json!({ "remote": rest("0123456789abcdef0123456789abcdef"), "short": rest("key"), "own": own });
    client.configure("films", &json!({ "embedders": embedders, "synonyms": { "rocket": ["spaceship"] } }));
    let checks = asked(&cluster, 0, "settings_check");
    wait::eventually("it is looked at", BOUND, || (asked(&cluster, 0, "settings_check") > checks + 2).then_some(()));
    assert_eq!(drifted(&cluster), (0, 0), "{}", cluster.node_client(0).get("/indexes/films/settings").text);
}

/// Documents whose order tells by which of two sets of ranking rules they were ranked.
fn ranked(count: usize) -> Value {
    (0..count).map(|id| json!({ "id": id, "title": "spaceship", "up": id, "down": (id * 7919) % 997 })).collect()
}

/// What an answer's hits are ordered by; both, when their order is by neither.
fn order_of(answer: &Answer) -> BTreeSet<&'static str> {
    let hits = answer.body["hits"].as_array().cloned().unwrap_or_default();
    let is_sorted = |name: &str| {
        let values: Vec<u64> = hits.iter().filter_map(|hit| hit[name].as_u64()).collect();
        values.len() == 60 && values.windows(2).all(|pair| pair[0] <= pair[1])
    };
    let ranks: BTreeSet<&str> = ["up", "down"].into_iter().filter(|name| is_sorted(name)).collect();
    if ranks.is_empty() { ["up", "down"].into() } else { ranks }
}

#[test]
fn an_answer_is_by_one_set_of_rules_or_says_that_it_may_not_be() {
    const SEARCHES: usize = 10_000;
    let cluster = Cluster::builder().instances(2).start();
    let client = cluster.client();
    client.create("films", "id");
    let by = |name: &str| json!({ "rankingRules": [format!("{name}:asc")] });
    client.configure("films", &by("up"));
    client.load("films", &ranked(900));
    let (stop, searches, flagged) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let search = |client: &Client| {
        let answer = client.search("films", &json!({ "q": "spaceship", "limit": 60 })).expect(200);
        let flag = answer.header(INCONSISTENT);
        assert!(matches!(flag, None | Some("true")), "{flag:?}");
        if flag.is_none() {
            assert_eq!(order_of(&answer).len(), 1, "ranked by two sets of rules and silent: {}", answer.text);
            // The version tells which.
            let version: usize = answer.header(VERSION).and_then(|text| text.parse().ok()).unwrap_or_default();
            let expected = if version % 2 == 1 { "up" } else { "down" };
            assert_eq!(order_of(&answer), [expected].into(), "version {version}: {}", answer.text);
        } else {
            flagged.fetch_add(1, Ordering::Relaxed);
        }
        searches.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let at_last = AtLast(&stop);
        let searching: Vec<_> = (0..4)
            .map(|n| {
                let client = cluster.instance(n % 2).client();
                let (stop, search) = (&stop, &search);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        search(&client);
                    }
                })
            })
            .collect();
        let mut changes = 0;
        while searches.load(Ordering::Relaxed) < SEARCHES && searching.iter().all(|thread| !thread.is_finished()) {
            client.configure("films", &by(if changes % 2 == 0 { "down" } else { "up" }));
            changes += 1;
            let done = searches.load(Ordering::Relaxed);
            wait::poll(BOUND, || (searches.load(Ordering::Relaxed) > done + 20).then_some(()));
        }
        drop(at_last);
        for thread in searching {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        assert!(changes > 3, "{changes} changes");
    });
    let (searches, flagged) = (searches.into_inner(), flagged.into_inner());
    println!("{searches} searches, {flagged} of them doubtful");
    assert!(
        searches >= SEARCHES && flagged > 0 && flagged < searches,
        "{flagged} of {searches} were said to be doubtful"
    );
}

#[test]
fn a_floor_is_met_at_once_through_another_instance() {
    let cluster = Cluster::builder().instances(2).start();
    let [a, b] = [0, 1].map(|i| cluster.instance(i).client());
    a.create("films", "id");
    a.load("films", &films(20));
    for round in 1..=10 {
        let synonyms = json!({ "synonyms": { format!("rocket{round}"): ["spaceship"] } });
        a.configure("films", &synonyms);
        let found = b
            .with_header(FLOOR, &round.to_string())
            .search("films", &json!({ "q": format!("rocket{round}"), "limit": 50 }))
            .expect(200);
        assert_eq!((hits(&found), found.header(VERSION)), (20, Some(round.to_string().as_str())), "{}", found.text);
        let stale = b.with_header(FLOOR, &(round + 1).to_string()).search("films", &json!({}));
        assert_eq!(stale.verdict(), (503, "miroir_settings_version_stale".to_owned()), "{}", stale.text);
    }
}

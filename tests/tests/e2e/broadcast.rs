//! A change of settings holds on every node or on none, whatever nodes and orchestrators do meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, ClusterBuilder, Fault, wait};

const BOUND: Duration = Duration::from_secs(60);
const ALWAYS: usize = usize::MAX;

fn faulty() -> ClusterBuilder {
    Cluster::builder().shards(4).faults().set("settings_drift_check.interval_s", json!(3600))
}

fn synonym(word: &str) -> Value {
    json!({ "synonyms": { word: ["film"] } })
}

fn path(index: &str) -> String {
    format!("/indexes/{index}/settings")
}

fn load(client: &Client, index: &str) {
    client.create(index, "id");
    let films: Value = (0..40).map(|id| json!({ "id": id, "title": format!("the film {id}") })).collect();
    client.load(index, &films);
}

fn found(client: &Client, index: &str, word: &str) -> usize {
    let answer = client.search(index, &json!({ "q": word, "limit": 100 })).expect(200);
    answer.body["hits"].as_array().map_or(0, Vec::len)
}

fn status(cluster: &Cluster, instance: usize, index: &str) -> Value {
    cluster.instance(instance).admin().get(&format!("/_miroir/indexes/{index}/settings/status")).expect(200).body
}

fn version(cluster: &Cluster, index: &str) -> u64 {
    status(cluster, 0, index)["version"].as_u64().unwrap_or(u64::MAX)
}

fn phase(cluster: &Cluster, instance: usize, index: &str) -> String {
    status(cluster, instance, index)["broadcast"]["phase"].as_str().unwrap_or("none").to_owned()
}

/// What the nodes hold, past the orchestrators.
fn held(cluster: &Cluster, index: &str, key: &str) -> Vec<Value> {
    let of = |node: usize| cluster.node_client(node).get(&path(index)).expect(200).body[key].clone();
    (0..cluster.nodes().len()).map(of).collect()
}

fn all(value: &Value) -> Vec<Value> {
    vec![value.clone(); 3]
}

fn counter(cluster: &Cluster, name: &str) -> u64 {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.and_then(|value| value.parse::<f64>().ok()).map_or(0, |value| value as u64)
}

#[test]
fn a_synonym_is_found_through_every_node() {
    let cluster = faulty().start();
    let client = cluster.client();
    load(&client, "movies");
    assert_eq!(version(&cluster, "movies"), 0);
    let task = client.done(&client.patch(&path("movies"), &synonym("movie")));
    assert_eq!(task["details"], synonym("movie"));
    assert_eq!(version(&cluster, "movies"), 1);
    for _ in 0..6 {
        assert_eq!(found(&client, "movies", "movie"), 40);
    }
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "movie": ["film"] })));
    let status = status(&cluster, 0, "movies");
    assert_eq!(status["broadcast"], Value::Null, "{status}");
    for node in status["nodes"].as_array().into_iter().flatten() {
        assert_eq!((&node["version"], &node["current"]), (&json!(1), &json!(true)), "{status}");
    }
    // Each of the routes is one change.
    client.done(&client.put("/indexes/movies/settings/stop-words", &json!(["the"])));
    client.done(&client.delete("/indexes/movies/settings/stop-words"));
    client.done(&client.delete(&path("movies")));
    assert_eq!(version(&cluster, "movies"), 4);
    // An index may come with its settings.
    client.done(&client.patch(&path("born"), &json!({ "sortableAttributes": ["a"], "displayedAttributes": ["a"] })));
    assert_eq!(version(&cluster, "born"), 1);
    assert_eq!(client.get(&path("born")).expect(200).body["displayedAttributes"], json!(["a"]));
    assert!(held(&cluster, "born", "displayedAttributes").iter().all(|list| *list == json!(["*"])));
    wait::eventually("the versions are shown", BOUND, || {
        (counter(&cluster, "miroir_settings_version{index=\"movies\"}") == 4).then_some(())
    });
}

#[test]
fn a_node_that_spoils_a_change_is_told_again() {
    let cluster = faulty().start();
    let client = cluster.client();
    load(&client, "movies");
    let error = json!({ "message": "no", "code": "internal", "type": "internal", "link": "" });
    let spoils: [(&str, usize, Fault); 4] = [
        ("dropped", 1, Fault::Replace(json!({}))),
        ("failed", 2, Fault::Answer(500, error)),
        ("lost", 1, Fault::Swallow),
        ("twisted", 1, Fault::Replace(json!({ "synonyms": { "other": ["film"] }, "stopWords": ["film"] }))),
    ];
    for (done, (word, times, fault)) in spoils.into_iter().enumerate() {
        let relay = cluster.faults(done % 3);
        relay.spoil("PATCH", "/settings", times, fault);
        let struck = relay.struck();
        client.done(&client.patch(&path("movies"), &synonym(word)));
        assert_eq!(relay.struck(), struck + times, "{word}");
        relay.clear();
        assert_eq!(version(&cluster, "movies"), done as u64 + 1, "{word}");
        assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ word: ["film"] })));
        assert_eq!(held(&cluster, "movies", "stopWords"), all(&json!([])), "{word}");
        assert_eq!(found(&client, "movies", word), 40);
    }
    assert_eq!(counter(&cluster, "miroir_settings_unrepairable_total"), 0);
    assert!(counter(&cluster, "miroir_settings_hash_mismatch_total") >= 2);
}

#[test]
fn a_node_that_never_complies_freezes_the_index_until_it_is_repaired() {
    let cluster = faulty().set("settings_broadcast.max_repair_retries", json!(1)).start();
    let client = cluster.client();
    load(&client, "movies");
    client.done(&client.patch(&path("movies"), &synonym("before")));
    cluster.faults(1).spoil("PATCH", "/indexes/movies/settings", ALWAYS, Fault::Replace(json!({ "stopWords": ["x"] })));
    let task = client.ended(&client.patch(&path("movies"), &synonym("after")));
    assert_eq!(task["status"], "failed", "{task}");
    let message = task["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("1 of the nodes") && !message.contains("node-"), "{message}");
    assert_eq!(version(&cluster, "movies"), 1);
    assert_eq!(counter(&cluster, "miroir_settings_unrepairable_total"), 1);
    wait::eventually("the alert", BOUND, || (counter(&cluster, "miroir_settings_frozen_indexes") == 1).then_some(()));

    let refused = client.add("movies", &json!([{ "id": 1 }]));
    assert_eq!((refused.status, refused.code()), (503, "miroir_settings_frozen"), "{}", refused.text);
    let tells = ["node-", "_miroir/"].iter().find(|secret| refused.text.contains(*secret));
    assert_eq!(tells, None, "a client is told what is for operators: {}", refused.text);
    // Reads go on with what was committed before.
    for _ in 0..6 {
        assert_eq!((found(&client, "movies", "before"), found(&client, "movies", "after")), (40, 0));
    }
    let repair = || cluster.admin().post("/_miroir/indexes/movies/settings/repair", &json!({})).expect(200).body;
    let vain = repair();
    assert_eq!(vain["nodes"][0]["outcome"], "failed", "{vain}");
    assert_eq!(vain["frozen"], json!(["node-1"]));
    cluster.faults(1).clear();
    let repaired = repair();
    assert_eq!(repaired["nodes"], json!([{ "node": "node-1", "outcome": "repaired", "error": null }]));
    assert_eq!(repaired["frozen"], json!([]));
    client.load("movies", &json!([{ "id": 100, "title": "film" }]));
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "before": ["film"] })));
    assert_eq!(held(&cluster, "movies", "stopWords"), all(&json!([])));
    assert_eq!(found(&client, "movies", "before"), 41);
}

#[test]
fn what_one_node_rejects_no_node_keeps() {
    let cluster = faulty().start();
    let client = cluster.client();
    load(&client, "movies");
    client.done(&client.patch(&path("movies"), &synonym("before")));
    let error =
        json!({ "message": "not here", "code": "invalid_settings_synonyms", "type": "invalid_request", "link": "" });
    cluster.faults(2).spoil("PATCH", "/settings", 1, Fault::Answer(400, error));
    let task = client.ended(&client.patch(&path("movies"), &synonym("after")));
    assert_eq!((&task["status"], &task["error"]["message"]), (&json!("failed"), &json!("not here")), "{task}");
    assert_eq!(version(&cluster, "movies"), 1);
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "before": ["film"] })));
    client.load("movies", &json!([{ "id": 100, "title": "film" }]));
}

#[test]
fn a_node_that_is_away_is_left_behind() {
    let mut cluster = faulty().start();
    let client = cluster.client();
    load(&client, "movies");
    // Before it is told.
    cluster.kill_node(1);
    client.done(&client.patch(&path("movies"), &synonym("first")));
    assert_eq!(found(&client, "movies", "first"), 40);
    // Between propose and verify: what nodes say of their tasks is held back until one of them is gone.
    for node in [0, 2] {
        cluster.faults(node).spoil("GET", "/tasks", ALWAYS, Fault::Answer(500, json!({})));
    }
    cluster.restart_node(1);
    wait::eventually("it is back", BOUND, || {
        matches!(cluster.node_state(1).as_str(), "recovering" | "healthy").then_some(())
    });
    let accepted = client.patch(&path("movies"), &synonym("second")).expect(202);
    assert_eq!(phase(&cluster, 0, "movies"), "propose");
    cluster.kill_node(2);
    wait::eventually("it is gone", BOUND, || (cluster.node_state(2) == "failed").then_some(()));
    cluster.faults(0).clear();
    cluster.faults(2).clear();
    client.done(&accepted);
    assert_eq!(version(&cluster, "movies"), 2);
    let status = status(&cluster, 0, "movies");
    assert_eq!(status["nodes"][2]["current"], false, "{status}");
    assert_eq!(found(&client, "movies", "second"), 40);
    cluster.restart_node(2);
    wait::eventually("it serves again", BOUND, || {
        cluster.admin().post("/_miroir/indexes/movies/settings/repair", &json!({})).expect(200);
        (self::status(&cluster, 0, "movies")["nodes"][2]["current"] == true).then_some(())
    });
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "second": ["film"] })));
}

#[test]
fn changes_at_the_same_time_are_made_one_after_the_other() {
    let cluster = faulty().start();
    let client = cluster.client();
    load(&client, "one");
    load(&client, "two");
    for node in 0..3 {
        cluster.faults(node).spoil("GET", "/indexes/one/settings", ALWAYS, Fault::Answer(500, json!({})));
    }
    let first = client.patch(&path("one"), &synonym("first")).expect(202);
    let queued: Vec<Answer> =
        (0..3).map(|n| client.patch(&path("one"), &json!({ "stopWords": [format!("w{n}")] })).expect(202)).collect();
    // What is malformed is refused although it would have to wait; and what waits is no obstacle to another index.
    let refused = client.patch(&path("one"), &json!({ "rankingRules": ["nope"] }));
    assert_eq!((refused.status, refused.code()), (400, "invalid_settings_ranking_rules"), "{}", refused.text);
    assert!(!refused.text.contains("no index"), "{}", refused.text);
    client.done(&client.patch(&path("two"), &synonym("other")));
    // Documents that come after it are not told to be there before it.
    let documents = client.add("one", &json!([{ "id": 100, "title": "film" }])).expect(202);
    let canceled = client.patch(&path("one"), &json!({ "dictionary": ["never"] })).expect(202);
    let cancel = client.post(&format!("/tasks/cancel?uids={}", canceled.body["taskUid"]), &json!({}));
    let status = status(&cluster, 0, "one");
    assert_eq!(
        (&status["broadcast"]["phase"], &status["broadcast"]["waiting"]),
        (&json!("verify"), &json!(4)),
        "{status}"
    );
    assert_ne!(client.get(&format!("/tasks/{}", documents.body["taskUid"])).body["status"], "succeeded");
    for node in 0..3 {
        cluster.faults(node).clear();
    }
    client.done(&first);
    queued.iter().for_each(|accepted| drop(client.done(accepted)));
    client.done(&documents);
    assert_eq!(client.done(&cancel)["details"]["canceledTasks"], 1);
    assert_eq!(client.ended(&canceled)["status"], "canceled");
    assert_eq!((version(&cluster, "one"), version(&cluster, "two")), (4, 1));
    assert_eq!(held(&cluster, "one", "stopWords"), all(&json!(["w2"])));
    assert_eq!(held(&cluster, "one", "dictionary"), all(&json!([])));
    assert_eq!(client.get(&path("one")).expect(200).body["stopWords"], json!(["w2"]));
    assert_eq!(found(&client, "one", "first"), 41);
}

/// One queue of one server: seen on Meilisearch 1.50, where nobody waits for anything.
#[test]
fn a_deletion_by_filter_comes_after_the_settings_that_were_asked_for_before_it() {
    let cluster = faulty().nodes(2).start();
    let client = cluster.client();
    for relay in 0..2 {
        cluster.faults(relay).spoil("PATCH", "/settings", ALWAYS, Fault::Delay(Duration::from_millis(300)));
    }
    let films: Value = (0..40).map(|id| json!({ "id": id, "kind": (["short", "long"][id % 2]) })).collect();
    let sent = [
        client.post("/indexes", &json!({ "uid": "films", "primaryKey": "id" })),
        client.patch(&path("films"), &json!({ "sortableAttributes": ["id"] })),
        client.patch(&path("films"), &json!({ "filterableAttributes": ["kind"] })),
        client.add("films", &films),
        client.post("/indexes/films/documents/delete", &json!({ "filter": "kind = short" })),
        client.add("films", &json!([{ "id": 100, "kind": "short" }])),
    ];
    let ended: Vec<Value> = sent.iter().map(|answer| client.done(answer)).collect();
    assert_eq!(ended[4]["details"]["deletedDocuments"], 20, "{}", ended[4]);
    assert_eq!(client.count("films"), 21, "what was added later is there");
}

#[test]
fn an_index_that_is_deleted_meanwhile_stays_so() {
    let cluster = faulty().start();
    let client = cluster.client();
    load(&client, "gone");
    for node in 0..3 {
        cluster.faults(node).spoil("GET", "/indexes/gone/settings", ALWAYS, Fault::Answer(500, json!({})));
    }
    let first = client.patch(&path("gone"), &synonym("first")).expect(202);
    let second = client.patch(&path("gone"), &synonym("second")).expect(202);
    let deletion = client.delete("/indexes/gone");
    for accepted in [first, second, deletion] {
        client.done(&accepted);
    }
    (0..3).for_each(|node| cluster.faults(node).clear());
    assert_eq!(client.get("/indexes/gone").status, 404);
    client.create("gone", "id");
    client.done(&client.patch(&path("gone"), &synonym("third")));
    assert_eq!(held(&cluster, "gone", "synonyms"), all(&json!({ "third": ["film"] })));
}

#[test]
fn one_node_after_the_other_when_so_configured() {
    let cluster = faulty().set("settings_broadcast.strategy", json!("sequential")).start();
    let client = cluster.client();
    load(&client, "movies");
    client.done(&client.patch(&path("movies"), &synonym("first")));
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "first": ["film"] })));
    let error =
        json!({ "message": "not here", "code": "invalid_settings_synonyms", "type": "invalid_request", "link": "" });
    cluster.faults(1).spoil("PATCH", "/settings", 1, Fault::Answer(400, error));
    assert_eq!(client.failed(&client.patch(&path("movies"), &synonym("second"))), "invalid_settings_synonyms");
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "first": ["film"] })));
    assert_eq!(cluster.faults(2).struck(), 0);
    assert_eq!(version(&cluster, "movies"), 1);
}

/// The instance that leads a broadcast.
fn leader(cluster: &Cluster, among: &[usize]) -> usize {
    wait::eventually("somebody leads", BOUND, || {
        among.iter().copied().find(|i| {
            let text = cluster.instance(*i).metrics().get("/metrics").expect(200).text;
            text.contains("miroir_leader{scope=\"settings_broadcast\"} 1")
        })
    })
}

#[test]
fn another_instance_goes_on_where_a_leader_was_killed() {
    let mut cluster = faulty()
        .instances(3)
        .set("leader_election.lease_ttl_s", json!(2))
        .set("leader_election.renew_interval_s", json!(1))
        .start();
    load(&cluster.client(), "movies");
    let spoil = |cluster: &Cluster, path: &str| {
        (0..3).for_each(|node| cluster.faults(node).spoil("GET", path, ALWAYS, Fault::Answer(500, json!({}))));
    };
    for (round, (wanted, held_back)) in
        [("propose", "/tasks"), ("verify", "/indexes/movies/settings"), ("commit", "/tasks")].into_iter().enumerate()
    {
        let documents = if wanted == "commit" {
            // Of what the killed one has left nothing is to be found out any more.
            cluster.client().load("movies", &json!([{ "id": 7, "title": "film again" }]));
            // A change does not end before what was asked for earlier.
            spoil(&cluster, held_back);
            let accepted = cluster.client().add("movies", &json!([{ "id": 7, "title": "film again" }])).expect(202);
            let task = cluster.admin().get(&format!("/_miroir/tasks/{}", accepted.body["taskUid"])).expect(200).body;
            (0..3).for_each(|node| cluster.faults(node).clear());
            for node_task in task["nodeTasks"].as_array().into_iter().flatten() {
                let node: usize = node_task["node"].as_str().unwrap_or_default()[5..].parse().expect("node-N");
                let path = format!("uids={}", node_task["uid"]);
                cluster.faults(node).spoil("GET", &path, ALWAYS, Fault::Answer(500, json!({})));
            }
            Some(accepted)
        } else {
            spoil(&cluster, held_back);
            None
        };
        let word = format!("word{round}");
        let accepted = cluster.client().patch(&path("movies"), &synonym(&word)).expect(202);
        wait::eventually(wanted, BOUND, || (phase(&cluster, 0, "movies") == wanted).then_some(()));
        let killed = leader(&cluster, &[0, 1, 2]);
        cluster.instance_mut(killed).kill();
        let others: Vec<usize> = (0..3).filter(|i| *i != killed).collect();
        leader(&cluster, &others);
        assert_eq!(phase(&cluster, others[0], "movies"), wanted);
        (0..3).for_each(|node| cluster.faults(node).clear());
        let [one, other] = [0, 1].map(|i| cluster.instance(others[i]).client());
        one.done(&accepted);
        if let Some(documents) = documents {
            one.done(&documents);
        }
        // Whoever is told of the end of the task by another instance knows the settings there.
        let uid = &accepted.body["taskUid"];
        assert_eq!(other.get(&format!("/tasks/{uid}")).expect(200).body["status"], "succeeded");
        assert_eq!(other.get(&path("movies")).expect(200).body["synonyms"], json!({ &word: ["film"] }));
        assert_eq!(found(&other, "movies", &word), 40);
        assert_eq!(status(&cluster, others[1], "movies")["version"], json!(round + 1), "{wanted}");
        assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ &word: ["film"] })));
        cluster.instance_mut(killed).restart();
    }
}

#[test]
fn another_instance_goes_back_where_a_leader_was_killed() {
    let mut cluster = faulty()
        .instances(2)
        .set("leader_election.lease_ttl_s", json!(2))
        .set("leader_election.renew_interval_s", json!(1))
        .start();
    let client = cluster.client();
    load(&client, "movies");
    client.done(&client.patch(&path("movies"), &synonym("before")));
    let error =
        json!({ "message": "not here", "code": "invalid_settings_synonyms", "type": "invalid_request", "link": "" });
    cluster.faults(2).spoil("PATCH", "/settings", 1, Fault::Answer(400, error));
    for node in 0..3 {
        cluster.faults(node).spoil("GET", "/indexes/movies/settings", ALWAYS, Fault::Answer(500, json!({})));
    }
    let accepted = client.patch(&path("movies"), &synonym("after")).expect(202);
    wait::eventually("going back", BOUND, || (phase(&cluster, 0, "movies") == "goingBack").then_some(()));
    let killed = leader(&cluster, &[0, 1]);
    cluster.instance_mut(killed).kill();
    let left = 1 - killed;
    leader(&cluster, &[left]);
    (0..3).for_each(|node| cluster.faults(node).clear());
    assert_eq!(cluster.instance(left).client().failed(&accepted), "invalid_settings_synonyms");
    assert_eq!(status(&cluster, left, "movies")["version"], 1);
    assert_eq!(held(&cluster, "movies", "synonyms"), all(&json!({ "before": ["film"] })));
}

#[test]
fn what_was_never_acknowledged_is_taken_back() {
    // A node that is not found failed before another has applied the change.
    let health = json!({ "interval_ms": 5000, "timeout_ms": 2000, "unhealthy_threshold": 3, "recovery_threshold": 1 });
    let slow = faulty().set("health", health).set("write.node_timeout_ms", json!(10_000));
    let mut cluster = slow.instances(2).start();
    let client = cluster.client();
    load(&client, "movies");
    client.done(&client.patch(&path("movies"), &synonym("before")));
    // One node has applied the change when the instance that was asked for it dies waiting for another one.
    cluster.pause_node(2);
    let asked = cluster.instance(1).client();
    let waiting = std::thread::spawn(move || {
        let body = synonym("after").to_string();
        asked.try_send("PATCH", &path("movies"), Some(body.as_bytes()), &[("content-type", "application/json")]).is_ok()
    });
    wait::eventually("a node has it", BOUND, || {
        let holds =
            cluster.node_client(0).get(&path("movies")).expect(200).body["synonyms"] == json!({ "after": ["film"] });
        holds.then_some(())
    });
    cluster.instance_mut(1).kill();
    assert!(!waiting.join().expect("a thread"), "answered");
    cluster.kill_node(2);
    cluster.restart_node(2);
    let before = json!({ "before": ["film"] });
    wait::eventually("it is taken back", BOUND, || {
        let is_back = held(&cluster, "movies", "synonyms")[..2] == all(&before)[..2];
        (is_back && phase(&cluster, 0, "movies") == "none").then_some(())
    });
    assert_eq!(version(&cluster, "movies"), 1);
    assert_eq!(client.get(&path("movies")).expect(200).body["synonyms"], before);
    client.done(&client.patch(&path("movies"), &synonym("again")));
    assert_eq!(version(&cluster, "movies"), 2);
}

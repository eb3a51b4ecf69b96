//! Dynamic search rules: kept, shown and refused as by one server, and what they pin stands where one server puts it.
//! Nodes for development are no oracle for rules: there the answers are held to what is expected.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Client, Cluster, Twin, binaries, eventually};

const RULES: &str = "/dynamic-search-rules";
const BOUND: Duration = Duration::from_secs(30);

fn real() -> bool {
    binaries::meilisearch().is_some()
}

fn twin() -> &'static Twin {
    static TWIN: OnceLock<Twin> = OnceLock::new();
    TWIN.get_or_init(|| {
        let twin = Twin::start();
        for client in twin.clients() {
            client.patch("/experimental-features", &json!({ "dynamicSearchRules": true })).expect(200);
        }
        twin
    })
}

fn pin(index: &str, id: &str, position: u32) -> Value {
    json!({ "selector": { "indexUid": index, "id": id }, "action": { "type": "pin", "position": position } })
}

/// The rule on the cluster, and on the reference where that knows rules. All have `active`: once one rule has it, one server
/// applies none that has not.
#[track_caller]
fn rule(twin: &Twin, uid: &str, rule: &Value) {
    let [cluster, reference] = twin.clients();
    cluster.done(&cluster.patch(&format!("{RULES}/{uid}"), rule));
    if real() {
        reference.done(&reference.patch(&format!("{RULES}/{uid}"), rule));
    }
}

/// The ids found; with a reference that knows rules, the whole answer is the reference's.
#[track_caller]
fn found(twin: &Twin, index: &str, search: &Value) -> Vec<u64> {
    let path = format!("/indexes/{index}/search");
    let ours = twin.cluster.client().post(&path, search).expect(200).body;
    if real() {
        let theirs = twin.reference.client().post(&path, search).expect(200).body;
        for member in ["hits", "estimatedTotalHits", "totalHits", "totalPages", "facetDistribution"] {
            assert_eq!(ours[member], theirs[member], "{member} of {search}");
        }
    }
    ids(&ours)
}

fn ids(answer: &Value) -> Vec<u64> {
    let hits = answer["hits"].as_array().cloned().unwrap_or_default();
    hits.iter().filter_map(|hit| hit["id"].as_u64()).collect()
}

/// Twelve documents that rank by their number; those with even numbers are `even`.
fn ranked(twin: &Twin, index: &str) {
    twin.create(index);
    let settings = json!({ "rankingRules": ["words", "n:asc"], "filterableAttributes": ["kind"] });
    twin.configure(index, &settings);
    let document = |n: u64| json!({ "id": n, "n": n, "kind": if n.is_multiple_of(2) { "even" } else { "odd" }, "title": if n < 9 { "red hat" } else { "blue shoe" } });
    twin.load(index, &(1..=12).map(document).collect());
}

#[test]
fn pins_stand_at_their_positions_once_and_push_others_back() {
    let (twin, index) = (twin(), "pins");
    ranked(twin, index);
    // In the order of rules and actions, positions rise: pins behind one of a later position are lost by one server when
    // the page is full.
    let pins =
        |precedence: u32, actions: Value| json!({ "precedence": precedence, "active": true, "actions": actions });
    rule(twin, "pins-c", &pins(3, json!([pin(index, "11", 30)])));
    rule(twin, "pins-a", &pins(2, json!([pin(index, "12", 0), pin(index, "99", 0), pin(index, "7", 3)])));
    rule(twin, "pins-b", &pins(1, json!([pin(index, "3", 0), pin("other", "5", 0)])));
    assert_eq!(found(twin, index, &json!({})), [3, 12, 1, 7, 2, 4, 5, 6, 8, 9, 10, 11]);
    assert_eq!(found(twin, index, &json!({ "limit": 3 })), [3, 12, 1]);
    assert_eq!(found(twin, index, &json!({ "offset": 2, "limit": 3 })), [1, 7, 2]);
    assert_eq!(found(twin, index, &json!({ "page": 2, "hitsPerPage": 5 })), [4, 5, 6, 8, 9]);
    // Pins need not match the words, but they have to pass the filter; those that are late come when there is nothing else.
    assert_eq!(found(twin, index, &json!({ "q": "blue", "facets": ["kind"] })), [3, 12, 9, 7, 10, 11]);
    let even = json!({ "filter": "kind = even", "facets": ["kind"], "showRankingScore": true });
    assert_eq!(found(twin, index, &even), [12, 2, 4, 6, 8, 10]);
    let hidden = json!({ "attributesToRetrieve": ["n"], "showRankingScoreDetails": true, "limit": 2 });
    let answer = twin.cluster.client().post(&format!("/indexes/{index}/search"), &hidden).expect(200).body;
    let pinned = |n: u64| json!({ "n": n, "_rankingScoreDetails": { "pin": { "order": 0, "position": 0 } } });
    assert_eq!(answer["hits"], json!([pinned(3), pinned(12)]));
    let several =
        json!({ "queries": [{ "indexUid": index, "limit": 2 }, { "indexUid": index, "q": "blue", "limit": 2 }] });
    let answer = twin.cluster.client().post("/multi-search", &several).expect(200).body;
    assert_eq!((ids(&answer["results"][0]), ids(&answer["results"][1])), (vec![3, 12], vec![3, 12]));
}

#[test]
fn a_federation_places_pins_of_all_its_queries() {
    if !real() {
        eprintln!("skipped: nodes for development pin nothing in federations");
        return;
    }
    let (twin, index) = (twin(), "fpins");
    ranked(twin, index);
    rule(twin, "fpins-a", &json!({ "active": true, "actions": [pin(index, "12", 1), pin(index, "7", 1)] }));
    for federation in [json!({}), json!({ "limit": 3 }), json!({ "offset": 1, "limit": 4 })] {
        let search = json!({ "federation": federation, "queries": [
            { "indexUid": index, "q": "red" }, { "indexUid": index, "q": "blue", "federationOptions": { "weight": 0.5 } },
        ] });
        let [ours, theirs] = twin.clients().map(|client| client.post("/multi-search", &search).expect(200).body);
        assert_eq!(ours["hits"], theirs["hits"], "{federation}");
        assert_eq!(ours["estimatedTotalHits"], theirs["estimatedTotalHits"], "{federation}");
    }
}

#[test]
fn conditions_decide_whether_a_rule_applies() {
    let (twin, index) = (twin(), "conditions");
    ranked(twin, index);
    let at_top = |id: &str, conditions: Value| json!({ "active": true, "conditions": conditions, "actions": [pin(index, id, 0)] });
    rule(twin, "cond-words", &at_top("5", json!({ "query": { "words": "Red hat" } })));
    rule(twin, "cond-empty", &at_top("6", json!({ "query": { "isEmpty": true } })));
    rule(twin, "cond-past", &at_top("7", json!({ "time": { "end": "2001-01-01T00:00:00Z" } })));
    rule(
        twin,
        "cond-now",
        &at_top("8", json!({ "time": { "start": "2001-01-01T00:00:00Z" }, "query": { "isEmpty": false } })),
    );
    rule(twin, "cond-off", &json!({ "active": false, "actions": [pin(index, "9", 0)] }));
    let top = |q: &str| found(twin, index, &json!({ "q": q, "limit": 3 }));
    assert_eq!(top(""), [6, 1, 2]);
    assert_eq!(top("red"), [8, 1, 2]);
    assert_eq!(top("hat red"), [5, 8, 1]);
}

#[test]
fn rules_are_kept_shown_and_deleted_as_tasks() {
    // A cluster of its own: the listing is of all rules.
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    client.patch("/experimental-features", &json!({ "dynamicSearchRules": true })).expect(200);
    let none = json!({ "results": [], "offset": 0, "limit": 20, "total": 0 });
    assert_eq!(client.post(RULES, &json!({})).expect(200).body, none);
    let first = json!({ "description": "summer sale", "precedence": 4, "active": true, "actions": [pin("a", "1", 2)] });
    let task = client.ended(&client.patch(&format!("{RULES}/one?customMetadata=note"), &first).expect(202));
    assert_eq!((&task["type"], &task["indexUid"]), (&json!("dsrUpdate"), &json!(".meili_dsr")));
    assert_eq!((&task["status"], &task["customMetadata"]), (&json!("succeeded"), &json!("note")));
    assert_eq!(task["details"], json!({ "rule": first, "updatedRules": 1 }));
    let words = json!({ "active": false, "conditions": { "query": { "words": "winter" } } });
    client.done(&client.patch(&format!("{RULES}/two"), &words));
    client.done(&client.patch(&format!("{RULES}/one"), &json!({ "description": null, "precedence": 5 })));
    let one = json!({ "uid": "one", "precedence": 5, "active": true, "conditions": {}, "actions": [pin("a", "1", 2)] });
    let two = json!({ "uid": "two", "active": false, "conditions": { "query": { "words": "winter" } }, "actions": [] });
    assert_eq!(client.get(&format!("{RULES}/one")).expect(200).body, one);
    let listed = |body: Value| client.post(RULES, &body).expect(200).body;
    assert_eq!(listed(json!({}))["results"], json!([one, two]));
    assert_eq!(listed(json!({ "filter": { "active": true } }))["results"], json!([one]));
    let page = listed(json!({ "offset": 1, "limit": 1 }));
    assert_eq!(page, json!({ "results": [two], "offset": 1, "limit": 1, "total": 2 }));
    assert_eq!(
        listed(json!({ "filter": { "query": "winter" } })),
        json!({ "results": [two], "offset": 0, "limit": 20, "total": 1 })
    );
    let task = client.ended(&client.delete(&format!("{RULES}/one")).expect(202));
    assert_eq!((&task["status"], &task["details"]), (&json!("succeeded"), &json!({ "updatedRules": 1 })));
    assert_eq!(client.get(&format!("{RULES}/one")).verdict(), (404, "dynamic_search_rule_not_found".to_owned()));
    let task = client.ended(&client.delete(RULES).expect(202));
    assert_eq!((&task["type"], &task["details"]), (&json!("dsrClear"), &json!({ "deletedDocuments": 1 })));
    assert_eq!(listed(json!({})), none);
}

#[test]
fn refusals_of_rules_are_those_of_one_server() {
    let twin = twin();
    let client = twin.cluster.client();
    let cases = [
        ("PATCH", "/r?x=1", Some(json!({})), "bad_request"),
        ("PATCH", "/r", Some(json!({ "uid": "r" })), "bad_request"),
        (
            "PATCH",
            "/r",
            Some(json!({ "actions": [{ "selector": { "id": "1" } }] })),
            "invalid_dynamic_search_rule_actions",
        ),
        (
            "PATCH",
            "/r",
            Some(json!({ "conditions": { "time": { "start": "x" } } })),
            "invalid_dynamic_search_rule_conditions",
        ),
        ("PATCH", "/a%20b", Some(json!({})), ""),
        ("POST", "", Some(json!({ "filter": { "x": 1 } })), "invalid_dynamic_search_rule_filter"),
        ("GET", "/none", None, "dynamic_search_rule_not_found"),
        ("DELETE", "/r?x=1", None, "bad_request"),
    ];
    for (method, path, body, code) in cases {
        let path = format!("{RULES}{path}");
        let ask = |client: &Client| match &body {
            Some(body) => client.call(method, &path, body),
            None => client.send(method, &path, None, &[]),
        };
        let ours = ask(&client);
        assert_eq!(ours.code(), code, "{method} {path}: {}", ours.text);
        assert!(matches!(ours.status, 400 | 404), "{method} {path}: {}", ours.status);
        if real() {
            let theirs = ask(&twin.reference.client());
            assert_eq!((ours.status, &ours.text), (theirs.status, &theirs.text), "{method} {path}");
        }
    }
}

#[test]
fn rules_outlive_restarts_follow_names_and_reach_nodes_that_were_away() {
    let mut cluster = Cluster::builder().start();
    let client = cluster.client();
    client.patch("/experimental-features", &json!({ "dynamicSearchRules": true })).expect(200);
    for (index, ids) in [("left", [1, 2, 3]), ("right", [11, 12, 13])] {
        client.create(index, "id");
        client.load(index, &ids.iter().map(|id| json!({ "id": id, "n": id })).collect());
        client.configure(index, &json!({ "rankingRules": ["n:asc"] }));
    }
    let top = |client: &Client, index: &str| ids(&client.post(&format!("/indexes/{index}/search"), &json!({})).body);
    client
        .done(&client.patch(&format!("{RULES}/l"), &json!({ "actions": [pin("left", "3", 0), pin("left", "13", 0)] })));
    assert_eq!((top(&client, "left"), top(&client, "right")), (vec![3, 1, 2], vec![11, 12, 13]));
    client.done(&client.post("/swap-indexes", &json!([{ "indexes": ["left", "right"] }])));
    eventually("rules follow the names of indexes", BOUND, || {
        (top(&client, "left") == [13, 11, 12] && top(&client, "right") == [1, 2, 3]).then_some(())
    });
    cluster.kill_node(1);
    client.done(&client.patch(&format!("{RULES}/l"), &json!({ "actions": [pin("left", "12", 0)] })));
    assert_eq!(top(&client, "left"), [12, 11, 13]);
    cluster.restart_proxy();
    let client = cluster.client();
    cluster.restart_node(1);
    for _ in 0..6 {
        eventually("all nodes have the rule", BOUND, || (top(&client, "left") == [12, 11, 13]).then_some(()));
    }
    client.patch("/experimental-features", &json!({ "dynamicSearchRules": false })).expect(200);
    assert_eq!(client.get(&format!("{RULES}/l")).verdict(), (400, "feature_not_enabled".to_owned()));
}

//! Experimental features and what stands behind them, editions by function, compaction, and the routes that a cluster
//! does not have.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Twin, binaries, eventually};

const BOUND: Duration = Duration::from_secs(30);

fn real() -> bool {
    binaries::meilisearch().is_some()
}

fn send(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Answer {
    match body {
        Some(body) => client.call(method, path, body),
        None => client.send(method, path, None, &[]),
    }
}

/// Every route behind a feature, with the feature and a body where it takes one.
fn gated() -> Vec<(&'static str, &'static str, Option<Value>, &'static str)> {
    let object = || Some(json!({}));
    let target = || Some(json!({ "target": "info" }));
    vec![
        ("GET", "/metrics", None, "metrics"),
        ("POST", "/logs/stream", target(), "logsRoute"),
        ("DELETE", "/logs/stream", None, "logsRoute"),
        ("POST", "/logs/stderr", target(), "logsRoute"),
        ("GET", "/network", None, "network"),
        ("PATCH", "/network", object(), "network"),
        ("GET", "/chats", None, "chatCompletions"),
        ("GET", "/chats/x", None, "chatCompletions"),
        ("DELETE", "/chats/x", None, "chatCompletions"),
        ("GET", "/chats/x/settings", None, "chatCompletions"),
        ("PATCH", "/chats/x/settings", object(), "chatCompletions"),
        ("DELETE", "/chats/x/settings", None, "chatCompletions"),
        ("POST", "/dynamic-search-rules", object(), "dynamicSearchRules"),
        ("DELETE", "/dynamic-search-rules", None, "dynamicSearchRules"),
        ("GET", "/dynamic-search-rules/a", None, "dynamicSearchRules"),
        ("PATCH", "/dynamic-search-rules/a", object(), "dynamicSearchRules"),
        ("DELETE", "/dynamic-search-rules/a", None, "dynamicSearchRules"),
        ("POST", "/tasks/compact", None, "taskQueueCompactionRoute"),
        ("GET", "/tasks/0/documents", None, "getTaskDocumentsRoute"),
        ("POST", "/indexes/any/documents/edit", Some(json!({ "function": "doc.a = 1" })), "editDocumentsByFunction"),
    ]
}

#[test]
fn a_feature_that_is_off_is_refused_in_meilisearchs_words() {
    let twin = Twin::shared();
    for (method, path, body, _) in gated() {
        let ours = send(&twin.cluster.client(), method, path, body.as_ref());
        assert_eq!(ours.verdict(), (400, "feature_not_enabled".to_owned()), "{method} {path}: {}", ours.text);
        if real() {
            let theirs = send(&twin.reference.client(), method, path, body.as_ref());
            assert_eq!(ours.body, theirs.body, "{method} {path}");
        }
    }
}

#[test]
fn what_a_cluster_does_not_have_says_why() {
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    for (method, path, body, feature) in gated() {
        // Nodes that have not the feature say so themselves.
        if ["editDocumentsByFunction", "getTaskDocumentsRoute", "dynamicSearchRules"].contains(&feature) {
            continue;
        }
        client.patch("/experimental-features", &json!({ feature: true })).expect(200);
        let answer = send(&client, method, path, body.as_ref());
        assert_eq!(answer.verdict(), (501, "miroir_unsupported".to_owned()), "{method} {path}: {}", answer.text);
        assert!(answer.body["message"].as_str().is_some_and(|reason| reason.ends_with('.')), "{}", answer.text);
    }
    let always = [("POST", "/dumps", None), ("POST", "/snapshots", None), ("POST", "/export", Some(json!({})))];
    for (method, path, body) in always {
        let answer = send(&client, method, path, body.as_ref());
        assert_eq!(answer.verdict(), (501, "miroir_unsupported".to_owned()), "{method} {path}: {}", answer.text);
    }
    client.patch("/experimental-features", &json!({ "getTaskDocumentsRoute": true })).expect(200);
    client.create("td", "id");
    let none = client.get("/tasks/0/documents");
    assert_eq!(none.verdict(), (404, "task_file_not_found".to_owned()), "{}", none.text);
    assert_eq!(client.get("/tasks/99999/documents").verdict(), (404, "task_not_found".to_owned()));
}

#[test]
fn features_are_shown_changed_and_refused_as_on_one_server() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    let shown = client.get("/experimental-features").expect(200);
    assert!(shown.body.as_object().is_some_and(|all| all.len() == 15 && all.values().all(Value::is_boolean)));
    let same = |what: &str, ask: &dyn Fn(&Client) -> Answer| {
        let ours = ask(&client);
        if real() {
            let theirs = ask(&twin.reference.client());
            assert_eq!((ours.status, &ours.body), (theirs.status, &theirs.body), "{what}");
        }
        ours
    };
    for body in [json!({ "metrics": 1 }), json!({ "foo": true }), json!([]), json!({ "metrics": "x" })] {
        let answer = same(&body.to_string(), &|client| client.patch("/experimental-features", &body));
        assert_eq!(answer.verdict(), (400, "bad_request".to_owned()));
    }
    for body in [json!({}), json!({ "metrics": null })] {
        let answer = same(&body.to_string(), &|client| client.patch("/experimental-features", &body));
        assert_eq!((answer.status, &answer.body), (200, &shown.body));
    }
    same("no such method", &|client| client.put("/experimental-features", &json!({})));
}

#[test]
fn nodes_are_told_of_features_also_those_that_were_away() {
    let mut cluster = Cluster::builder().start();
    let client = cluster.client();
    cluster.kill_node(1);
    let changed =
        client.patch("/experimental-features", &json!({ "containsFilter": true, "network": true })).expect(200);
    assert_eq!((&changed.body["containsFilter"], &changed.body["network"]), (&json!(true), &json!(true)));
    let on_node =
        |cluster: &Cluster, node: usize| cluster.node_client(node).get("/experimental-features").expect(200).body;
    for node in [0, 2] {
        let told = on_node(&cluster, node);
        assert_eq!((&told["containsFilter"], &told["network"]), (&json!(true), &json!(false)), "{told}");
    }
    cluster.restart_proxy();
    cluster.restart_node(1);
    eventually("the node that was away is told", BOUND, || {
        (on_node(&cluster, 1)["containsFilter"] == true).then_some(())
    });
    assert_eq!(cluster.client().get("/experimental-features").body["containsFilter"], true);
}

#[test]
fn documents_are_edited_by_a_function_that_cannot_touch_what_is_not_the_clients() {
    let cluster = Cluster::builder().start();
    let client = cluster.client();
    let on = client.patch("/experimental-features", &json!({ "editDocumentsByFunction": true }));
    if !real() {
        // Development nodes have no interpreter: the feature stays off, and says whose word that is.
        assert_eq!(on.verdict(), (501, "not_implemented".to_owned()), "{}", on.text);
        assert_eq!(client.get("/experimental-features").body["editDocumentsByFunction"], false);
        let refused = client.post("/indexes/e/documents/edit", &json!({ "function": "doc.a = 1" }));
        assert_eq!(refused.verdict(), (400, "feature_not_enabled".to_owned()));
        return;
    }
    on.expect(200);
    client.create("e", "id");
    client.configure("e", &json!({ "filterableAttributes": ["n"] }));
    client.load("e", &(0..40).map(|i| json!({ "id": i, "n": i })).collect());
    let edit = |body: Value| client.post("/indexes/e/documents/edit", &body);
    let consistent = |count: usize| {
        let documents = client.documents("e");
        assert_eq!((documents.len(), client.count("e")), (count, count as u64));
        for document in documents {
            let one = client.get(&format!("/indexes/e/documents/{}", document["id"])).expect(200);
            assert_eq!(one.body, document);
            assert!(!one.text.contains("_miroir"), "{}", one.text);
        }
    };
    let task = client
        .done(&edit(json!({ "function": "doc.m = doc.n + context.by", "context": { "by": 1 }, "filter": "n < 10" })));
    let details = json!({ "editedDocuments": 10, "deletedDocuments": 10, "originalFilter": "\"n < 10\"", "context": { "by": 1 }, "function": "doc.m = doc.n + context.by" });
    assert_eq!(task["details"], details);
    assert_eq!(client.get("/indexes/e/documents/3").body["m"], 4);
    consistent(40);
    // Our fields are not there, whatever the function does to all it sees; `return` ends the function only.
    client.done(&edit(json!({ "function": "for k in doc.keys() { if k != \"id\" && k != \"n\" { doc[k] = \"x\" + doc[k]; } } return;" })));
    client.done(&edit(json!({ "function": "doc[\"_mir\" + \"oir_shard\"] = \"7\"; doc.s = 1;" })));
    client.done(&edit(json!({ "function": "doc = #{ id: doc.id, n: doc.n, fresh: true }" })));
    consistent(40);
    let named = edit(json!({ "function": "doc._miroir_shard = 7" }));
    assert_eq!(named.verdict(), (400, "miroir_reserved_field".to_owned()));
    let task = client.done(&edit(json!({ "function": "doc = ()", "filter": "n >= 30" })));
    assert_eq!(task["details"]["deletedDocuments"], 10, "{task}");
    consistent(30);
    for function in ["doc.id = 1000", "doc.nope()", "} doc.x = 1; {", "doc ="] {
        let task = client.ended(&edit(json!({ "function": function })));
        assert_eq!((&task["status"], &task["details"]["editedDocuments"]), (&json!("failed"), &json!(0)), "{task}");
        assert!(!task["error"].to_string().contains("eval"), "{task}");
    }
    consistent(30);
    let missing = client.ended(&client.post("/indexes/nobody/documents/edit", &json!({ "function": "doc.a = 1" })));
    assert_eq!(missing["error"]["code"], "index_not_found");
    let cases = [
        (json!({}), "missing_document_edition_function"),
        (json!({ "function": 5 }), "invalid_document_edition_function_filter"),
        (json!({ "function": "doc.a=1", "context": 5 }), "invalid_document_edition_context"),
        (json!({ "function": "doc.a=1", "filter": "n = (" }), "invalid_document_filter"),
        (json!({ "function": "doc.a=1", "filter": "" }), "invalid_document_filter"),
        (json!({ "function": "doc.a=1", "x": 1 }), "bad_request"),
    ];
    for (body, code) in cases {
        let answer = edit(body);
        assert_eq!((answer.status, answer.code()), (400, code), "{}", answer.text);
        assert!(!answer.text.contains("miroir_function"), "{}", answer.text);
    }
}

#[test]
fn an_index_is_compacted_on_all_nodes_or_refused() {
    let client = Twin::shared().cluster.client();
    client.create("cp", "id");
    client.load("cp", &json!([{ "id": 1 }]));
    let answer = client.send("POST", "/indexes/cp/compact", None, &[]);
    if real() {
        let task = client.done(&answer);
        assert_eq!(task["type"], "indexCompaction");
    } else {
        // Development nodes compact nothing, and say so.
        assert_eq!(answer.verdict(), (400, "feature_not_enabled".to_owned()), "{}", answer.text);
    }
    assert_eq!(client.count("cp"), 1);
    let unknown = client.ended(&client.send("POST", "/indexes/nobody/compact", None, &[]));
    assert_eq!((&unknown["error"]["code"], &unknown["type"]), (&json!("index_not_found"), &json!("indexCompaction")));
}

#[test]
fn unknown_routes_and_methods_are_answered_with_nothing() {
    let twin = Twin::shared();
    let cases = [
        ("GET", "/nothing", 404),
        ("GET", "/indexes/a/nothing", 404),
        ("GET", "/tasks/1/nothing", 404),
        ("GET", "/webhooks/a/b", 404),
        ("GET", "/dumps", 405),
        ("PUT", "/indexes", 405),
        ("PATCH", "/indexes/a/documents", 405),
        ("GET", "/swap-indexes", 405),
        ("GET", "/tasks/cancel", 405),
        ("PUT", "/tasks", 405),
        ("POST", "/batches", 405),
        ("PUT", "/indexes/a/settings", 405),
        ("PATCH", "/indexes/a/settings/stop-words", 405),
        ("PUT", "/indexes/a/settings/faceting", 405),
        ("GET", "/indexes/a/settings/nothing", 404),
        ("GET", "/indexes/a/documents/edit", 405),
        ("GET", "/indexes/a/compact", 405),
    ];
    for (method, path, status) in cases {
        let answer = twin.cluster.client().send(method, path, None, &[]);
        assert_eq!((answer.status, answer.text.as_str()), (status, ""), "{method} {path}");
        if real() {
            let theirs = twin.reference.client().send(method, path, None, &[]);
            assert_eq!((theirs.status, theirs.text.as_str()), (status, ""), "{method} {path} on one server");
        }
    }
}

#[test]
fn every_setting_has_its_route_and_its_verb() {
    let twin = Twin::shared();
    let client = twin.cluster.client();
    twin.create("verbs");
    let settings = [
        ("displayed-attributes", "PUT"),
        ("searchable-attributes", "PUT"),
        ("filterable-attributes", "PUT"),
        ("sortable-attributes", "PUT"),
        ("ranking-rules", "PUT"),
        ("stop-words", "PUT"),
        ("dictionary", "PUT"),
        ("separator-tokens", "PUT"),
        ("non-separator-tokens", "PUT"),
        ("synonyms", "PUT"),
        ("distinct-attribute", "PUT"),
        ("proximity-precision", "PUT"),
        ("prefix-search", "PUT"),
        ("facet-search", "PUT"),
        ("search-cutoff-ms", "PUT"),
        ("localized-attributes", "PUT"),
        ("typo-tolerance", "PATCH"),
        ("faceting", "PATCH"),
        ("pagination", "PATCH"),
        ("embedders", "PATCH"),
    ];
    for (name, verb) in settings {
        let path = format!("/indexes/verbs/settings/{name}");
        client.get(&path).expect(200);
        client.done(&client.call(verb, &path, &Value::Null));
        client.done(&client.delete(&path));
        let other = if verb == "PUT" { "PATCH" } else { "PUT" };
        for wrong in [other, "POST"] {
            let answer = client.call(wrong, &path, &Value::Null);
            assert_eq!((answer.status, answer.text.as_str()), (405, ""), "{wrong} {path}");
        }
    }
    for (name, verb, body) in [("chat", "PATCH", json!({})), ("foreign-keys", "PUT", json!([]))] {
        let path = format!("/indexes/verbs/settings/{name}");
        let answer = client.call(verb, &path, &body);
        assert_eq!(answer.verdict(), (400, "feature_not_enabled".to_owned()), "{path}: {}", answer.text);
        if real() {
            let theirs = twin.reference.client().call(verb, &path, &body);
            assert_eq!(theirs.body, answer.body, "{path}");
        }
    }
}

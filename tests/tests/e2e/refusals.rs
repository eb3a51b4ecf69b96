//! A node that refuses what others take is not the cluster: it is overruled, or it contributes what one server would find in
//! its documents.

use std::time::Duration;

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Fault, Node, Twin, eventually};

const BOUND: Duration = Duration::from_secs(30);

fn documents(count: usize) -> Value {
    (0..count).map(|i| json!({ "id": i, "title": "lasting word", "n": i })).collect()
}

/// Every node with everything, each asked in turn.
fn mirrored() -> Cluster {
    let cluster = Cluster::builder()
        .nodes(2)
        .rf(2)
        .faults()
        .set("replica_selection.strategy", json!("round_robin"))
        // Not found out by waiting.
        .set("settings_drift_check.interval_s", json!(3600))
        .set("anti_entropy.enabled", json!(false))
        .start();
    let client = cluster.client();
    client.create("steady", "id");
    client.configure("steady", &json!({ "filterableAttributes": ["n"], "sortableAttributes": ["n"] }));
    client.load("steady", &documents(100));
    cluster
}

fn overruled(cluster: &Cluster) -> u64 {
    let text = cluster.metrics().get("/metrics").expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix("miroir_overruled_refusals_total "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

type Ask = Box<dyn Fn(&Client) -> Answer>;

/// Each kind of read that needs `n` to be filterable or sortable.
fn filtered() -> Vec<(&'static str, Ask)> {
    let filter = || json!("n < 10");
    let search = |body: Value| -> Ask { Box::new(move |client| client.search("steady", &body)) };
    let post = |path: &'static str, body: Value| -> Ask { Box::new(move |client| client.post(path, &body)) };
    let queries = json!([{ "indexUid": "steady", "filter": filter() }]);
    let fetch = "/indexes/steady/documents/fetch";
    vec![
        ("search", search(json!({ "filter": filter() }))),
        ("facets", search(json!({ "facets": ["n"] }))),
        ("distinct", search(json!({ "distinct": "n" }))),
        ("sort", search(json!({ "sort": ["n:asc"] }))),
        ("multi-search", post("/multi-search", json!({ "queries": queries }))),
        ("federation", post("/multi-search", json!({ "queries": queries, "federation": {} }))),
        ("facet search", post("/indexes/steady/facet-search", json!({ "facetName": "n", "filter": filter() }))),
        ("fetch", post(fetch, json!({ "filter": filter() }))),
        ("sorted fetch", post(fetch, json!({ "sort": ["n:desc"] }))),
    ]
}

#[test]
fn a_node_with_other_settings_is_overruled_and_repaired_at_once() {
    let cluster = mirrored();
    let (client, node) = (cluster.client(), cluster.node_client(0));
    let index = "steady";
    let held = node.get(&format!("/indexes/{index}/settings")).expect(200).body;
    let changed = json!({ "filterableAttributes": held["filterableAttributes"].as_array().map(|all| &all[..1]), "sortableAttributes": [] });
    node.done(&node.patch(&format!("/indexes/{index}/settings"), &changed));
    let mut asked = 0;
    eventually("the node has its settings back", BOUND, || {
        for (what, ask) in filtered() {
            let answer = ask(&client);
            assert_eq!(answer.status, 200, "{what}: {}", answer.text);
            assert_eq!(answer.header("x-miroir-degraded"), None, "{what}");
            asked += 1;
        }
        let now = node.get(&format!("/indexes/{index}/settings")).expect(200).body;
        (now["filterableAttributes"] == held["filterableAttributes"]
            && now["sortableAttributes"] == held["sortableAttributes"])
            .then_some(())
    });
    assert!(overruled(&cluster) > 0, "nobody refused in {asked} reads");
}

#[test]
fn what_all_replicas_refuse_is_refused() {
    let cluster = mirrored();
    let client = cluster.client();
    for (search, code) in [
        (json!({ "filter": "title = x" }), "invalid_search_filter"),
        (json!({ "sort": ["title:asc"] }), "invalid_search_sort"),
        (json!({ "distinct": "title" }), "invalid_search_distinct"),
        (json!({ "attributesToSearchOn": ["n"] , "q": "x", "filter": "n ~ 1" }), "invalid_search_filter"),
    ] {
        let answer = client.search("steady", &search);
        assert_eq!(answer.verdict(), (400, code.to_owned()), "{search}: {}", answer.text);
    }
    assert_eq!(overruled(&cluster), 0);
}

#[test]
fn a_node_that_is_busy_is_neither_a_refusal_nor_asked_twice() {
    for status in [408, 429] {
        let cluster = mirrored();
        let client = cluster.client();
        for path in ["/search", "/multi-search", "/facet-search", "/documents"] {
            cluster.faults(0).spoil("", path, 100_000, Fault::Answer(status, Value::Null));
        }
        let mut in_all = 0;
        for (n, (what, ask)) in filtered().iter().cycle().take(27).enumerate() {
            // Nodes are looked at meanwhile, too: what is asked for the client bears its name.
            let id = format!("ask-{status}-{n}");
            let answer = ask(&client.with_header("x-request-id", &id));
            assert_eq!(answer.status, 200, "{what}: {}", answer.text);
            assert_eq!(answer.header("x-miroir-degraded"), None, "{what}");
            let times = cluster.faults(0).request_ids().iter().filter(|seen| **seen == id).count();
            assert!(times <= 1, "{what} was sent {times} times to the busy node");
            in_all += times;
        }
        assert!(in_all > 0, "the busy node was never asked");
        assert_eq!(overruled(&cluster), 0);
    }
}

/// Nodes that hold each document once, and one server that holds all.
fn scattered() -> Twin {
    let twin = Twin { cluster: Cluster::builder().nodes(3).rf(1).start(), reference: Node::single() };
    twin.create("tags");
    let settings = json!({
        "searchableAttributes": ["title", "tags"],
        "filterableAttributes": ["tags", "n", "_geo", { "attributePatterns": ["plain"], "features": { "facetSearch": false, "filter": { "equality": true, "comparison": false } } }],
        "sortableAttributes": ["tags", "n", "_geo"],
        // No two documents rank equal.
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness", "n:asc"],
    });
    twin.configure("tags", &settings);
    let document = |i: usize| {
        let mut document = json!({ "id": i, "n": i, "title": format!("course part {i}") });
        if i == 7 {
            document["tags"] = json!({ "level0": ["Physics"], "level3": ["Quasar"] });
            document["_geo"] = json!({ "lat": 1.0, "lng": 2.0 });
            document["plain"] = json!(3);
        } else if i.is_multiple_of(3) {
            document["tags"] = json!({ "level0": ["Maths"] });
        }
        document
    };
    twin.load("tags", &(0..36).map(document).collect());
    twin
}

#[test]
fn an_attribute_that_one_document_has_is_searched_as_by_one_server() {
    let twin = scattered();
    let lists = [
        json!(["tags.level3"]),
        json!(["title", "tags.level3"]),
        json!(["tags.level3*"]),
        json!(["*level3"]),
        json!(["tags.level0"]),
        json!(["tags"]),
        json!(["*", "tags.level3"]),
    ];
    for list in &lists {
        for q in ["quasar", "course", "physics maths", ""] {
            let search = json!({ "q": q, "attributesToSearchOn": list, "facets": ["n"], "limit": 50 });
            twin.same(&format!("{search}"), |client| client.search("tags", &search));
            let query = json!({ "indexUid": "tags", "q": q, "attributesToSearchOn": list });
            let queries = json!([{ "indexUid": "tags", "q": "course", "sort": ["n:asc"], "limit": 2 }, query]);
            twin.same(&format!("{queries}"), |client| client.post("/multi-search", &json!({ "queries": queries })));
            let federated = json!({ "federation": {}, "queries": [query] });
            twin.same(&format!("{federated}"), |client| client.post("/multi-search", &federated));
            let facets = json!({ "facetName": "tags.level0", "q": q, "attributesToSearchOn": list });
            twin.same(&format!("{facets}"), |client| client.post("/indexes/tags/facet-search", &facets));
        }
    }
    let found =
        twin.cluster.client().search("tags", &json!({ "q": "quasar", "attributesToSearchOn": ["tags.level3"] }));
    assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(1), "{}", found.text);
}

#[test]
fn an_attribute_that_no_document_has_is_refused_as_by_one_server() {
    let twin = scattered();
    for list in [json!(["tags.level9"]), json!(["tags.level3", "tags.level9"]), json!(["n"]), json!(["*level9*"])] {
        let search = json!({ "q": "quasar", "attributesToSearchOn": list });
        // What it lists are the attributes that a server has met.
        let verdicts = twin.clients().map(|client| client.search("tags", &search).verdict());
        assert_eq!(verdicts[0], verdicts[1], "{search}");
        assert_eq!(verdicts[0], (400, "invalid_search_attributes_to_search_on".to_owned()));
        let queries = json!({ "queries": [{ "indexUid": "tags", "q": "quasar", "attributesToSearchOn": list }] });
        let verdicts = twin.clients().map(|client| client.post("/multi-search", &queries).verdict());
        assert_eq!(verdicts[0], verdicts[1], "{queries}");
    }
}

#[test]
fn documents_by_distance_where_few_have_a_place_come_as_from_one_server() {
    let twin = scattered();
    for sort in [json!(["_geoPoint(1, 1):asc", "n:desc"]), json!(["n:asc", "_geoPoint(1, 1):desc"])] {
        let fetch = json!({ "sort": sort, "limit": 40 });
        twin.same(&format!("{fetch}"), |client| client.post("/indexes/tags/documents/fetch", &fetch));
    }
    let nobody = json!({ "sort": ["_geoPoint(1, 1):asc"] });
    twin.create("nowhere");
    twin.configure("nowhere", &json!({ "sortableAttributes": ["_geo"] }));
    twin.load("nowhere", &documents(20));
    let verdicts = twin.clients().map(|client| client.post("/indexes/nowhere/documents/fetch", &nobody).verdict());
    assert_eq!(verdicts[0], verdicts[1]);
}

#[test]
fn a_filter_that_only_a_node_with_the_attribute_refuses_is_refused() {
    let twin = scattered();
    // One server refuses it as soon as it has met the attribute: a comparison is not among what may be filtered by.
    let filter = json!("plain > 1");
    twin.same("a comparison", |client| client.search("tags", &json!({ "filter": filter })));
    twin.same("a fetch", |client| client.post("/indexes/tags/documents/fetch", &json!({ "filter": filter })));
    assert_eq!(twin.cluster.client().search("tags", &json!({ "filter": filter })).status, 400);
}

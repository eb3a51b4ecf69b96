//! Filters, on every route that takes one: fields of Miroir's do not exist for clients, however they are written, and no
//! filter is longer than nodes can bear.

use serde_json::{Value, json};

use miroir_tests::{Answer, Client, Cluster, Twin};

/// What names a field of ours, in one of the ways in which it can be written.
fn ours() -> Vec<Value> {
    vec![
        json!("_miroir_shard EXISTS"),
        json!("NOT _miroir_shard IS NULL"),
        json!("\"_miroir_shard\" = x"),
        json!(r#""\u{5f}miroir_shard" EXISTS"#),
        json!(["n = 1", ["_miroir_shard IN [a]", "n = 2"]]),
        json!("_miroir_updated_at EXISTS"),
    ]
}

type Ask<'a> = Box<dyn Fn(&Client) -> Answer + 'a>;

/// Every route that takes a filter, with this one. Changes are the outcome of their task.
fn routes<'a>(index: &'a str, filter: &'a Value) -> Vec<(&'static str, Ask<'a>)> {
    let post = move |path: &'static str, body: Value| -> Ask<'a> {
        Box::new(move |client| client.post(&format!("/indexes/{index}/{path}"), &body))
    };
    let query = json!({ "indexUid": index, "filter": filter });
    let federated = json!({ "federation": {}, "queries": [query] });
    vec![
        ("search", post("search", json!({ "filter": filter }))),
        ("multi-search", Box::new(move |client| client.post("/multi-search", &json!({ "queries": [query] })))),
        ("federation", Box::new(move |client| client.post("/multi-search", &federated))),
        ("facet search", post("facet-search", json!({ "facetName": "color", "filter": filter }))),
        ("similar", post("similar", json!({ "id": 1, "embedder": "e", "filter": filter }))),
        ("fetch", post("documents/fetch", json!({ "filter": filter }))),
        ("sorted fetch", post("documents/fetch", json!({ "filter": filter, "sort": ["n:asc"] }))),
        ("fetch of ids", post("documents/fetch", json!({ "filter": filter, "ids": [1, 2] }))),
        (
            "GET documents",
            Box::new(move |client| {
                let text = filter.as_str().map_or_else(|| filter.to_string(), str::to_owned);
                let text: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
                client.get(&format!("/indexes/{index}/documents?filter={text}"))
            }),
        ),
        ("deletion", post("documents/delete", json!({ "filter": filter }))),
    ]
}

fn prepare(client: &Client) {
    client.create("filtered", "id");
    let settings = json!({
        "filterableAttributes": ["n", "color", "title"], "sortableAttributes": ["n"],
        "embedders": { "e": { "source": "userProvided", "dimensions": 2 } },
    });
    client.configure("filtered", &settings);
    let document = |i: usize| json!({ "id": i, "n": i, "color": (["red", "blue"][i % 2]), "title": "_miroir_shard", "_vectors": { "e": [i, 1] } });
    client.load("filtered", &(0..40).map(document).collect());
}

#[test]
fn fields_of_ours_are_not_filterable_on_any_route() {
    let twin = Twin::shared();
    twin.clients().iter().for_each(prepare);
    for filter in ours() {
        for (route, ask) in routes("filtered", &filter) {
            let [ours, theirs] = twin.clients().map(|client| client.outcome(&ask(&client)));
            assert_eq!(ours, theirs, "{route} {filter}");
            assert_ne!(ours.0, 200, "{route} {filter}");
        }
    }
    for client in twin.clients() {
        assert_eq!(client.count("filtered"), 40, "nothing was deleted");
        // As a value it is anybody's.
        let found =
            client.search("filtered", &json!({ "filter": "title = _miroir_shard AND title IN ['_miroir_shard']" }));
        assert_eq!(found.expect(200).body["estimatedTotalHits"], 40);
    }
}

#[test]
fn filters_of_more_values_than_allowed_are_refused_and_name_the_setting() {
    let cluster = Cluster::builder().set("scatter.max_filter_values", json!(50)).start();
    let client = cluster.client();
    prepare(&client);
    let list = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let too_long = [
        json!(format!("n IN [{}]", list(51))),
        json!((0..51).map(|n| format!("n = {n}")).collect::<Vec<_>>()),
        json!([(0..51).map(|n| format!("n != {n}")).collect::<Vec<_>>()]),
    ];
    for filter in &too_long {
        for (route, ask) in routes("filtered", filter) {
            let answer = ask(&client);
            assert_eq!(answer.verdict(), (400, "miroir_filter_too_long".to_owned()), "{route} {filter}");
            assert!(answer.text.contains("scatter.max_filter_values"), "{route}: {}", answer.text);
        }
    }
    let allowed = json!(format!("n IN [{}]", list(50)));
    for (route, ask) in routes("filtered", &allowed).into_iter().filter(|(route, _)| *route != "deletion") {
        ask(&client).expect(200);
        assert!(!route.is_empty());
    }
    let ids: Vec<usize> = (0..200).collect();
    client.post("/indexes/filtered/documents/fetch", &json!({ "ids": ids })).expect(200);
    assert_eq!(client.count("filtered"), 40);
}

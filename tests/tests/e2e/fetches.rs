//! Documents in the order of attributes, the fields of an index, and pages deep in it: a cluster answers them as one server
//! holding everything would.

use serde_json::{Value, json};

use miroir_tests::{Answer, Cluster, Differences, Rng};

use super::reads::world;

/// Documents whose sort values are of every kind.
fn odd_documents() -> Value {
    let mut rng = Rng::new(61);
    let kinds = [
        json!(null),
        json!([]),
        json!({}),
        json!(""),
        json!(true),
        json!([5, "a", 7]),
        json!(["c", "0"]),
        json!([2, 3]),
        json!("É b"),
        json!({ "x": 1 }),
        json!([3, "Zed"]),
    ];
    (0..120)
        .map(|id| {
            let mut document = json!({ "id": id, "n": rng.below(6), "nested": { "deep": rng.below(4) }, "text": "t" });
            match rng.below(4) {
                0 => document["mix"] = rng.pick(&kinds).clone(),
                1 => document["mix"] = json!(rng.below(30) as f64 + 0.5),
                2 => document["mix"] = json!(format!("w{}", rng.below(30))),
                _ => {}
            }
            if rng.chance(0.7) {
                document["_geo"] = json!({ "lat": rng.below(80), "lng": rng.below(170) });
            }
            document
        })
        .collect()
}

#[test]
fn documents_are_fetched_in_the_order_of_attributes_as_by_one_server() {
    let world = world();
    let index = "sorted";
    world.twin.create(index);
    let settings = json!({ "sortableAttributes": ["n", "mix", "nested.deep", "_geo"], "filterableAttributes": ["n"] });
    world.twin.configure(index, &settings);
    world.twin.load(index, &odd_documents());
    let mut rng = Rng::new(67);
    let mut differences = Differences::default();
    for i in 0..80 {
        let sort: Vec<&str> = match i % 5 {
            0 => vec!["mix:asc"],
            1 => vec!["mix:desc"],
            2 => vec!["n:desc", "mix:asc"],
            3 => vec!["_geoPoint(10, 20):asc", "mix:asc"],
            _ => vec!["nested.deep:asc", "n:desc", "_geoPoint(0, 0):desc"],
        };
        // With several rules, where one repeats or drops documents, one server's pages do not join: it passes over such
        // documents as if each were listed once.
        let offset = if sort.len() == 2 { 0 } else { rng.below(40) };
        let mut body = json!({ "sort": sort, "offset": offset, "limit": rng.below(60) });
        if i % 3 == 0 {
            body["filter"] = json!("n > 2");
        }
        if i % 4 == 0 {
            body["ids"] = json!((0..40).map(|_| rng.below(140)).collect::<Vec<_>>());
        }
        if i % 7 == 0 {
            body["fields"] = json!(["mix", "n", "_geo", "nested.deep"]);
        }
        // Equal places may be filled by any of the documents that share them.
        let view = |answer: &Answer| {
            let places = answer.body["results"].as_array().cloned().unwrap_or_default();
            let place = |document: &Value| {
                let named = |name: &str| document.get(name).cloned();
                (named("n"), named("mix"), named("_geo"), document.pointer("/nested/deep").cloned())
            };
            let keys = |document: &Value| {
                let (n, mix, geo, deep) = place(document);
                let used =
                    |name: &str, value: Option<Value>| sort.iter().any(|rule| rule.starts_with(name)).then_some(value);
                (used("n:", n), used("mix", mix.map(|mix| kind(&mix))), used("_geo", geo), used("nested", deep))
            };
            (places.iter().map(keys).collect::<Vec<_>>(), answer.body["total"].clone())
        };
        let path = format!("/indexes/{index}/documents/fetch");
        world.compare(&mut differences, &body.to_string(), |client| client.post(&path, &body), view);
    }
    for query in ["sort=mix:asc&fields=*&limit=3", "sort=n:desc,mix:asc&limit=5&fields=n", "sort=nope:asc", "sort=mix"]
    {
        let path = format!("/indexes/{index}/documents?{query}");
        world.compare(
            &mut differences,
            query,
            |client| client.get(&path),
            |answer| answer.body["results"].as_array().map(Vec::len),
        );
    }
    let path = format!("/indexes/{index}/documents/fetch");
    for body in [json!({ "sort": "n:asc" }), json!({ "sort": ["n"] }), json!({ "sort": ["text:asc"] })] {
        world.compare(&mut differences, &body.to_string(), |client| client.post(&path, &body), |answer| answer.status);
    }
    let body = json!({ "fields": ["*"], "limit": 2 });
    world.compare(
        &mut differences,
        "fields *",
        |client| client.post(&path, &body),
        |answer| answer.body["results"].clone(),
    );
    differences.none();
}

/// A value as far as two that sort alike must agree.
fn kind(value: &Value) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) => json!("several"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn fields_are_listed_as_by_one_server() {
    let world = world();
    let index = "fielded";
    world.twin.create(index);
    world.twin.configure(index, &json!({
        "displayedAttributes": ["id", "a"], "searchableAttributes": ["a", "b.c"], "sortableAttributes": ["n"],
        "filterableAttributes": ["n", { "attributePatterns": ["b*"], "features": { "facetSearch": true, "filter": { "equality": true, "comparison": false } } }],
        "distinctAttribute": "n", "rankingRules": ["words", "n:desc"],
        "faceting": { "sortFacetValuesBy": { "n": "count" } },
    }));
    let documents: Vec<Value> = (0..30)
        .map(|id| json!({ "id": id, format!("f{}", id % 7): 1, "a": { "x": id }, "b": { "c": "t" }, "n": id }))
        .collect();
    world.twin.load(index, &json!(documents));
    let mut differences = Differences::default();
    for body in [
        json!({}),
        json!({ "offset": 3, "limit": 4 }),
        json!({ "limit": 0 }),
        json!({ "filter": { "attributePatterns": ["f*", "a"] } }),
        json!({ "filter": { "displayed": true } }),
        json!({ "filter": { "displayed": false, "filterable": true } }),
        json!({ "filter": { "searchable": true } }),
        json!({ "filter": { "sortable": true, "rankingRule": true, "distinct": true } }),
        json!({ "filter": null }),
        json!({ "filter": { "zork": true } }),
        json!({ "filter": { "displayed": 1 } }),
        json!({ "offset": "x" }),
        json!({ "zork": 1 }),
    ] {
        let path = format!("/indexes/{index}/fields");
        world.compare(
            &mut differences,
            &body.to_string(),
            |client| client.post(&path, &body),
            |answer| (answer.body["results"].clone(), answer.body["total"].clone(), answer.body["offset"].clone()),
        );
    }
    differences.none();
}

/// How many requests nodes have been sent for reading documents.
fn document_requests(cluster: &Cluster) -> u64 {
    let text = cluster.metrics().get("/metrics").text;
    let is_count = |line: &&str| line.starts_with("miroir_node_request") && line.contains("_count{");
    let is_ours = |line: &&str| line.contains("\"documents\"") || line.contains("\"count\"");
    text.lines()
        .filter(is_count)
        .filter(is_ours)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

#[test]
fn a_deep_page_of_documents_costs_nodes_what_the_first_one_costs() {
    // A cluster of its own: the requests of other tests would be counted as well.
    let cluster = Cluster::builder().nodes(3).rf(1).start();
    let (client, index) = (cluster.client(), "browsed");
    client.create(index, "id");
    let documents: Vec<Value> = (0..600).map(|id| json!({ "id": id })).collect();
    client.load(index, &json!(documents));
    let cost = |offset: usize| {
        let before = document_requests(&cluster);
        let page = client.get(&format!("/indexes/{index}/documents?limit=10&offset={offset}")).expect(200);
        assert_eq!(page.body["results"].as_array().map(Vec::len), Some(10));
        document_requests(&cluster) - before
    };
    // Every node is asked once how many documents its shards hold; then only the shards that the page covers are read.
    for offset in [0, 300, 590] {
        let cost = cost(offset);
        assert!((1..=6).contains(&cost), "{cost} requests for the page at {offset}");
    }
}

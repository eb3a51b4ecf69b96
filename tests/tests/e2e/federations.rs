//! Federations: the hits of several queries as one list, as one server makes it.

use serde_json::{Value, json};

use miroir_tests::{Answer, Rng};

use super::reads::{CATALOGUE, SHOP, Share, World, word, world};

/// What of a federation's hits has to agree: who found them, and how they are scored.
fn federated_ranks(answer: &Value) -> Vec<(Value, Value, i64)> {
    let hits = answer["hits"].as_array().cloned().unwrap_or_default();
    hits.iter()
        .map(|hit| {
            let federation = &hit["_federation"];
            let score = federation["weightedRankingScore"].as_f64().unwrap_or(-1.0);
            (federation["indexUid"].clone(), federation["queriesPosition"].clone(), (score * 1e9).round() as i64)
        })
        .collect()
}

fn federated_query(world: &World, rng: &mut Rng, sort: Option<&str>) -> Value {
    let shop = rng.chance(0.4);
    let documents = if shop { &world.shop } else { &world.catalogue };
    let mut query = json!({ "indexUid": if shop { SHOP } else { CATALOGUE } });
    if rng.chance(0.8) {
        query["q"] = json!(word(documents, rng));
    }
    if rng.chance(0.3) {
        query["filter"] = json!(format!("size > {}", rng.below(1_000_000)));
    }
    if rng.chance(0.5) {
        query["federationOptions"] = json!({ "weight": *rng.pick(&[0.5, 0.9, 1.0, 1.3, 2.0]) });
    }
    if let Some(sort) = sort {
        query["sort"] = json!([sort]);
    }
    if rng.chance(0.2) {
        query["attributesToRetrieve"] = json!(["id"]);
    }
    query
}

#[test]
fn a_federation_is_merged_as_by_one_server() {
    let world = world();
    let mut rng = Rng::new(17);
    let (mut order, mut rest) = (Share::default(), Share::default());
    for i in 0..150 {
        let sort = (i % 5 == 0).then_some(*rng.pick(&["size:asc", "size:desc", "name:asc"]));
        let queries: Vec<Value> = (0..1 + rng.below(4)).map(|_| federated_query(world, &mut rng, sort)).collect();
        let mut federation = match i % 3 {
            0 => json!({ "limit": 1 + rng.below(30), "offset": rng.below(20) }),
            1 => json!({ "page": rng.below(4), "hitsPerPage": rng.below(12) }),
            _ => json!({}),
        };
        if i % 4 == 1 {
            federation["facetsByIndex"] = json!({ CATALOGUE: ["section", "priority"], SHOP: ["priority", "size"] });
            if i % 8 == 1 {
                federation["mergeFacets"] = json!({ "maxValuesPerFacet": 5 });
                federation["facetsByIndex"] = json!({ CATALOGUE: ["priority"], SHOP: ["priority", "tags"] });
            }
        }
        let body = json!({ "queries": queries, "federation": federation });
        let [ours, theirs] = world.ask(|client| client.post("/multi-search", &body));
        assert_eq!(ours.verdict(), theirs.verdict(), "{body}\n{}\n{}", ours.text, theirs.text);
        order.note(federated_ranks(&ours.body) == federated_ranks(&theirs.body), || {
            format!("{body}\n  {:?}\n  {:?}", federated_ranks(&ours.body), federated_ranks(&theirs.body))
        });
        for name in [
            "estimatedTotalHits",
            "totalHits",
            "totalPages",
            "facetsByIndex",
            "facetDistribution",
            "facetStats",
            "limit",
            "offset",
            "page",
            "hitsPerPage",
            "semanticHitCount",
        ] {
            let (a, b) = (ours.body.get(name), theirs.body.get(name));
            rest.note(a == b, || format!("{name} of {body}\n  {a:?}\n  {b:?}"));
        }
    }
    // Scores have the scale of the words that a node knows: hits with typos may change places with those of another query.
    order.at_least(0.93);
    rest.at_least(0.99);
}

#[test]
fn a_federation_returns_a_distinct_value_once() {
    let world = world();
    let mut rng = Rng::new(23);
    for _ in 0..15 {
        let queries: Vec<Value> = (0..2).map(|_| federated_query(world, &mut rng, None)).collect();
        let body = json!({ "queries": queries, "federation": { "distinct": "section", "limit": 50 } });
        let [ours, theirs] = world.ask(|client| client.post("/multi-search", &body));
        assert_eq!(ours.verdict(), theirs.verdict(), "{body}");
        let scores =
            |answer: &Answer| -> Vec<i64> { federated_ranks(&answer.body).into_iter().map(|rank| rank.2).collect() };
        assert_eq!(scores(&ours).len(), scores(&theirs).len(), "{body}\n{}\n{}", ours.text, theirs.text);
    }
}

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::read::multi_search::MultiSearchRequest;
use crate::settings::SortBy;

/// A hit of the node's nth query, ranked by one score.
fn hit(id: u64, query: usize, score: f64, more: &Value) -> Value {
    let mut hit = json!({
        "id": id,
        "_federation": {"indexUid": "physical", "queriesPosition": query, "weightedRankingScore": score},
        "_rankingScore": score,
        "_rankingScoreDetails": {"exactness": {"order": 0, "score": score}},
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        hit[name] = value.clone();
    }
    hit
}

fn answer(hits: &[Value], total: u64, more: &Value) -> Value {
    let mut answer = json!({"hits": hits, "processingTimeMs": 1, "limit": 20, "offset": 0, "estimatedTotalHits": total,
        "requestUid": "node"});
    for (name, value) in more.as_object().into_iter().flatten() {
        answer[name] = value.clone();
    }
    answer
}

/// The merge of what nodes answered, each to all queries of the request.
fn merged(body: &Value, nodes: &[(Value, Vec<usize>)]) -> Value {
    let mut read = MultiSearchRequest::from_body(body.to_string().as_bytes()).expect("readable");
    let federation = read.federation.take().expect("a federation");
    let orders: BTreeMap<String, SortBy> = BTreeMap::new();
    for query in &mut read.queries {
        if let Some(distinct) = &federation.distinct {
            query.search.demand_distinct(distinct);
        }
    }
    let queries: Vec<FederatedQuery<'_>> = read
        .queries
        .iter()
        .map(|query| FederatedQuery {
            request: &query.search,
            index: IndexView {
                uid: query.uid.as_str(),
                displayed: None,
                distinct: None,
                sort_facet_values_by: &orders,
                max_values_per_facet: 100,
                max_total_hits: 4,
                ranks_by_attribute: false,
                pins: None,
            },
            physical: query.uid.as_str(),
            weight: query.weight,
        })
        .collect();
    let bodies: Vec<(String, &Vec<usize>)> = nodes.iter().map(|(body, asked)| (body.to_string(), asked)).collect();
    let answers: Vec<FederatedAnswer<'_>> =
        bodies.iter().map(|(body, queries)| FederatedAnswer { body: body.as_bytes(), queries }).collect();
    let out = merge_federated(&federation, &queries, &answers, 7, "uid").expect("merged");
    serde_json::from_slice(&out).expect("JSON")
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"].as_array().expect("hits").iter().filter_map(|hit| hit["id"].as_u64()).collect()
}

#[test]
fn hits_of_all_queries_and_nodes_interleave_by_weighted_score() {
    let body = json!({"queries": [{"indexUid": "a"}, {"indexUid": "b", "federationOptions": {"weight": 2.0},
        "showRankingScore": true}], "federation": {"limit": 3, "offset": 1}});
    let node = |hits: &[Value], total| (answer(hits, total, &json!({})), vec![0, 1]);
    let none = json!({});
    let nodes = [
        node(&[hit(1, 1, 0.9, &none), hit(2, 0, 0.8, &none), hit(3, 0, 0.5, &none)], 4),
        node(&[hit(4, 0, 1.0, &none), hit(5, 1, 0.45, &none)], 2),
    ];
    let found = merged(&body, &nodes);
    assert_eq!(ids(&found), [4, 5, 2]);
    assert_eq!((&found["estimatedTotalHits"], &found["limit"], &found["offset"]), (&json!(6), &json!(3), &json!(1)));
    assert_eq!((&found["requestUid"], &found["processingTimeMs"]), (&json!("uid"), &json!(7)));
    assert_eq!(
        found["hits"][1],
        json!({"id": 5, "_rankingScore": 0.45,
            "_federation": {"indexUid": "b", "queriesPosition": 1, "weightedRankingScore": 0.45}})
    );
    assert!(found["hits"][0].get("_rankingScore").is_none());
    assert!(found.get("semanticHitCount").is_none());
}

#[test]
fn a_node_that_was_asked_for_some_queries_speaks_of_them_by_its_own_positions() {
    let body = json!({"queries": [{"indexUid": "a"}, {"indexUid": "b"}], "federation": {}});
    let vectors = json!({"queryVectors": {"0": [1.0]}, "semanticHitCount": 3});
    let found = merged(&body, &[(answer(&[hit(1, 0, 0.5, &json!({}))], 1, &vectors), vec![1])]);
    assert_eq!(found["hits"][0]["_federation"]["queriesPosition"], json!(1));
    assert_eq!(found["queryVectors"], json!({"1": [1.0]}));
    assert_eq!(found["semanticHitCount"], json!(0));
}

#[test]
fn a_distinct_value_is_returned_once_and_counted_once() {
    let body = json!({"queries": [{"indexUid": "a", "attributesToRetrieve": ["id"]}, {"indexUid": "b"}],
        "federation": {"distinct": "c", "page": 1, "hitsPerPage": 2}});
    let red = json!({"c": "Red"});
    let nodes = [
        (answer(&[hit(1, 0, 0.9, &red), hit(2, 1, 0.3, &json!({"c": "blue"}))], 2, &json!({})), vec![0, 1]),
        (answer(&[hit(3, 1, 0.8, &json!({"c": "red"})), hit(4, 0, 0.7, &json!({}))], 2, &json!({})), vec![0, 1]),
    ];
    let found = merged(&body, &nodes);
    assert_eq!(ids(&found), [1, 4]);
    assert_eq!((&found["totalHits"], &found["totalPages"], &found["page"]), (&json!(3), &json!(2), &json!(1)));
    assert!(found["hits"][0].get("c").is_none());
}

#[test]
fn the_performance_details_are_those_of_the_slowest_node() {
    let node = |ms: u64| {
        let details = json!({"processingTimeMs": ms, "performanceDetails": {"total": format!("{ms}.00ms")}});
        (answer(&[], 0, &details), vec![0])
    };
    let body = json!({"queries": [{"indexUid": "a"}], "federation": {"showPerformanceDetails": true}});
    let answer = merged(&body, &[node(2), node(9), node(4)]);
    assert_eq!(answer["performanceDetails"], json!({"total": "9.00ms"}));
    let asked = MultiSearchRequest::from_body(body.to_string().as_bytes()).expect("readable").federation;
    let mut told = Vec::new();
    asked.expect("a federation").node_body(|uid| Some(uid.to_owned()), None, 1, &mut told);
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told["showPerformanceDetails"], true, "{told}");
}

#[test]
fn no_index_gives_more_than_its_most_hits() {
    let body = json!({"queries": [{"indexUid": "a"}, {"indexUid": "b"}], "federation": {}});
    let hits: Vec<Value> = (0..7).map(|n| hit(n, usize::from(n == 6), 1.0 - n as f64 / 10.0, &json!({}))).collect();
    assert_eq!(ids(&merged(&body, &[(answer(&hits, 7, &json!({})), vec![0, 1])])), [0, 1, 2, 3, 6]);
}

#[test]
fn facets_are_those_of_the_indexes_or_joined() {
    let facets = |a: Value, b: Value| json!({"facetsByIndex": {"a": {"distribution": {"c": a}, "stats": {}}, "b": {"distribution": {"c": b}, "stats": {}}}});
    let nodes = [
        (answer(&[], 3, &facets(json!({"x": 2}), json!({"y": 1}))), vec![0, 1]),
        (answer(&[], 3, &facets(json!({"X": 1}), json!({"x": 1}))), vec![0, 1]),
    ];
    let mut body = json!({"queries": [{"indexUid": "a"}, {"indexUid": "b"}],
        "federation": {"facetsByIndex": {"b": ["c"], "a": ["c"]}}});
    let found = merged(&body, &nodes);
    assert_eq!(
        found["facetsByIndex"],
        json!({"a": {"distribution": {"c": {"x": 3}}, "stats": {}},
            "b": {"distribution": {"c": {"x": 1, "y": 1}}, "stats": {}}})
    );
    body["federation"]["mergeFacets"] = json!({});
    let found = merged(&body, &nodes);
    assert_eq!((found.get("facetsByIndex"), &found["facetDistribution"]), (None, &json!({"c": {"x": 4, "y": 1}})));
}

#[test]
fn what_is_no_federation_is_an_error() {
    let body = json!({"queries": [{"indexUid": "a"}], "federation": {}});
    let mut read = MultiSearchRequest::from_body(body.to_string().as_bytes()).expect("readable");
    let federation = read.federation.take().expect("a federation");
    for answer in ["", "{}", r#"{"hits":[]}"#, r#"{"hits":[{"id":1}],"totalHits":1}"#] {
        let answer = FederatedAnswer { body: answer.as_bytes(), queries: &[0] };
        assert!(merge_federated(&federation, &[], &[answer], 1, "uid").is_err());
    }
}

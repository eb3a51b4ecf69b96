//! Ranking details: what the merge compares.

use serde_json::{Value, json};

use crate::server::Server;

fn server() -> Server {
    let server = Server::start();
    let settings = json!({"sortableAttributes": ["price", "name", "_geo"], "filterableAttributes": ["price"]});
    let documents = json!([
        {"id": 1, "title": "red apple pie", "price": 3, "name": "b", "_geo": {"lat": 48.85, "lng": 2.35}},
        {"id": 2, "title": "red apples", "price": 1.5, "name": "B", "_geo": {"lat": 45.76, "lng": 4.83}},
        {"id": 3, "title": "green aple", "price": "cheap", "name": "a", "_geo": {"lat": 43.29, "lng": 5.36}},
        {"id": 4, "title": "red wine", "name": "c"},
    ]);
    server.index("a", &settings, &documents);
    server
}

fn details(server: &Server, query: Value) -> Vec<Value> {
    let mut query = query;
    query["showRankingScoreDetails"] = json!(true);
    query["showRankingScore"] = json!(true);
    server.search("a", &query)["hits"].as_array().unwrap().clone()
}

#[test]
fn words_and_typos_are_counted() {
    let server = server();
    let hits = details(&server, json!({"q": "red apple"}));
    for hit in &hits {
        let words = &hit["_rankingScoreDetails"]["words"];
        assert_eq!(words["order"], 0);
        assert_eq!(words["maxMatchingWords"], 2);
        assert!(words["matchingWords"].is_u64() && words["score"].is_number(), "{words}");
        let typo = &hit["_rankingScoreDetails"]["typo"];
        assert_eq!(typo["order"], 1);
        assert!(typo["typoCount"].is_u64() && typo["maxTypoCount"].is_u64(), "{typo}");
        assert!(hit["_rankingScore"].is_number());
    }
    let of = |id: u64| hits.iter().find(|hit| hit["id"] == id).unwrap();
    assert_eq!(of(1)["_rankingScoreDetails"]["words"]["matchingWords"], 2);
    assert_eq!(of(1)["_rankingScoreDetails"]["typo"]["typoCount"], 0);
    assert_eq!(of(4)["_rankingScoreDetails"]["words"]["matchingWords"], 1);
}

#[test]
fn every_rule_has_its_own_order_and_all_hits_share_them() {
    let server = server();
    let hits = details(&server, json!({"q": "red apple", "sort": ["price:asc"]}));
    let orders = |hit: &Value| -> Vec<(String, u64)> {
        let details = hit["_rankingScoreDetails"].as_object().unwrap();
        let order = |rule: &Value| rule["order"].as_u64().unwrap();
        let mut orders: Vec<_> = details.iter().map(|(name, rule)| (name.clone(), order(rule))).collect();
        orders.sort_by_key(|(_, order)| *order);
        orders
    };
    let first = orders(&hits[0]);
    assert!(first.iter().any(|(name, _)| name == "price:asc"));
    for hit in &hits {
        let these = orders(hit);
        assert!(these.windows(2).all(|pair| pair[0].1 < pair[1].1), "{these:?}");
        assert!(these.iter().zip(&first).all(|(left, right)| left == right), "{these:?} {first:?}");
    }
}

#[test]
fn hits_come_in_the_order_of_their_details() {
    let server = server();
    let hits = details(&server, json!({"q": "red apple"}));
    let key = |hit: &Value| {
        let details = &hit["_rankingScoreDetails"];
        let words = details["words"]["matchingWords"].as_i64().unwrap();
        (-words, details["typo"]["typoCount"].as_i64().unwrap())
    };
    let keys: Vec<_> = hits.iter().map(key).collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn sort_values_are_shown_numbers_before_texts_before_nothing() {
    let server = server();
    for (sort, expected) in [("price:asc", [2, 1, 3, 4]), ("price:desc", [1, 2, 3, 4])] {
        let hits = details(&server, json!({"q": "", "sort": [sort]}));
        assert_eq!(hits.iter().map(|hit| hit["id"].as_u64().unwrap()).collect::<Vec<_>>(), expected);
        let value = |hit: &Value| hit["_rankingScoreDetails"][sort]["value"].clone();
        assert_eq!(value(&hits[2]), "cheap");
        assert_eq!(value(&hits[3]), Value::Null);
        let numbers = [value(&hits[0]).as_f64().unwrap(), value(&hits[1]).as_f64().unwrap()];
        assert_eq!(numbers, if sort.ends_with("asc") { [1.5, 3.0] } else { [3.0, 1.5] });
    }
}

#[test]
fn sort_values_of_texts_ignore_case() {
    let server = server();
    let hits = details(&server, json!({"q": "", "sort": ["name:asc"]}));
    let values: Vec<&Value> = hits.iter().map(|hit| &hit["_rankingScoreDetails"]["name:asc"]["value"]).collect();
    assert_eq!(values, [&json!("a"), &json!("b"), &json!("b"), &json!("c")]);
}

#[test]
fn geo_sort_shows_distances() {
    let server = server();
    let query = json!({"q": "", "sort": ["_geoPoint(48.85, 2.35):asc"]});
    let hits = details(&server, query);
    assert_eq!(hits.iter().map(|hit| hit["id"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let rule = |hit: &Value| {
        let details = hit["_rankingScoreDetails"].as_object().unwrap();
        let (_, rule) = details.iter().find(|(name, _)| name.starts_with("_geoPoint(")).unwrap();
        rule.clone()
    };
    assert_eq!(rule(&hits[0])["distance"].as_f64(), Some(0.0));
    assert!(rule(&hits[1])["distance"].as_f64().unwrap() > 300_000.0);
    assert_eq!(rule(&hits[3])["value"], Value::Null);
    assert_eq!(hits[0]["_geoDistance"], 0);
    assert!(hits[1]["_geoDistance"].is_u64());
    assert_eq!(hits[3].get("_geoDistance"), None);
}

#[test]
fn details_are_absent_unless_asked_for() {
    let server = server();
    let hit = server.search("a", &json!({"q": "apple"}))["hits"][0].clone();
    assert_eq!(hit.get("_rankingScoreDetails"), None);
    assert_eq!(hit.get("_rankingScore"), None);
}

#[test]
fn a_threshold_leaves_out_lower_scores() {
    let server = server();
    let all = details(&server, json!({"q": "red apple"}));
    let scores: Vec<f64> = all.iter().map(|hit| hit["_rankingScore"].as_f64().unwrap()).collect();
    let threshold = (scores[0] + scores[scores.len() - 1]) / 2.0;
    let kept = details(&server, json!({"q": "red apple", "rankingScoreThreshold": threshold}));
    let expected = scores.iter().filter(|score| **score >= threshold).count();
    assert_eq!(kept.len(), expected);
    assert!(expected < all.len());
}

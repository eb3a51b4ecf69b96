use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::settings::SortBy;

struct Fixture {
    displayed: Option<Vec<String>>,
    distinct: Option<&'static str>,
    max_total_hits: usize,
    order: BTreeMap<String, SortBy>,
}

impl Default for Fixture {
    fn default() -> Self {
        Self { displayed: None, distinct: None, max_total_hits: 1000, order: BTreeMap::new() }
    }
}

impl Fixture {
    fn displaying(names: &[&str]) -> Self {
        Self { displayed: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..Self::default() }
    }

    fn merge(&self, body: &Value, answers: &[String]) -> Result<Vec<u8>, MergeError> {
        let request = SearchRequest::from_body(body.to_string().as_bytes()).expect("readable");
        let index = IndexView {
            uid: "books",
            displayed: self.displayed.as_deref(),
            distinct: self.distinct,
            sort_facet_values_by: &self.order,
            max_values_per_facet: 100,
            max_total_hits: self.max_total_hits,
            ranks_by_attribute: false,
            pins: None,
        };
        merge(&request, &index, answers, 7, Some("uid"))
    }

    fn text(&self, body: &Value, answers: &[String]) -> String {
        String::from_utf8(self.merge(body, answers).expect("merged")).expect("text")
    }

    fn value(&self, body: &Value, answers: &[String]) -> Value {
        serde_json::from_str(&self.text(body, answers)).expect("JSON")
    }

    fn ids(&self, body: &Value, answers: &[String]) -> Vec<u64> {
        hits(&self.value(body, answers)).iter().filter_map(|hit| hit["id"].as_u64()).collect()
    }
}

fn hits(answer: &Value) -> &[Value] {
    answer["hits"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn answer(hits: &[String], total: usize, more: &str) -> String {
    format!(
        "{{\"hits\":[{}],\"query\":\"q\",\"processingTimeMs\":1,\"limit\":20,\"offset\":0,\"estimatedTotalHits\":{total}{more},\"requestUid\":\"node\"}}",
        hits.join(",")
    )
}

/// A hit of this id and number of words, with more members after the id.
fn hit(id: u64, words: u64, more: &str) -> String {
    let score = words as f64 / 10.0;
    format!(
        "{{\"id\":{id}{more},\"_miroir_shard\":\"s\",\"_rankingScore\":{score},\"_rankingScoreDetails\":{{\"words\":{{\"order\":0,\"matchingWords\":{words},\"maxMatchingWords\":9,\"score\":{score}}}}}}}"
    )
}

#[test]
fn the_answer_is_laid_out_as_meilisearch_does() {
    let answers = [answer(&[hit(1, 2, ",\"n\":1.50")], 4, ""), answer(&[hit(2, 3, ",\"n\":1e2")], 3, "")];
    assert_eq!(
        Fixture::default().text(&json!({}), &answers),
        r#"{"hits":[{"id":2,"n":1e2},{"id":1,"n":1.50}],"query":"q","processingTimeMs":7,"limit":20,"offset":0,"estimatedTotalHits":7,"requestUid":"uid"}"#
    );
    assert!(
        Fixture::default()
            .text(&json!({"page": 2, "hitsPerPage": 3}), &answers)
            .ends_with(r#""hitsPerPage":3,"page":2,"totalPages":3,"totalHits":7,"requestUid":"uid"}"#)
    );
    let none: [String; 0] = [];
    assert_eq!(
        Fixture::default().text(&json!({"q": "a\""}), &none),
        r#"{"hits":[],"query":"a\"","processingTimeMs":7,"limit":20,"offset":0,"estimatedTotalHits":0,"requestUid":"uid"}"#
    );
}

#[test]
fn pages_of_no_hits_are_not_counted() {
    let answers = [answer(&[], 3, "")];
    for (page, pages) in [(json!({"page": 0}), 1), (json!({"hitsPerPage": 0}), 0)] {
        let merged = Fixture::default().value(&page, &answers);
        assert_eq!(
            (&merged["hits"], &merged["totalPages"], &merged["totalHits"]),
            (&json!([]), &json!(pages), &json!(3))
        );
    }
}

#[test]
fn scores_show_only_when_asked_for() {
    let answers = [answer(&[hit(1, 2, "")], 1, "")];
    let shown = |body: Value| {
        hits(&Fixture::default().value(&body, &answers))[0]
            .as_object()
            .expect("hit")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(json!({})), ["id"]);
    assert_eq!(shown(json!({"showRankingScore": true})), ["id", "_rankingScore"]);
    assert_eq!(shown(json!({"showRankingScoreDetails": true})), ["id", "_rankingScoreDetails"]);
}

#[test]
fn ties_keep_the_order_of_the_plan() {
    let answers = [answer(&[hit(1, 2, ""), hit(2, 2, "")], 2, ""), answer(&[hit(3, 2, "")], 1, "")];
    assert_eq!(Fixture::default().ids(&json!({}), &answers), [1, 2, 3]);
}

#[test]
fn nothing_beyond_max_total_hits_is_returned() {
    let answers = [answer(&[hit(1, 3, ""), hit(2, 2, ""), hit(3, 1, "")], 30, "")];
    let fixture = Fixture { max_total_hits: 2, ..Fixture::default() };
    assert_eq!(fixture.ids(&json!({"limit": 9}), &answers), [1, 2]);
    assert_eq!(fixture.ids(&json!({"offset": 1, "limit": 9}), &answers), [2]);
    assert_eq!(fixture.value(&json!({"offset": 5}), &answers)["estimatedTotalHits"], json!(30));
}

#[test]
fn thresholds_cut_the_merge_and_count_as_one_server_does() {
    let answers = [answer(&[hit(1, 9, ""), hit(2, 4, "")], 50, ""), answer(&[hit(3, 8, ""), hit(4, 3, "")], 50, "")];
    let body = |limit: u64| json!({"rankingScoreThreshold": 0.5, "limit": limit});
    assert_eq!(Fixture::default().ids(&body(20), &answers), [1, 3]);
    assert_eq!(Fixture::default().value(&body(20), &answers)["estimatedTotalHits"], json!(2));
    assert_eq!(Fixture::default().value(&body(2), &answers)["estimatedTotalHits"], json!(100));
}

#[test]
fn one_hit_per_distinct_value_is_kept() {
    let with = |id, words, value: &str| hit(id, words, &format!(",\"b\":{value}"));
    let answers = [
        answer(&[with(1, 9, "\"Red\""), with(2, 5, "null"), with(3, 4, "[\"x\",2]"), with(4, 2, "true")], 10, ""),
        answer(&[with(5, 8, "\" red \""), with(6, 6, "null"), with(7, 3, "2.0"), with(8, 1, "\"true\"")], 10, ""),
    ];
    let fixture = Fixture { distinct: Some("b"), ..Fixture::default() };
    assert_eq!(fixture.ids(&json!({}), &answers), [1, 6, 2, 3, 4]);
    assert_eq!(fixture.value(&json!({}), &answers)["estimatedTotalHits"], json!(17));
    assert_eq!(fixture.ids(&json!({"distinct": "id"}), &answers).len(), 8);
    assert_eq!(fixture.ids(&json!({"offset": 2, "limit": 2}), &answers), [2, 3]);
}

#[test]
fn distinct_values_are_found_below_objects_and_arrays() {
    let with = |id, words, value: &str| hit(id, words, &format!(",\"a\":{value}"));
    let answers = [
        answer(&[with(1, 9, "{\"b\":{\"c\":1}}"), with(2, 7, "[{\"b\":{\"c\":2}},{\"b.c\":3}]")], 2, ""),
        answer(&[with(3, 8, "{\"b.c\":1}"), with(4, 6, "{\"b\":[{\"c\":[3]}]}"), with(5, 5, "{\"b\":4}")], 3, ""),
    ];
    assert_eq!(Fixture::default().ids(&json!({"distinct": "a.b.c"}), &answers), [1, 2, 5]);
}

#[test]
fn what_was_fetched_for_distinct_is_removed_again() {
    let fetched = ",\"b\":1,\"_formatted\":{\"id\":\"1\",\"b\":\"1\"}";
    let answers = [answer(&[hit(1, 9, fetched)], 1, "")];
    let first = |body: Value| hits(&Fixture::default().value(&body, &answers))[0].clone();
    let body = json!({"distinct": "b", "attributesToRetrieve": ["id"], "attributesToHighlight": ["id"]});
    assert_eq!(first(body), json!({"id": 1, "_formatted": {"id": "1"}}));
    let body = json!({"distinct": "b", "attributesToRetrieve": ["id"], "attributesToCrop": ["b:3"]});
    assert_eq!(first(body), json!({"id": 1, "_formatted": {"id": "1", "b": "1"}}));
    let body = json!({"distinct": "b", "attributesToRetrieve": ["*"]});
    assert_eq!(first(body)["b"], json!(1));
    let nested = [answer(&[hit(1, 9, ",\"a\":{\"b\":1,\"c\":{\"d\":2}},\"e\":[{\"f\":1}]")], 1, "")];
    let body = json!({"distinct": "a.b", "attributesToRetrieve": ["id", "a.c", "e"]});
    assert_eq!(
        Fixture::default().value(&body, &nested)["hits"],
        json!([{"id": 1, "a": {"c": {"d": 2}}, "e": [{"f": 1}]}])
    );
}

#[test]
fn displayed_attributes_are_enforced_beside_the_document() {
    let hit = r#"{"id":1,"_vectors":{},"_formatted":{"id":"1"},"_matchesPosition":{"id":[],"x":[],"a.b":[],"_miroir_shard":[]},"_rankingScore":1.0,"_rankingScoreDetails":{"words":{"order":0,"matchingWords":1,"score":1.0},"x:asc":{"order":1,"value":"secret"},"id:desc":{"order":2,"value":1.0},"_geoPoint(1, 2):asc":{"order":3,"value":null,"distance":null}}}"#;
    let body = json!({"showRankingScoreDetails": true, "showMatchesPosition": true, "retrieveVectors": true});
    let text = Fixture::displaying(&["id", "a"]).text(&body, &[answer(&[hit.to_owned()], 1, "")]);
    assert!(text.starts_with(
        r#"{"hits":[{"id":1,"_formatted":{"id":"1"},"_matchesPosition":{"id":[],"a.b":[]},"_rankingScoreDetails":{"words":{"order":0,"matchingWords":1,"score":1.0},"<hidden-rule-1>":{"order":1,"value":"<hidden>"},"id:desc":{"order":2,"value":1.0},"_geoPoint(1, 2):asc":{"order":3,"value":null,"distance":null}}}],"#
    ), "{text}");
    assert!(!text.contains("secret"));
}

#[test]
fn nothing_of_ours_shows_anywhere() {
    let hit = r#"{"_miroir_shard":"s","id":1,"_miroir_updated_at":"⁕","_formatted":{"_miroir_shard":"s"},"_matchesPosition":{"_miroir_shard":[]},"_rankingScore":1.0}"#;
    let more = r#","facetDistribution":{"_miroir_shard":{"s":1},"a":{}},"facetStats":{},"novelty":{"_miroir_x":1}"#;
    let text = Fixture::default().text(&json!({}), &[answer(&[hit.to_owned()], 1, more)]);
    assert!(text.starts_with(r#"{"hits":[{"id":1,"_matchesPosition":{}}],"#), "{text}");
    assert!(text.contains(r#""facetDistribution":{"a":{}},"facetStats":{},"requestUid""#), "{text}");
    assert!(!text.contains("_miroir"), "{text}");
}

#[test]
fn members_around_the_hits_are_carried_over() {
    let more = r#","queryVector":[0.10],"metadata":{"query":"q","indexUid":"physical"},"performanceDetails":{"a":"1"},"novelty":[1.0],"semanticHitCount":5"#;
    let text = Fixture::default().text(&json!({}), &[answer(&[], 1, ""), answer(&[], 1, more)]);
    assert!(text.contains(r#""query":"q","queryVector":[0.10],"processingTimeMs":7"#), "{text}");
    assert!(text.ends_with(r#""requestUid":"uid","semanticHitCount":0,"performanceDetails":{"a":"1"}}"#), "{text}");
    let text = Fixture::default().text(&json!({}), &[answer(&[], 1, more)]);
    assert!(text.ends_with(r#""semanticHitCount":0,"performanceDetails":{"a":"1"},"novelty":[1.0]}"#), "{text}");
}

#[test]
fn the_performance_details_are_those_of_the_slowest_node() {
    let told = |ms: u64| {
        let details = format!(",\"performanceDetails\":{{\"search\":\"{ms}.00ms\"}}");
        answer(&[], 1, &details).replace("\"processingTimeMs\":1", &format!("\"processingTimeMs\":{ms}"))
    };
    let text = Fixture::default().text(&json!({"showPerformanceDetails": true}), &[told(2), told(9), told(4)]);
    assert!(text.contains(r#""performanceDetails":{"search":"9.00ms"}"#), "{text}");
    assert!(!text.contains("2.00ms") && !text.contains("4.00ms"), "{text}");
}

#[test]
fn semantic_hits_are_counted_over_the_page() {
    let semantic = |id: u64, score: f64| {
        format!(
            "{{\"id\":{id},\"_rankingScore\":{score},\"_rankingScoreDetails\":{{\"vectorSort\":{{\"order\":0,\"similarity\":{score}}}}}}}"
        )
    };
    let count = ",\"semanticHitCount\":1";
    let answers =
        [answer(&[semantic(1, 0.9), hit(2, 9, "")], 2, count), answer(&[semantic(3, 0.8), hit(4, 8, "")], 2, count)];
    let body = |ratio: f64, limit: u64| json!({"hybrid": {"embedder": "e", "semanticRatio": ratio}, "limit": limit});
    assert_eq!(Fixture::default().ids(&body(0.9, 9), &answers), [1, 3, 2, 4]);
    assert_eq!(Fixture::default().value(&body(0.9, 1), &answers)["semanticHitCount"], json!(1));
    assert_eq!(Fixture::default().value(&body(0.9, 3), &answers)["semanticHitCount"], json!(2));
}

#[test]
fn answers_laid_out_otherwise_are_read_from_the_front() {
    let compact = answer(&[hit(1, 3, ",\"a\":[1],\"query\":5,\"totalHits\":9"), hit(2, 2, "")], 2, "");
    let value: Value = serde_json::from_str(&compact).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON");
    let moved = compact.replacen("{\"hits\"", "{\"query\":\"q\",\"hits\"", 1).replacen("],\"query\":\"q\"", "]", 1);
    let wanted = Fixture::default().value(&json!({}), std::slice::from_ref(&compact));
    assert_eq!(hits(&wanted).len(), 2);
    for other in [pretty, moved] {
        assert_eq!(Fixture::default().value(&json!({}), &[other]), wanted);
    }
}

#[test]
fn an_answer_that_is_none_is_named() {
    let good = answer(&[hit(1, 1, "")], 1, "");
    for bad in [
        "",
        "{}",
        "null",
        "{\"hits\":[]}",
        "{\"hits\":5,\"query\":\"\",\"totalHits\":1}",
        "{\"hits\":[],\"query\":\"\",\"totalHits\":-1}",
        "{\"hits\":[5],\"query\":\"\",\"totalHits\":1}",
    ] {
        let error = Fixture::default().merge(&json!({}), &[good.clone(), bad.to_owned()]).expect_err(bad);
        assert_eq!(error.answer, 1, "{bad}");
    }
}

#[test]
fn damage_anywhere_is_an_error_or_harmless_but_never_a_panic() {
    let more = r#","facetDistribution":{"n":{"1":2,"é":1}},"facetStats":{"n":{"min":1.0,"max":1.0}},"metadata":{"indexUid":"x"}"#;
    let formatted = r#","a":{"b":[{"c":1}]},"_formatted":{"a":{"b":"1"}},"_matchesPosition":{"a.b":[]}"#;
    let whole = answer(&[hit(1, 3, formatted), hit(2, 2, ",\"t\":\"\\u00e9\\\"\"")], 2, more);
    let request = SearchRequest::from_body(
        br#"{"distinct":"a.b.c","attributesToRetrieve":["a.d","t","id"],"showRankingScoreDetails":true}"#,
    )
    .expect("readable");
    let order = BTreeMap::new();
    let displayed = ["id".to_owned(), "t".to_owned(), "a.d".to_owned()];
    let index = IndexView {
        uid: "i",
        displayed: Some(&displayed),
        distinct: None,
        sort_facet_values_by: &order,
        max_values_per_facet: 9,
        max_total_hits: 9,
        ranks_by_attribute: false,
        pins: None,
    };
    let merged = |bytes: &[u8]| merge(&request, &index, &[bytes, whole.as_bytes()], 1, None);
    assert!(merged(whole.as_bytes()).is_ok());
    for at in 0..whole.len() {
        assert!(merged(&whole.as_bytes()[..at]).is_err(), "cut at {at}");
        for byte in *b"\"\\{}[],:0x\0\xff" {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] = byte;
            // Whatever is accepted makes an answer that is JSON.
            if let Ok(out) = merged(&bytes) {
                assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&out).is_ok(), "{byte} at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_partition_of_a_ranking_merges_to_the_ranking(
        words in prop::collection::vec(0u64..6, 0..60),
        parts in prop::collection::vec(0usize..4, 60),
        offset in 0usize..30,
        limit in 0usize..30,
    ) {
        let mut words = words;
        words.sort_unstable_by(|a, b| b.cmp(a));
        let nodes: Vec<String> = (0..4).map(|part| {
            let own = words.iter().enumerate().filter(|(at, _)| parts[*at] == part);
            let own: Vec<String> = own.map(|(id, words)| hit(id as u64, *words, "")).collect();
            answer(&own[..own.len().min(offset + limit)], own.len(), "")
        }).collect();
        let merged = Fixture::default().value(&json!({"offset": offset, "limit": limit, "showRankingScore": true}), &nodes);
        let ranks: Vec<u64> = hits(&merged).iter().map(|hit| (hit["_rankingScore"].as_f64().expect("score") * 10.0).round() as u64).collect();
        let wanted: Vec<u64> = words.iter().skip(offset).take(limit).copied().collect();
        prop_assert_eq!(ranks, wanted);
        prop_assert_eq!(&merged["estimatedTotalHits"], &json!(words.len()));
    }

    #[test]
    fn pages_concatenate_to_the_whole(words in prop::collection::vec((0u64..5, 0usize..3), 0..50), size in 1usize..9) {
        let node = |part| {
            let mut own: Vec<(usize, u64)> = words.iter().enumerate().filter(|(_, w)| w.1 == part).map(|(id, w)| (id, w.0)).collect();
            own.sort_by_key(|(_, words)| std::cmp::Reverse(*words));
            own
        };
        let nodes = |depth: usize| -> Vec<String> {
            (0..3).map(|part| {
                let own: Vec<String> = node(part).iter().map(|(id, words)| hit(*id as u64, *words, "")).take(depth).collect();
                answer(&own, node(part).len(), "")
            }).collect()
        };
        let whole = Fixture::default().ids(&json!({"limit": 100}), &nodes(100));
        prop_assert_eq!(whole.len(), words.len());
        let pages: Vec<u64> = (0..=words.len() / size)
            .flat_map(|page| Fixture::default().ids(&json!({"offset": page * size, "limit": size}), &nodes((page + 1) * size)))
            .collect();
        prop_assert_eq!(pages, whole);
    }

    #[test]
    fn no_answer_panics(text in ".{0,80}") {
        let _ = Fixture::default().merge(&json!({"distinct": "a"}), &[text]);
    }
}

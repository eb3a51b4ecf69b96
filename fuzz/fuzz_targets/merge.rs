//! The merge: whatever nodes answer, no panic; and what it makes of whole answers is a page of whole hits, none of them
//! with a field of ours.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use miroir_core::base::inert;
use miroir_core::read::merge::merge;
use miroir_core::read::search::{IndexView, SearchRequest};
use miroir_core::settings::SortBy;
use serde_json::Value;

/// The ways to ask; the first byte of the input chooses.
const REQUESTS: [&str; 8] = [
    r#"{}"#,
    r#"{"limit":2,"offset":1,"showRankingScore":true,"showRankingScoreDetails":true}"#,
    r#"{"page":1,"hitsPerPage":2,"rankingScoreThreshold":0.5}"#,
    r#"{"facets":["*"],"distinct":"a"}"#,
    r#"{"distinct":"a.b","attributesToRetrieve":["id"],"attributesToHighlight":["*"]}"#,
    r#"{"attributesToRetrieve":["a"],"attributesToCrop":["*"],"showMatchesPosition":true,"retrieveVectors":true}"#,
    r#"{"hybrid":{"embedder":"e","semanticRatio":0.7},"vector":[1,0],"retrieveVectors":true}"#,
    r#"{"facets":["a"],"sort":["a:asc","_geoPoint(1,2):desc"],"page":2}"#,
];

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let request = REQUESTS[usize::from(choice) % REQUESTS.len()];
    let Ok(request) = SearchRequest::from_body(request.as_bytes()) else {
        return;
    };
    let displayed = ["id".to_owned(), "a".to_owned()];
    let orders = BTreeMap::from([("a".to_owned(), SortBy::Count)]);
    let index = IndexView {
        uid: "i",
        displayed: (choice & 64 != 0).then_some(&displayed),
        distinct: (choice & 128 != 0).then_some("a"),
        sort_facet_values_by: &orders,
        max_values_per_facet: 2,
        max_total_hits: 3,
        ranks_by_attribute: choice & 32 != 0,
        pins: None,
    };
    // No JSON text holds a zero byte: it parts the answers.
    let answers: Vec<&[u8]> = rest.split(|byte| *byte == 0).take(4).collect();
    let merged = merge(&request, &index, &answers, 1, Some("uid"));
    let whole = answers.iter().all(|answer| serde_json::from_slice::<Value>(answer).is_ok());
    if let (Ok(merged), true) = (merged, whole) {
        let merged: Value = serde_json::from_slice(&merged).expect("whole answers make a whole answer");
        let hits = merged["hits"].as_array().expect("hits");
        assert!(hits.len() <= 20);
        assert!(hits.iter().all(|hit| hit.get(inert::SHARD_FIELD).is_none()));
    }
});

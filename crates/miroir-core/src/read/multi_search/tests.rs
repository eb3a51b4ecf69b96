use serde_json::{Value, json};

use super::*;
use crate::read::search::Paging;

fn request(body: &Value) -> MultiSearchRequest {
    MultiSearchRequest::from_body(body.to_string().as_bytes()).expect("readable")
}

#[test]
fn queries_are_read_as_searches_of_their_index() {
    let read = request(&json!({"federation": null, "queries": [
        {"indexUid": "a", "q": "x", "limit": null, "offset": 3},
        {"indexUid": "b", "federationOptions": {"weight": 0.5}},
        {"indexUid": "a", "federationOptions": null},
    ]}));
    assert!(read.federation.is_none());
    let uids: Vec<&str> = read.queries.iter().map(|query| query.uid.as_str()).collect();
    assert_eq!(uids, ["a", "b", "a"]);
    let [first, second, third] = read.queries.as_slice() else { panic!("three queries") };
    assert_eq!((first.search.query(), first.search.paging()), ("x", Paging::Offset { offset: 3, limit: 20 }));
    assert_eq!((first.is_doubtful, second.weight, second.is_doubtful), (true, 0.5, false));
    assert_eq!((third.options.is_none(), third.weight), (true, 1.0));
}

#[test]
fn what_meilisearch_refuses_is_unreadable() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"queries":{}}"#,
        r#"{"queries":[1]}"#,
        r#"{"queries":[{"q":"a"}]}"#,
        r#"{"queries":[{"indexUid":"a b"}]}"#,
        r#"{"queries":[{"indexUid":"a","limit":"x"}]}"#,
        r#"{"queries":[{"indexUid":"a","federationOptions":{"weight":-1}}]}"#,
        r#"{"queries":[],"federation":{"limit":null}}"#,
        r#"{"queries":[],"federation":{"mergeFacets":{"zork":1}}}"#,
        r#"{"queries":[],"zork":1}"#,
    ] {
        assert!(MultiSearchRequest::from_body(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn too_many_queries_are_seen_before_any_is_read() {
    let body = br#"{"queries":[1,2,3]}"#;
    assert!(MultiSearchRequest::has_more_than(body, 2) && !MultiSearchRequest::has_more_than(body, 3));
    assert!(!MultiSearchRequest::has_more_than(b"[]", 0) && !MultiSearchRequest::has_more_than(b"{}", 0));
}

#[test]
fn nodes_are_asked_for_the_head_and_for_facets_of_their_indexes() {
    let read = request(&json!({"queries": [], "federation": {"offset": 5, "limit": 7, "distinct": "d",
        "facetsByIndex": {"a": ["x"], "b": ["y"], "c": null}, "mergeFacets": {"maxValuesPerFacet": 3},
        "personalize": {"userContext": "u"}}}));
    let federation = read.federation.expect("a federation");
    assert_eq!(federation.merge_facets.and_then(|merge| merge.max_values_per_facet), Some(3));
    let sent = |only: &'static str| {
        let mut out = Vec::new();
        federation.node_body(|uid| (uid == only || only == "*").then(|| format!("{uid}-1")), None, 1, &mut out);
        serde_json::from_slice::<Value>(&out).expect("JSON")
    };
    let mut wanted = json!({"offset": 0, "limit": 12, "distinct": "d", "personalize": {"userContext": "u"}});
    assert_eq!(sent("c"), wanted);
    wanted["facetsByIndex"] = json!({"b-1": ["y"]});
    assert_eq!(sent("b"), wanted);
    wanted["facetsByIndex"] = json!({"a-1": ["x"], "b-1": ["y"]});
    assert_eq!(sent("*"), wanted);
}

#[test]
fn results_are_taken_apart_and_put_together() {
    let body = br#"{"results":[{"indexUid":"a","hits":[{"x":"]}"}]},{"hits":[]}]}"#;
    let found = results(body).expect("results");
    assert_eq!(found.len(), 2);
    assert_eq!(found[1], br#"{"hits":[]}"#);
    let spaced = br#"{ "results" : [ {"a":1} ] }"#;
    assert_eq!(results(spaced).expect("results"), [br#"{"a":1}"#]);
    assert!(results(br#"{"results":[{"a":1}"#).is_err());
    assert!(results(b"{}").is_err());
    let written = write_results([("b", found[1])].into_iter());
    assert_eq!(written, br#"{"results":[{"indexUid":"b","hits":[]}]}"#);
    assert_eq!(write_results(std::iter::empty()), br#"{"results":[]}"#);
}

#[test]
fn filters_of_queries_are_replaced_where_they_stand() {
    let raw = br#"{"queries":[{"indexUid":"a","filter":"x = 1","q":"b"},{"indexUid":"b"},{"filter":["y"],"indexUid":"c"}],"federation":{}}"#;
    let request = MultiSearchRequest::from_body(raw).expect("a request");
    let filters = [(0, b"[\"z = 1\",\"w\"]".to_vec()), (2, b"\"v\"".to_vec())].into();
    let replaced = request.with_filters(&filters).expect("a request");
    let found: Vec<Option<&[u8]>> = replaced.queries.iter().map(|query| query.search.filter()).collect();
    assert_eq!(found, [Some(&b"[\"z = 1\",\"w\"]"[..]), None, Some(b"\"v\"")]);
    let names: Vec<&str> = replaced.queries.iter().map(|query| query.uid.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

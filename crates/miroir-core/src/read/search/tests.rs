use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::read::scope::Scope;

fn view<'a>(
    displayed: Option<&'a [String]>,
    distinct: Option<&'a str>,
    order: &'a BTreeMap<String, SortBy>,
) -> IndexView<'a> {
    IndexView {
        uid: "books",
        displayed,
        distinct,
        sort_facet_values_by: order,
        max_values_per_facet: 100,
        max_total_hits: 1000,
        ranks_by_attribute: false,
        pins: None,
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn request(body: &Value) -> SearchRequest {
    SearchRequest::from_body(body.to_string().as_bytes()).expect("readable")
}

/// The node's body for `body` under the given settings, as a value.
fn sent(body: &Value, displayed: Option<&[String]>, distinct: Option<&str>, shards: Option<&str>) -> Value {
    let order = BTreeMap::new();
    let bytes = request(body).node_body(&view(displayed, distinct, &order), &Scope::of_shards(shards));
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn nodes_are_asked_for_the_head_of_the_ranking_with_details() {
    let body = sent(&json!({"q": "x", "offset": 40, "limit": 7, "cropLength": 3, "novel": [1.0]}), None, None, None);
    let wanted = json!({"offset": 0, "limit": 47, "showRankingScore": true, "showRankingScoreDetails": true,
        "q": "x", "cropLength": 3, "novel": [1.0]});
    assert_eq!(body, wanted);
    let paged = sent(&json!({"page": 3, "hitsPerPage": 5, "offset": 9}), None, None, None);
    assert_eq!((&paged["page"], &paged["hitsPerPage"], paged.get("offset")), (&json!(1), &json!(15), None));
    assert_eq!(sent(&json!({"page": 2}), None, None, None)["hitsPerPage"], json!(40));
}

#[test]
fn no_node_is_asked_beyond_max_total_hits_or_for_an_empty_page() {
    for (body, limit) in [
        (json!({"offset": 990}), 1000),
        (json!({"offset": u64::MAX, "limit": u64::MAX}), 0),
        (json!({"limit": 0, "offset": 5}), 0),
        (json!({"limit": 0, "offset": 5, "distinct": "a"}), 5),
    ] {
        assert_eq!(sent(&body, None, None, None)["limit"], json!(limit), "{body}");
    }
    for page in [0, u64::MAX] {
        assert_eq!(sent(&json!({"page": page, "hitsPerPage": 3}), None, None, None)["hitsPerPage"], json!(0));
    }
}

#[test]
fn nodes_are_asked_for_more_only_where_vectors_take_part() {
    let limit = |body: Value, factor: usize| {
        let mut request = request(&body);
        request.over_fetch(factor);
        let order = BTreeMap::new();
        let sent = request.node_body(&view(None, None, &order), &Scope::default());
        serde_json::from_slice::<Value>(&sent).expect("JSON")["limit"].clone()
    };
    let hybrid = json!({"vector": [1.0], "hybrid": {"embedder": "e"}, "limit": 10, "offset": 5});
    assert_eq!(limit(hybrid.clone(), 3), json!(45));
    assert_eq!(limit(hybrid.clone(), 1), json!(15));
    assert_eq!(limit(hybrid, 100), json!(1000));
    assert_eq!(limit(json!({"q": "x", "limit": 10}), 3), json!(10));
}

#[test]
fn the_shard_filter_comes_first_and_the_clients_filter_stays_whole() {
    let ours = "_miroir_shard IN [\"\u{2055}\"]";
    for (client, wanted) in [
        (json!(null), json!([ours])),
        (json!([]), json!([ours])),
        (json!("a = 1) OR (b = 2"), json!([ours, "a = 1) OR (b = 2"])),
        (json!([["a = 1", "b = 2"], "c = 3"]), json!([ours, ["a = 1", "b = 2"], "c = 3"])),
    ] {
        assert_eq!(sent(&json!({"filter": client}), None, None, Some(ours))["filter"], wanted);
        assert_eq!(sent(&json!({"filter": client}), None, None, None)["filter"], client);
    }
}

#[test]
fn attributes_are_narrowed_to_the_displayed_ones_by_name() {
    let shown = names(&["id", "a.b", "x"]);
    let retrieved = |asked: Value| {
        sent(&json!({"attributesToRetrieve": asked}), Some(&shown), None, None)["attributesToRetrieve"].clone()
    };
    assert_eq!(retrieved(json!(null)), json!(["id", "a.b", "x"]));
    assert_eq!(retrieved(json!(["*"])), json!(["id", "a.b", "x"]));
    assert_eq!(retrieved(json!(["a", "x.y", "a.b", "secret"])), json!(["a.b"]));
    let formatted = sent(
        &json!({"attributesToHighlight": ["*"], "attributesToCrop": ["*:5", "x:3", "secret:1", "id"]}),
        Some(&shown),
        None,
        None,
    );
    assert_eq!(formatted["attributesToHighlight"], json!(["id", "a.b", "x"]));
    assert_eq!(formatted["attributesToCrop"], json!(["id:5", "a.b:5", "x:5", "x:3", "id"]));
    let open = json!({"attributesToHighlight": ["*"], "attributesToCrop": ["*:5"]});
    let body = sent(&open, None, None, None);
    assert_eq!((&body["attributesToHighlight"], body.get("attributesToRetrieve")), (&json!(["*"]), None));
}

#[test]
fn the_distinct_attribute_is_fetched_when_it_would_be_missing() {
    let retrieved = |asked: Value, distinct| {
        sent(&json!({"attributesToRetrieve": asked}), None, Some(distinct), None).get("attributesToRetrieve").cloned()
    };
    assert_eq!(retrieved(json!(["id"]), "brand"), Some(json!(["id", "brand"])));
    assert_eq!(retrieved(json!(["a"]), "a.b"), Some(json!(["a"])));
    assert_eq!(retrieved(json!(null), "brand"), None);
    assert_eq!(retrieved(json!(["*"]), "brand"), None);
    let of_request = sent(&json!({"attributesToRetrieve": [], "distinct": "b"}), None, Some("a"), None);
    assert_eq!(of_request["attributesToRetrieve"], json!(["b"]));
    assert_eq!(retrieved(json!(["_miroir_shard", "id"]), "id"), Some(json!(["id"])));
}

#[test]
fn thresholds_are_left_to_the_merge_where_it_counts_as_one_server_does() {
    let kept = |body: Value| sent(&body, None, None, None).get("rankingScoreThreshold").is_some();
    assert!(!kept(json!({"rankingScoreThreshold": 0.5})));
    for other in [
        json!({"rankingScoreThreshold": 0.5, "page": 1}),
        json!({"rankingScoreThreshold": 0.5, "facets": ["a"]}),
        json!({"rankingScoreThreshold": 0.5, "sort": ["a:asc"]}),
        json!({"rankingScoreThreshold": 0.5, "distinct": "a"}),
        json!({"rankingScoreThreshold": 0.5, "hybrid": {"embedder": "e"}}),
    ] {
        assert!(kept(other.clone()), "{other}");
    }
}

#[test]
fn what_meilisearch_refuses_is_unreadable() {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "{",
        "{} x",
        r#"{"limit":-1}"#,
        r#"{"limit":1.0}"#,
        r#"{"limit":null}"#,
        r#"{"page":"1"}"#,
        r#"{"attributesToRetrieve":"id"}"#,
        r#"{"showRankingScore":null}"#,
        r#"{"q":1}"#,
        r#"{"facets":"a"}"#,
        r#"{"rankingScoreThreshold":1.5}"#,
        r#"{"showPerformanceDetails":1}"#,
    ] {
        assert_eq!(SearchRequest::from_body(body.as_bytes()).err(), Some(Unreadable), "{body}");
    }
    assert!(SearchRequest::from_body(b"{\"q\":\"\xff\"}").is_err());
}

#[test]
fn a_filter_of_another_shape_is_named_in_meilisearchs_words() {
    let fault = |filter: &str| {
        let request = SearchRequest::from_body(format!(r#"{{"filter":{filter}}}"#).as_bytes()).expect("readable");
        request.filter_fault().map(str::to_owned)
    };
    for fine in ["null", "\"a\"", "[]", "[\"a\",[\"b\",\"c\"],[]]"] {
        assert_eq!(fault(fine), None, "{fine}");
    }
    for (filter, expected, found) in [
        ("5", "String, Array", "5"),
        ("{ }", "String, Array", "{}"),
        ("[\"a\",5]", "String, [String]", "5"),
        ("[\"a\",[\"b\",[\"c\"]]]", "String", "[\"c\"]"),
    ] {
        // As Meilisearch 1.50.0 answers, in searches of all kinds.
        let message = format!("Invalid syntax for the filter parameter: `expected {expected}, found: {found}`.");
        assert_eq!(fault(filter), Some(message));
    }
    assert!(fault(&format!("[[[\"{}\"]]]", "x".repeat(100_000))).is_some_and(|fault| fault.len() < 1000));
}

#[test]
fn of_members_given_twice_the_last_counts() {
    let request = SearchRequest::from_body(br#"{"limit":"x","q":"a","limit":3,"\u0071":"b"}"#).expect("readable");
    assert_eq!((request.paging(), request.query()), (Paging::Offset { offset: 0, limit: 3 }, "b"));
    let order = BTreeMap::new();
    let text = String::from_utf8(request.node_body(&view(None, None, &order), &Scope::default())).expect("text");
    assert_eq!(text.matches("\"limit\"").count(), 1);
    assert!(!text.contains("\"a\""));
}

fn from_query(text: &str) -> Result<SearchRequest, Unreadable> {
    let pairs: Vec<(String, String)> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    SearchRequest::from_query(&pairs)
}

#[test]
fn a_get_means_what_the_post_means() {
    for (query, body) in [
        ("", json!({})),
        ("q=a \"b\"&limit=3&limit=5", json!({"q": "a \"b\"", "limit": 5})),
        ("attributesToRetrieve=id,,n&facets=", json!({"attributesToRetrieve": ["id", "n"], "facets": []})),
        ("filter=a = 1", json!({"filter": "a = 1"})),
        ("filter=[\"a = 1\",[\"b\"]]", json!({"filter": ["a = 1", ["b"]]})),
        ("sort=a:asc, _geoPoint(1, 2):desc,b:desc", json!({"sort": ["a:asc", "_geoPoint(1,2):desc", "b:desc"]})),
        (
            "hybridEmbedder=e&hybridSemanticRatio=0.9&vector=1,0.5",
            json!({"hybrid": {"embedder": "e", "semanticRatio": 0.9}, "vector": [1.0, 0.5]}),
        ),
        (
            "showRankingScore=true&rankingScoreThreshold=.5&page=1",
            json!({"showRankingScore": true, "rankingScoreThreshold": 0.5, "page": 1}),
        ),
        ("personalizeUserContext=u", json!({"personalize": {"userContext": "u"}})),
    ] {
        let read = from_query(query).expect("readable");
        let order = BTreeMap::new();
        let index = view(None, None, &order);
        let node: Value = serde_json::from_slice(&read.node_body(&index, &Scope::of_shards(Some("s")))).expect("JSON");
        assert_eq!(
            node,
            serde_json::from_slice::<Value>(&request(&body).node_body(&index, &Scope::of_shards(Some("s"))))
                .expect("JSON"),
            "{query}"
        );
    }
    for query in [
        "page=",
        "limit= 1",
        "zork=1",
        "showRankingScore=1",
        "hybridSemanticRatio=0.5",
        "vector=1",
        "vector=inf&hybridEmbedder=e",
    ] {
        assert!(from_query(query).is_err(), "{query}");
    }
    for query in ["filter=null", "filter=5"] {
        assert!(from_query(query).expect("readable").filter_fault().is_some(), "{query}");
    }
}

#[test]
fn all_pages_of_a_query_share_a_fingerprint() {
    let print = |body: Value| request(&body).fingerprint();
    assert_eq!(print(json!({"q": "a", "offset": 1})), print(json!({"q": "a", "offset": 20, "limit": 3})));
    assert_eq!(print(json!({"q": "a"})), print(json!({"q": "a", "page": 2})));
    assert_ne!(print(json!({"q": "a"})), print(json!({"q": "b"})));
    assert_ne!(print(json!({"q": "ab", "filter": "c"})), print(json!({"q": "a", "filter": "bc"})));
}

#[test]
fn the_network_is_recognised() {
    assert!(request(&json!({"useNetwork": true})).uses_network());
    assert!(!request(&json!({"useNetwork": null})).uses_network());
}

proptest! {
    #[test]
    fn any_filter_is_anded_whole(clauses in prop::collection::vec(prop_oneof![
        ".*".prop_map(Value::from),
        prop::collection::vec(".*", 0..3).prop_map(Value::from),
    ], 0..4)) {
        let body = sent(&json!({"filter": clauses}), None, None, Some("ours"));
        let mut wanted = vec![json!("ours")];
        wanted.extend(clauses);
        prop_assert_eq!(&body["filter"], &Value::from(wanted));
    }

    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = SearchRequest::from_body(&body);
    }

    #[test]
    fn unknown_members_reach_nodes_byte_for_byte(name in "[a-z]{9}", number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?") {
        let request = SearchRequest::from_body(format!("{{\"{name}\" : {number}}}").as_bytes()).expect("readable");
        let order = BTreeMap::new();
        let text = String::from_utf8(request.node_body(&view(None, None, &order), &Scope::default())).expect("text");
        let member = format!("\"{name}\":{number}");
        prop_assert!(text.contains(&member));
    }
}

#[test]
fn another_filter_takes_the_place_of_the_clients() {
    let mut request =
        SearchRequest::from_body(br#"{"q":"a","filter":"x = 1","limit":7,"facets":["f"]}"#).expect("a search");
    for filter in [&b"[\"a long filter\",\"y = 2\"]"[..], b"\"z\"", b"\"z\""] {
        request.replace_filter(filter);
        let text = String::from_utf8(filter.to_vec()).expect("text");
        let body = format!(r#"{{"q":"a","filter":{text},"limit":7,"facets":["f"]}}"#);
        assert_eq!((request.filter(), request.body()), (Some(filter), body.as_bytes()));
        let again = SearchRequest::from_body(body.as_bytes()).expect("a search");
        assert_eq!(request.fingerprint(), again.fingerprint());
        assert!(request.is_same(&again));
    }
}

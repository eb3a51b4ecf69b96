//! Reserved fields are inert text: filters and facets see them, searches never do.

use serde_json::{Value, json};

use crate::server::{Server, ids};

/// The eight separators that stand for the digits 0 to 7.
const DIGITS: [char; 8] =
    ['\u{2055}', '\u{2056}', '\u{2058}', '\u{2059}', '\u{205A}', '\u{205B}', '\u{205C}', '\u{205D}'];

/// `number` in base 8, `width` digits.
fn inert(number: u64, width: u32) -> String {
    let digit = |position| DIGITS[usize::try_from((number >> (3 * position)) & 7).unwrap()];
    (0..width).rev().map(digit).collect()
}

/// The rule that makes `attribute` filterable by equality alone.
fn equality_only(attribute: &str) -> Value {
    json!({
        "attributePatterns": [attribute],
        "features": {"facetSearch": false, "filter": {"equality": true, "comparison": false}},
    })
}

/// 32 documents over 16 shards. No digit appears outside the reserved fields.
fn documents() -> Value {
    let word = |number: u64| {
        let letters = number.to_string();
        let letter = |digit: u8| char::from(b'a' + (digit - b'0'));
        letters.bytes().map(letter).collect::<String>()
    };
    let document = |number: u64| {
        json!({
            "id": format!("doc-{}", word(number)),
            "title": "an ordinary title",
            "kind": if number.is_multiple_of(2) { "even" } else { "odd" },
            "_miroir_shard": inert(number % 16, 4),
            "_miroir_updated_at": inert(1_712_000_000_000 + number, 16),
        })
    };
    (0..32).map(document).collect()
}

fn server(filterable: &Value) -> Server {
    let server = Server::start();
    server.index("a", &json!({"filterableAttributes": filterable}), &documents());
    server
}

#[test]
fn no_query_finds_a_document_through_its_reserved_fields() {
    let server = server(&json!([equality_only("_miroir_shard"), "kind"]));
    let shard = inert(7, 4);
    let queries = ["7", "17", "1712", "1712000000007", "0", shard.as_str(), &shard[..3], "\"7\""];
    for query in queries.into_iter().filter(|query| query.chars().any(|c| c.is_ascii_digit())) {
        let answer = server.search("a", &json!({"q": query}));
        assert_eq!(answer["hits"], json!([]), "{query}");
    }
    let everything = server.search("a", &json!({"q": "ordinary", "limit": 100}));
    assert_eq!(everything["hits"].as_array().unwrap().len(), 32);
}

#[test]
fn shards_are_found_by_equality_and_by_list() {
    let server = server(&json!([equality_only("_miroir_shard"), "kind"]));
    let one = format!("_miroir_shard = \"{}\"", inert(3, 4));
    assert_eq!(server.found("a", &json!({"filter": one})), [json!("doc-d"), json!("doc-bj")]);
    let two = format!("_miroir_shard IN [\"{}\", \"{}\"]", inert(3, 4), inert(15, 4));
    assert_eq!(server.found("a", &json!({"filter": [two]})).len(), 4);
}

#[test]
fn the_members_of_a_filter_array_are_all_required() {
    let server = server(&json!([equality_only("_miroir_shard"), "kind"]));
    let shards = format!("_miroir_shard IN [\"{}\", \"{}\"]", inert(2, 4), inert(3, 4));
    let both = json!({"filter": [shards, "kind = even OR kind = none"]});
    assert_eq!(server.found("a", &both), [json!("doc-c"), json!("doc-bi")]);
    let nested = json!({"filter": [shards, ["kind = odd", "kind = none"]]});
    assert_eq!(server.found("a", &nested), [json!("doc-d"), json!("doc-bj")]);
    // A member cannot break out of its place.
    let injection = json!({"filter": [shards, "kind = odd) OR (kind = even"]});
    let answer = server.post("/indexes/a/search", &injection);
    assert_eq!(answer.error(), (400, "invalid_search_filter"));
}

#[test]
fn reserved_fields_can_be_counted_as_facets() {
    let server = server(&json!([equality_only("_miroir_shard"), "kind"]));
    let answer = server.search("a", &json!({"facets": ["_miroir_shard"], "limit": 0}));
    let counts = answer["facetDistribution"]["_miroir_shard"].as_object().unwrap();
    assert_eq!(counts.len(), 16);
    assert!(counts.values().all(|count| count == 2), "{counts:?}");
    let every = server.search("a", &json!({"facets": ["*"], "limit": 0}));
    assert!(every["facetDistribution"]["_miroir_shard"].is_object());
}

#[test]
fn the_first_matching_rule_decides() {
    let no_filters = json!({
        "attributePatterns": ["*"],
        "features": {"facetSearch": false, "filter": {"equality": false, "comparison": false}},
    });
    let ours = equality_only("_miroir_shard");
    let first = server(&json!([ours, no_filters]));
    let filter = json!({"filter": format!("_miroir_shard = \"{}\"", inert(3, 4))});
    assert_eq!(first.found("a", &filter).len(), 2);
    let last = server(&json!([no_filters, ours]));
    assert_eq!(last.post("/indexes/a/search", &filter).error(), (400, "invalid_search_filter"));
}

#[test]
fn equality_alone_refuses_comparisons() {
    let server = server(&json!([equality_only("_miroir_shard")]));
    let filter = json!({"filter": format!("_miroir_shard > \"{}\"", inert(3, 4))});
    assert_eq!(server.post("/indexes/a/search", &filter).error(), (400, "invalid_search_filter"));
}

#[test]
fn inert_text_compares_in_the_order_of_its_numbers() {
    let server = server(&json!(["_miroir_updated_at"]));
    let from = inert(1_712_000_000_030, 16);
    let fetch = |filter: String| server.post("/indexes/a/documents/fetch", &json!({"filter": filter}));
    let later = fetch(format!("_miroir_updated_at > \"{from}\"")).ok();
    assert_eq!(ids(&later["results"]), [json!("doc-db")]);
    let not_before = fetch(format!("_miroir_updated_at >= \"{from}\"")).ok();
    assert_eq!(not_before["total"], 2);
}

#[test]
fn reserved_fields_come_back_as_they_were_sent_and_can_be_left_out() {
    let server = server(&json!([equality_only("_miroir_shard")]));
    let document = server.get("/indexes/a/documents/doc-d").ok();
    assert_eq!(document["_miroir_shard"], inert(3, 4));
    let query = json!({"q": "ordinary", "attributesToRetrieve": ["id"], "limit": 1});
    let hit = server.search("a", &query)["hits"][0].clone();
    assert_eq!(hit.as_object().unwrap().keys().collect::<Vec<_>>(), ["id"]);
}

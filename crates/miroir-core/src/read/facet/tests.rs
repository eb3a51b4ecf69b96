use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn merged(nodes: &[(Value, Value, u64)], order: &BTreeMap<String, SortBy>, limit: usize) -> String {
    let raw: Vec<(String, String, u64)> = nodes.iter().map(|(d, s, n)| (d.to_string(), s.to_string(), *n)).collect();
    let nodes: Vec<NodeFacets<'_>> = raw
        .iter()
        .map(|(d, s, n)| NodeFacets { distribution: d.as_bytes(), stats: s.as_bytes(), candidates: *n })
        .collect();
    let index = IndexView {
        uid: "i",
        displayed: None,
        distinct: None,
        sort_facet_values_by: order,
        max_values_per_facet: limit,
        max_total_hits: 1000,
        ranks_by_attribute: false,
        pins: None,
    };
    let mut out = Vec::new();
    write_merged(&nodes, nodes.iter().map(|node| node.candidates).sum(), &index, &mut out);
    String::from_utf8(out).expect("text")
}

fn alpha() -> BTreeMap<String, SortBy> {
    BTreeMap::new()
}

fn counted() -> BTreeMap<String, SortBy> {
    [("*".to_owned(), SortBy::Count)].into()
}

#[test]
fn counts_add_up_over_spellings_and_the_first_spelling_shows() {
    let nodes = [
        (json!({"c": {"Beta": 2, "Été": 1}}), json!({}), 3),
        (json!({"c": {" alpha": 1, "beta ": 5, "éTÉ": 2}, "e": {}}), json!({}), 8),
    ];
    assert_eq!(
        merged(&nodes, &alpha(), 9),
        r#","facetDistribution":{"c":{" alpha":1,"Beta":7,"Été":3},"e":{}},"facetStats":{}"#
    );
}

#[test]
fn numbers_come_first_as_text_among_few_hits_and_by_value_among_many() {
    let node = |values: Value, candidates| (json!({"n": values}), json!({"n": {"min": 1.0, "max": 100.0}}), candidates);
    let few = [node(json!({"1": 1, "100": 1, "2": 1, "0": 4}), 5), node(json!({"10": 1, "2": 3, "a": 1}), 5)];
    assert_eq!(
        merged(&few, &alpha(), 9),
        r#","facetDistribution":{"n":{"1":1,"10":1,"100":1,"2":4,"0":4,"a":1}},"facetStats":{"n":{"min":1.0,"max":100.0}}"#
    );
    let many = [node(json!({"1": 1, "2": 1, "100": 1}), 4000), node(json!({"10": 1, "2": 3}), 2)];
    assert!(merged(&many, &alpha(), 9).contains(r#"{"1":1,"2":4,"10":1,"100":1}"#));
}

#[test]
fn without_statistics_no_value_is_a_number() {
    let nodes = [(json!({"v": {"1.0": 1, "10": 1, "9": 2}}), json!({}), 4000)];
    assert!(merged(&nodes, &alpha(), 9).contains(r#"{"1.0":1,"10":1,"9":2}"#));
}

#[test]
fn count_order_puts_the_last_of_equal_values_first_and_truncates_numbers_last() {
    let nodes = [
        (json!({"c": {"7": 1, "b": 3, "a": 2}}), json!({"c": {"min": 7.0, "max": 7.0}}), 6),
        (json!({"c": {"a": 1, "d": 1}}), json!({}), 2),
    ];
    assert!(merged(&nodes, &counted(), 9).contains(r#"{"7":1,"b":3,"a":3,"d":1}"#));
    assert!(merged(&nodes, &counted(), 2).contains(r#"{"7":1,"b":3}"#));
    let mixed: BTreeMap<String, SortBy> = [("*".to_owned(), SortBy::Count), ("c".to_owned(), SortBy::Alpha)].into();
    assert!(merged(&nodes, &mixed, 9).contains(r#"{"7":1,"a":3,"b":3,"d":1}"#));
}

#[test]
fn bounds_widen_and_keep_the_bytes_of_their_node() {
    let facets = |min: &str, max: &str| format!("{{\"n\":{{\"min\":{min},\"max\":{max}}}}}");
    let (left, right) = (facets("1e-7", "2.0"), facets("1.0", "1e+22"));
    let node = |stats: &'static str| NodeFacets { distribution: b"{\"n\":{}}", stats: stats.as_bytes(), candidates: 1 };
    let order = alpha();
    let index = IndexView {
        uid: "i",
        displayed: None,
        distinct: None,
        sort_facet_values_by: &order,
        max_values_per_facet: 9,
        max_total_hits: 9,
        ranks_by_attribute: false,
        pins: None,
    };
    let mut out = Vec::new();
    write_merged(&[node(left.leak()), node(right.leak())], 2, &index, &mut out);
    assert!(String::from_utf8(out).expect("text").ends_with(r#""facetStats":{"n":{"min":1e-7,"max":1e+22}}"#));
}

#[test]
fn our_facet_never_shows() {
    let nodes =
        [(json!({"_miroir_shard": {"x": 1}, "a": {"b": 1}}), json!({"_miroir_shard": {"min": 1.0, "max": 1.0}}), 1)];
    assert_eq!(merged(&nodes, &alpha(), 9), r#","facetDistribution":{"a":{"b":1}},"facetStats":{}"#);
}

fn facets(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_pattern_is_good_as_soon_as_one_filterable_attribute_is_within_it() {
    let plain = json!(["n", "_geo", "a.b"]);
    for good in [&["*"][..], &["n*"], &["*n"], &["*eo*"], &["a"], &["a.b.c"], &["a.*"], &["*", "n"]] {
        assert_eq!(refusal(&facets(good), Some(&plain)), None, "{good:?}");
    }
    let error = refusal(&facets(&["n", "x*"]), Some(&plain)).expect("refused");
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        (
            "invalid_search_facets",
            "Invalid facet distribution: Pattern `x*` is not filterable. Available filterable attributes patterns are: `_geo, a.b, n`."
        )
    );
    let features = json!({"facetSearch": false, "filter": {"equality": true, "comparison": false}});
    let patterns = json!([{"attributePatterns": ["a*"], "features": features}]);
    assert_eq!(refusal(&facets(&["*"]), Some(&patterns)), None);
    assert_eq!(refusal(&facets(&["ab*"]), Some(&patterns)), None);
    assert!(refusal(&facets(&["*b"]), Some(&patterns)).is_some());
}

#[test]
fn a_pattern_that_only_our_rule_meets_is_refused_as_by_one_server() {
    for nothing in [None, Some(&json!([]))] {
        let message = refusal(&facets(&["*"]), nothing).expect("refused").message;
        assert!(message.ends_with("This index does not have configured filterable attributes."), "{message}");
    }
    let plain = json!(["n"]);
    for ours in ["_miroir_shard", "_miroir*", "*_shard", "*miroir*", "_*"] {
        assert!(refusal(&facets(&[ours]), Some(&plain)).is_some(), "{ours}");
    }
    assert!(refusal(&facets(&["n", "zzz"]), Some(&plain)).is_none(), "the nodes judge");
}

#[test]
fn a_rule_without_filters_refuses_what_it_decides_about() {
    let off = json!({"facetSearch": true, "filter": {"equality": false, "comparison": false}});
    let rules = json!([{"attributePatterns": ["*"], "features": off}, "n"]);
    let error = refusal(&facets(&["n*"]), Some(&rules)).expect("refused");
    assert!(error.message.starts_with("Invalid facet distribution: Attribute `n*` matched rule #0 in"), "{error:?}");
    let rules = json!(["n", {"attributePatterns": ["*"], "features": off}]);
    assert_eq!(refusal(&facets(&["n*"]), Some(&rules)), None);
}

#[test]
fn folding_trims_decomposes_and_lowers() {
    assert_eq!(fold("plain"), "plain");
    assert_eq!(fold(" Beta "), "beta");
    assert_eq!(fold("\u{c9}T\u{c9}"), "e\u{301}te\u{301}");
    assert_eq!(fold("\u{fb01}"), "fi");
}

/// What one server would say of documents that each hold one value of one facet.
fn whole(values: &[Value], limit: usize) -> (Value, Value) {
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    let mut strings: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut bounds: Option<(f64, f64)> = None;
    for value in values {
        match value.as_f64() {
            Some(number) => {
                *numbers.entry(number.to_string()).or_default() += 1;
                bounds = Some(bounds.map_or((number, number), |(min, max)| (min.min(number), max.max(number))));
            }
            None => {
                let text = value.as_str().expect("text");
                strings.entry(fold(text).into_owned()).or_insert((text.to_owned(), 0)).1 += 1;
            }
        }
    }
    let all = numbers.into_iter().chain(strings.into_values()).take(limit);
    let counts: Map<String, Value> = all.map(|(label, count)| (label, json!(count))).collect();
    let stats = bounds.map_or(json!({}), |(min, max)| json!({"f": {"min": min, "max": max}}));
    (json!({"f": counts}), stats)
}

proptest! {
    #[test]
    fn the_facets_of_a_partition_are_those_of_the_whole(
        values in prop::collection::vec(prop_oneof![(-50i32..200).prop_map(|n| json!(f64::from(n) / 4.0)), "[a-zé]{1,2}".prop_map(Value::from)], 1..60),
        parts in prop::collection::vec(0usize..3, 60),
        limit in 1usize..20,
    ) {
        let split: Vec<(Value, Value, u64)> = (0..3).map(|part| {
            let own: Vec<Value> = values.iter().zip(&parts).filter(|(_, at)| **at == part).map(|(value, _)| value.clone()).collect();
            let (distribution, stats) = whole(&own, 1000);
            (distribution, stats, own.len() as u64)
        }).collect();
        let (distribution, stats) = whole(&values, limit);
        prop_assert_eq!(merged(&split, &alpha(), limit), format!(",\"facetDistribution\":{distribution},\"facetStats\":{stats}"));
    }
}

fn write_merged(nodes: &[NodeFacets<'_>], total: u64, index: &IndexView<'_>, out: &mut Vec<u8>) {
    out.push(b',');
    super::merged(nodes, total, index).expect("facets").write("facetDistribution", "facetStats", out);
}

#[test]
fn facets_of_several_indexes_join_by_spelling() {
    let orders = alpha();
    let index = IndexView {
        uid: "i",
        displayed: None,
        distinct: None,
        sort_facet_values_by: &orders,
        max_values_per_facet: 100,
        max_total_hits: 1000,
        ranks_by_attribute: false,
        pins: None,
    };
    let of = |text: &'static str| {
        let node =
            NodeFacets { distribution: text.as_bytes(), stats: br#"{"n":{"min":1.0,"max":2.5}}"#, candidates: 9 };
        super::merged(&[node], 9, &index).expect("facets")
    };
    let bound = MergeFacets { max_values_per_facet: Some(3) };
    let facets = [of(r#"{"c":{"a":1,"b":2}}"#), of(r#"{"c":{"A":7,"b":1,"z":1},"d":{"x":1}}"#)];
    let joined = join(facets.into_iter().map(|facets| (facets, &index)), bound).expect("one order");
    let mut out = Vec::new();
    joined.write("facetDistribution", "facetStats", &mut out);
    assert_eq!(
        String::from_utf8(out).expect("text"),
        r#""facetDistribution":{"c":{"A":7,"a":1,"b":3},"d":{"x":1}},"facetStats":{"n":{"min":1.0,"max":2.5}}"#
    );
    let counts = counted();
    let other = IndexView { sort_facet_values_by: &counts, ..index };
    let facets = [(of(r#"{"c":{"a":1}}"#), &index), (of(r#"{"c":{"a":1}}"#), &other)];
    assert_eq!(join(facets.into_iter(), bound), Err("c".to_owned()));
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn ranked<'a>(details: &'a str, score: f64) -> Rank<'a> {
    let mut rank = Rank { score: Some(score), ..Rank::default() };
    rank.read_details(&mut Scanner::new(details.as_bytes(), 0)).expect("details");
    rank
}

fn order(left: &Value, right: &Value) -> Ordering {
    let (left, right) = (left.to_string(), right.to_string());
    let order = ranked(&left, 0.5).compare(&ranked(&right, 0.5), 0.5);
    assert_eq!(order, ranked(&right, 0.5).compare(&ranked(&left, 0.5), 0.5).reverse(), "{left} {right}");
    order
}

/// Asserts that each of `details` comes before the next.
fn assert_descends(details: &[Value]) {
    for (position, better) in details.iter().enumerate() {
        for worse in &details[position + 1..] {
            assert_eq!(order(better, worse), Ordering::Less, "{better} before {worse}");
        }
    }
}

#[test]
fn words_and_typos_compare_by_count_whatever_their_scores() {
    assert_descends(&[
        json!({"words": {"order": 0, "matchingWords": 3, "score": 0.5}}),
        json!({"words": {"order": 0, "matchingWords": 2, "score": 1.0}}),
    ]);
    assert_descends(&[
        json!({"typo": {"order": 0, "typoCount": 0, "maxTypoCount": 1, "score": 0.5}}),
        json!({"typo": {"order": 0, "typoCount": 1, "maxTypoCount": 9, "score": 0.9}}),
    ]);
    let same =
        |max: u32| json!({"typo": {"order": 0, "typoCount": 1, "maxTypoCount": max, "score": 1.0 / f64::from(max)}});
    assert_eq!(order(&same(2), &same(3)), Ordering::Equal);
}

#[test]
fn rules_apply_in_the_order_of_their_details() {
    let better =
        json!({"proximity": {"order": 1, "score": 0.1}, "words": {"order": 0, "matchingWords": 2, "score": 1.0}});
    let worse =
        json!({"proximity": {"order": 1, "score": 0.9}, "words": {"order": 0, "matchingWords": 1, "score": 1.0}});
    assert_descends(&[better, worse]);
    let score = |score: f64| json!({"exactness": {"order": 0, "score": score}});
    assert_descends(&[score(0.5), score(0.4999999)]);
    assert_eq!(order(&score(0.1 + 0.2), &score(0.3)), Ordering::Equal);
}

#[test]
fn sort_values_are_numbers_then_strings_then_nothing_in_both_directions() {
    let asc = |value: Value| json!({"n:asc": {"order": 0, "value": value}});
    let desc = |value: Value| json!({"n:desc": {"order": 0, "value": value}});
    assert_descends(&[
        asc(json!(-1)),
        asc(json!(2.5)),
        asc(json!(10)),
        asc(json!("10")),
        asc(json!("a")),
        asc(json!("é")),
        asc(json!(null)),
    ]);
    assert_descends(&[
        desc(json!(10)),
        desc(json!(2.5)),
        desc(json!(-1)),
        desc(json!("true")),
        desc(json!("a")),
        desc(json!(null)),
    ]);
    assert_eq!(order(&asc(json!(1)), &asc(json!(1.0))), Ordering::Equal);
    assert_eq!(order(&asc(json!("a\"b")), &asc(json!("a\"b"))), Ordering::Equal);
}

#[test]
fn places_compare_by_distance_and_missing_ones_are_last() {
    let near = |direction: &str, distance: Value| json!({format!("_geoPoint(1, 2):{direction}"): {"order": 0, "value": null, "distance": distance}});
    assert_descends(&[near("asc", json!(0.0)), near("asc", json!(10.5)), near("asc", json!(null))]);
    assert_descends(&[near("desc", json!(10.5)), near("desc", json!(0.0)), near("desc", json!(null))]);
}

#[test]
fn what_the_rules_cannot_tell_the_score_does() {
    let cut = json!({"words": {"order": 0, "matchingWords": 2, "score": 1.0}, "skipped": {"order": 1}}).to_string();
    let whole = json!({"words": {"order": 0, "matchingWords": 2, "score": 1.0}, "typo": {"order": 1, "typoCount": 0, "score": 1.0}}).to_string();
    assert_eq!(ranked(&cut, 0.6).compare(&ranked(&whole, 0.9), 0.5), Ordering::Greater);
    assert_eq!(ranked("{}", 0.6).compare(&ranked("{}", 0.5), 0.5), Ordering::Less);
    assert_eq!(ranked("{}", 0.6).compare(&Rank::default(), 0.5), Ordering::Less);
    assert_eq!(Rank::default().compare(&Rank::default(), 0.5), Ordering::Equal);
}

#[test]
fn hybrid_hits_compare_by_weighted_scores() {
    let semantic = json!({"vectorSort": {"order": 0, "similarity": 0.8}}).to_string();
    let keyword = json!({"words": {"order": 0, "matchingWords": 1, "score": 1.0}}).to_string();
    let with_ratio = |ratio| ranked(&semantic, 0.8).compare(&ranked(&keyword, 1.0), ratio);
    assert_eq!(with_ratio(0.7), Ordering::Less);
    assert_eq!(with_ratio(0.5), Ordering::Greater);
    assert_eq!(with_ratio(1.0), Ordering::Less);
    // On a tie the semantic hit comes first.
    assert_eq!(ranked(&semantic, 1.0).compare(&ranked(&keyword, 1.0), 0.5), Ordering::Less);
    assert_descends(&[
        json!({"vectorSort": {"order": 0, "similarity": 0.8}}),
        json!({"vectorSort": {"order": 0, "similarity": 0.7}}),
    ]);
}

#[test]
fn pinned_hits_come_first() {
    assert_descends(&[
        json!({"pin": {"order": 0, "position": 1}}),
        json!({"pin": {"order": 0, "position": 4}}),
        json!({"words": {"order": 0, "matchingWords": 9, "score": 1.0}}),
    ]);
}

proptest! {
    #[test]
    fn comparison_of_like_rules_is_a_total_order(values in prop::collection::vec((0u8..4, -3i32..3), 3)) {
        let details: Vec<String> = values.iter().map(|(words, sort)| {
            let value = match sort { -3 => json!(null), -2 | -1 => json!(sort.to_string()), n => json!(n) };
            json!({"words": {"order": 0, "matchingWords": words, "score": 1.0}, "n:desc": {"order": 1, "value": value}}).to_string()
        }).collect();
        let ranks: Vec<Rank<'_>> = details.iter().map(|text| ranked(text, 1.0)).collect();
        let le = |a: usize, b: usize| ranks[a].compare(&ranks[b], 0.5) != Ordering::Greater;
        prop_assert!(!(le(0, 1) && le(1, 2)) || le(0, 2));
        prop_assert!(le(0, 1) || le(1, 0));
    }

    #[test]
    fn no_details_panic(text in ".{0,60}") {
        let _ = Rank::default().read_details(&mut Scanner::new(text.as_bytes(), 0));
    }
}

use proptest::prelude::*;

use super::super::{SearchRules, unverified_key};
use super::*;

fn token(n: u128, rules: Value) -> String {
    signed("HS256", &value_of(n), &json!({ "apiKeyUid": uid(n), "searchRules": rules }))
}

fn searching() -> KeyRegistry {
    registry([key(1, json!(["search"]), json!(["*"])), key(2, json!(["search"]), json!(["a", "b"]))])
}

fn rule(rules: Value, index: &str) -> Option<String> {
    search(&searching(), &token(1, rules), index).expect("let in").rule_for(index)
}

#[test]
fn rules_come_in_every_form() {
    assert_eq!(rule(json!(["*"]), "a"), None);
    assert_eq!(rule(json!(["a", "b*"]), "bc"), None);
    assert_eq!(rule(json!({ "a": null }), "a"), None);
    assert_eq!(rule(json!({ "a": {} }), "a"), None);
    assert_eq!(rule(json!({ "a": { "filter": null } }), "a"), None);
    assert_eq!(rule(json!({ "a": { "filter": "x = 1", "more": 1 } }), "a").as_deref(), Some(r#""x = 1""#));
    let nested = json!({ "a*": { "filter": ["x = 1", ["y = 2", "y = 3"]] } });
    assert_eq!(rule(nested, "ab").as_deref(), Some(r#"["x = 1",["y = 2","y = 3"]]"#));
}

#[test]
fn the_most_specific_pattern_counts_alone() {
    let rules = json!({ "*": { "filter": "all" }, "a*": { "filter": "as" }, "ab*": null, "abc": { "filter": "abc" } });
    for (index, expected) in [("b", Some("\"all\"")), ("a", Some("\"as\"")), ("abd", None), ("abc", Some("\"abc\""))] {
        assert_eq!(rule(rules.clone(), index).as_deref(), expected, "{index}");
    }
}

#[test]
fn foreign_indexes_are_refused_without_telling_about_the_key() {
    let told = |token: String, index: &str| search(&searching(), &token, index).expect_err("foreign").body().message;
    let foreign = "The provided tenant token cannot acces the index `c`, allowed indexes are [\"a\", \"b*\"].";
    assert_eq!(told(token(1, json!(["b*", "a"])), "c"), foreign);
    assert_eq!(
        told(token(2, json!(["*"])), "c"),
        "The API key used to generate this tenant token cannot acces the index `c`."
    );
    let both = ask(&searching(), &token(2, json!({ "a": null })), "POST", "/multi-search", None).expect("let in");
    assert!(both.allows("a") && !both.allows("b") && !both.allows("c") && !both.allows_all());
}

#[test]
fn every_hmac_of_the_family_is_taken_and_no_other() {
    let claims = json!({ "apiKeyUid": uid(1), "searchRules": ["*"] });
    for algorithm in ["HS256", "HS384", "HS512"] {
        assert!(search(&searching(), &signed(algorithm, &value_of(1), &claims), "a").is_ok(), "{algorithm}");
    }
    let told = |token: &str| search(&searching(), token, "a").expect_err("refused").body().message;
    let decoding = |why: &str| format!("Could not decode tenant token, {why}.");
    assert_eq!(told(&signed("RS256", &value_of(1), &claims)), decoding("InvalidAlgorithm"));
    assert!(
        told(&signed("none", &value_of(1), &claims))
            .starts_with("Could not decode tenant token, JSON error: unknown variant `none`")
    );
    assert_eq!(told(&signed("HS256", &value_of(2), &claims)), decoding("InvalidSignature"));
    assert_eq!(told(&signed("HS256", MASTER, &claims)), decoding("InvalidSignature"));
    let good = signed("HS256", &value_of(1), &claims);
    let unsigned = &good[..=good.rfind('.').expect("three parts")];
    assert_eq!(told(unsigned), decoding("InvalidSignature"));
    assert_eq!(told("a.b.c"), decoding("Base64 error: Invalid input length: 1"));
    assert_eq!(told("a.b"), "The provided API key is invalid.");
    let mut elsewhere = claims.clone();
    elsewhere["aud"] = json!("somebody");
    assert_eq!(told(&signed("HS256", &value_of(1), &elsewhere)), decoding("InvalidAudience"));
}

#[test]
fn time_is_counted_in_whole_seconds() {
    let seconds = now().unix_timestamp();
    let expiring = |exp: Value| {
        let claims = json!({ "apiKeyUid": uid(1), "searchRules": ["*"], "exp": exp });
        search(&searching(), &signed("HS256", &value_of(1), &claims), "a").map(drop)
    };
    assert_eq!(expiring(json!(null)), Ok(()));
    assert_eq!(expiring(json!(seconds)), Ok(()));
    let refusal = expiring(json!(seconds - 1)).expect_err("over");
    assert_eq!(
        refusal.body().message,
        format!("Tenant token expired. Was valid up to `{}` and we're now `{seconds}`.", seconds - 1)
    );
    assert!(matches!(expiring(json!(1e12)), Err(Refusal::BrokenToken(_))));
    assert!(matches!(expiring(json!("never")), Err(Refusal::BrokenToken(_))));
}

#[test]
fn a_token_is_worth_no_more_than_its_key() {
    let gone = registry([]);
    assert_eq!(search(&gone, &token(1, json!(["*"])), "a").expect_err("deleted"), Refusal::InvalidKey);
    let end = Some(now());
    let expired = registry([Key { expires_at: end, ..key(1, json!(["search"]), json!(["*"])) }]);
    assert_eq!(search(&expired, &token(1, json!(["*"])), "a").expect_err("expired"), Refusal::InvalidKey);
    let other = registry([key(1, json!(["documents.get"]), json!(["*"]))]);
    assert_eq!(search(&other, &token(1, json!(["*"])), "a").expect_err("no search"), Refusal::InvalidKey);
    let admin = registry([key(1, json!(["*"]), json!(["*"]))]);
    for (method, path, index) in [
        ("GET", "/indexes", None),
        ("GET", "/indexes/{uid}/documents", Some("a")),
        ("GET", "/keys", None),
        ("POST", "/dumps", None),
    ] {
        let refusal = ask(&admin, &token(1, json!(["*"])), method, path, index).expect_err("not for tokens");
        assert_eq!(refusal, Refusal::InvalidKey);
    }
}

#[test]
fn odd_claims_are_refused() {
    for claims in [
        json!({}),
        json!([]),
        json!(1),
        json!({ "apiKeyUid": "x", "searchRules": ["*"] }),
        json!({ "apiKeyUid": uid(1) }),
        json!({ "apiKeyUid": uid(1), "searchRules": "*" }),
        json!({ "apiKeyUid": uid(1), "searchRules": [1] }),
        json!({ "apiKeyUid": uid(1), "searchRules": null }),
        json!({ "apiKeyUid": uid(1), "searchRules": { "a": "x = 1" } }),
        json!({ "apiKeyUid": uid(1), "searchRules": { "a": true } }),
    ] {
        let answer = search(&searching(), &signed("HS256", &value_of(1), &claims), "a");
        assert!(matches!(answer, Err(Refusal::BrokenToken(_))), "{claims}: {answer:?}");
    }
}

/// What clients were answered to tokens of every kind, recorded on 2026-12-01. It is not to change with whatever reads
/// tokens: a library's own words about base64 or a header are as visible as a missing check.
#[test]
fn tokens_are_answered_as_recorded() {
    #[derive(serde::Deserialize)]
    struct Recorded {
        case: String,
        token: String,
        answer: Value,
    }
    let keys = registry([
        key(1, json!(["search"]), json!(["*"])),
        key(2, json!(["search"]), json!(["b"])),
        key(3, json!(["documents.get"]), json!(["*"])),
        key(0xab_cdef, json!(["search"]), json!(["*"])),
    ]);
    let mut drifted = Vec::new();
    for line in include_str!("recorded/tokens.ndjson").lines() {
        let recorded: Recorded = serde_json::from_str(line).expect("a recorded token");
        let answer = match search(&keys, &recorded.token, "a") {
            Ok(grant) => json!({ "rule": grant.rule_for("a") }),
            Err(refusal) => serde_json::to_value(refusal.body()).expect("a body"),
        };
        if answer != recorded.answer {
            drifted.push(format!("{}: {answer}, and it was {}", recorded.case, recorded.answer));
        }
    }
    assert!(drifted.is_empty(), "{}", drifted.join("\n"));
}

proptest! {
    #[test]
    fn no_text_is_taken_for_a_token_or_panics(text in ".*", parts in prop::collection::vec("[A-Za-z0-9_-]{0,12}", 0..5)) {
        for shown in [text, parts.join(".")] {
            prop_assert!(search(&searching(), &shown, "a").is_err());
            let _ = unverified_key(&shown);
        }
    }

    #[test]
    fn a_token_changed_anywhere_opens_nothing(at in 0_usize..1000, byte in prop::sample::select(&b"AZaz09-_."[..])) {
        let good = token(1, json!({ "a": { "filter": "x = 1" } }));
        let at = at % good.len();
        let mut changed = good.clone().into_bytes();
        changed[at] = byte;
        let changed = String::from_utf8(changed).expect("ASCII");
        prop_assert_eq!(search(&searching(), &changed, "a").is_ok(), changed == good);
    }

    #[test]
    fn rules_allow_what_some_pattern_matches(patterns in prop::collection::btree_set("[ab]{0,2}\\*?", 0..4), index in "[ab]{1,3}") {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => index.starts_with(prefix),
            None => *pattern == index,
        };
        let expected = patterns.iter().any(matches);
        let set: SearchRules = serde_json::from_value(json!(patterns)).expect("rules");
        let map: serde_json::Map<String, Value> =
            patterns.iter().map(|p| (p.clone(), json!({ "filter": p }))).collect();
        let map: SearchRules = serde_json::from_value(Value::Object(map)).expect("rules");
        prop_assert_eq!((set.allow(&index), map.allow(&index)), (expected, expected));
        let best = patterns.iter().filter(|p| matches(p)).max_by_key(|p| (!p.ends_with('*'), p.len()));
        prop_assert_eq!(map.filter_for(&index).cloned(), best.map(|p| json!(p)));
    }
}

//! Tenant tokens, and keys that have expired or are gone. What one server answers was taken down from Meilisearch 1.50; with
//! `MEILISEARCH_BIN` the reference is asked as well, and has to agree.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use miroir_tests::{Client, jwt};

use super::keys::{INVALID, load, refused, servers, signed, text};

#[test]
fn an_expired_key_and_its_tokens_open_nothing() {
    for server in servers() {
        let [a, _] = load(&server, "expiring");
        let soon = jwt::seconds_from_now(2);
        let key = server.key(json!({ "actions": ["*"], "indexes": ["*"], "expiresAt": jwt::rfc3339(soon) }));
        let client = server.with(text(&key["key"]));
        let bearer = server.with(&signed(&key, json!({ "searchRules": ["*"] })));
        miroir_tests::wait::eventually("the key expires", std::time::Duration::from_secs(10), || {
            (client.get("/indexes").status == 403).then_some(())
        });
        refused(&server, "expired", &client.get("/indexes"), 403, "invalid_api_key", INVALID);
        refused(&server, "expired", &client.search(&a, &json!({})), 403, "invalid_api_key", INVALID);
        refused(&server, "token", &bearer.search(&a, &json!({})), 403, "invalid_api_key", INVALID);

        let (key, bearer) = server.token(&["*"], json!({ "searchRules": ["*"] }));
        bearer.search(&a, &json!({})).expect(200);
        assert_eq!(server.admin.delete(&format!("/keys/{}", text(&key["uid"]))).status, 204);
        refused(&server, "deleted", &bearer.search(&a, &json!({})), 403, "invalid_api_key", INVALID);
    }
}

/// The ids found by a search, and the number of hits that the answer claims.
#[track_caller]
fn ids(client: &Client, index: &str, search: &Value) -> (BTreeSet<u64>, u64) {
    let answer = client.search(index, search).expect(200);
    let hits = answer.body["hits"].as_array().into_iter().flatten();
    (hits.filter_map(|hit| hit["id"].as_u64()).collect(), answer.body["estimatedTotalHits"].as_u64().unwrap_or(99))
}

#[test]
fn tokens_find_what_their_rules_let_through() {
    let evens: BTreeSet<u64> = [2, 4, 6].into();
    let all: BTreeSet<u64> = (1..=6).collect();
    for server in servers() {
        let [a, b] = load(&server, "rules");
        let cases = [
            (json!(["*"]), &all),
            (json!([a]), &all),
            (json!({ "*": null }), &all),
            (json!({ &a: {} }), &all),
            (json!({ &a: { "filter": null } }), &all),
            (json!({ &a: { "filter": "tenant = x" } }), &evens),
            (json!({ "rules*": { "filter": ["tenant = x"] } }), &evens),
            (json!({ "*": { "filter": ["word = plain", ["tenant = x", "tenant = z"]] } }), &evens),
            (json!({ "*": { "filter": "tenant = nobody" }, "rules-*": { "filter": "tenant = x" } }), &evens),
            (json!({ "*": { "filter": "tenant = x" }, &a: null }), &all),
        ];
        for (rules, expected) in cases {
            let (_, client) = server.token(&["*"], json!({ "searchRules": rules }));
            let count = expected.len() as u64;
            assert_eq!(ids(&client, &a, &json!({})), (expected.clone(), count), "{}: {rules}", server.name);
            let got = client.get(&format!("/indexes/{a}/search?q=plain")).expect(200);
            assert_eq!(got.body["estimatedTotalHits"], count, "{rules}");
            let facets = client.search(&a, &json!({ "facets": ["tenant"], "limit": 0 })).expect(200);
            assert_eq!(facets.body["facetDistribution"]["tenant"]["x"], 3, "{rules}");
            assert_eq!(facets.body["facetDistribution"]["tenant"].get("y").is_none(), *expected == evens, "{rules}");
        }
        let (_, client) = server.token(&[&a], json!({ "searchRules": ["*"] }));
        let foreign = format!("The API key used to generate this tenant token cannot acces the index `{b}`.");
        refused(&server, "key", &client.search(&b, &json!({})), 403, "invalid_api_key", &foreign);
        let (_, client) = server.token(&["*"], json!({ "searchRules": { &a: null } }));
        let foreign = format!("The provided tenant token cannot acces the index `{b}`, allowed indexes are [\"{a}\"].");
        refused(&server, "token", &client.search(&b, &json!({})), 403, "invalid_api_key", &foreign);
        for path in
            ["/indexes", &format!("/indexes/{a}/documents"), &format!("/indexes/{a}"), "/tasks", "/stats", "/keys"]
        {
            refused(&server, path, &client.get(path), 403, "invalid_api_key", INVALID);
        }
    }
}

#[test]
fn no_filter_breaks_out_of_a_rule() {
    let evens: BTreeSet<u64> = [2, 4, 6].into();
    for server in servers() {
        let [a, _] = load(&server, "contained");
        let (_, client) = server.token(&["*"], json!({ "searchRules": { "*": { "filter": "tenant = x" } } }));
        let filters = [
            json!("tenant = y OR tenant = x"),
            json!("tenant = x) OR (tenant = y"),
            json!("tenant = y\") OR (\"tenant = y"),
            json!(["tenant = y", "tenant = y"]),
            json!([["tenant = y", "tenant = x"]]),
            json!([["tenant = y"], ["tenant = y", "id > 0"]]),
            json!("NOT tenant = x"),
            json!("tenant EXISTS"),
            json!("tenant = x // "),
            json!(null),
            json!([]),
            json!(""),
            json!([[]]),
            json!([null]),
            json!({}),
            json!(7),
            json!([[["tenant = y"]]]),
        ];
        for filter in &filters {
            let answer = client.search(&a, &json!({ "filter": filter }));
            if answer.status == 200 {
                let (found, _) = ids(&client, &a, &json!({ "filter": filter }));
                assert!(found.is_subset(&evens), "{}: {filter}: {}", server.name, answer.text);
            } else {
                assert_eq!(
                    answer.verdict(),
                    (400, "invalid_search_filter".to_owned()),
                    "{}: {filter}: {}",
                    server.name,
                    answer.text
                );
                assert!(answer.body.get("hits").is_none() && !answer.text.contains("_miroir"), "{}", answer.text);
            }
            let text: String =
                filter.as_str().unwrap_or("[\"tenant = y\"]").bytes().map(|b| format!("%{b:02x}")).collect();
            let answer = client.get(&format!("/indexes/{a}/search?filter={text}"));
            let hits = answer.body["hits"].as_array().into_iter().flatten();
            let found: BTreeSet<u64> = hits.filter_map(|hit| hit["id"].as_u64()).collect();
            assert!(matches!(answer.status, 200 | 400) && found.is_subset(&evens), "{filter}: {}", answer.text);
        }
        // What cannot be read is refused, never answered with hits; neither are members given twice.
        for body in [
            r#"{"filter":"tenant = y","filter":null}"#,
            r#"{"filter":null,"f\u0069lter":"tenant = y"}"#,
            r#"{"limit":"x"}"#,
            r#"{"unknown":1}"#,
            r#"{"page":-1}"#,
            "[]",
            "",
        ] {
            let answer = client.send(
                "POST",
                &format!("/indexes/{a}/search"),
                Some(body.as_bytes()),
                &[("content-type", "application/json")],
            );
            let hits = answer.body["hits"].as_array().into_iter().flatten();
            let found: BTreeSet<u64> = hits.filter_map(|hit| hit["id"].as_u64()).collect();
            assert!(matches!(answer.status, 200 | 400) && found.is_subset(&evens), "{body}: {}", answer.text);
        }
        // A rule that is no filter lets nothing through.
        for rule in [json!(12), json!({}), json!("tenant ="), json!("tenant = x) OR (tenant = y"), json!(true)] {
            let (_, client) = server.token(&["*"], json!({ "searchRules": { "*": { "filter": rule } } }));
            for search in [json!({}), json!({ "filter": "tenant = y" })] {
                let answer = client.search(&a, &search);
                assert_eq!(
                    answer.verdict(),
                    (400, "invalid_search_filter".to_owned()),
                    "{}: {rule}: {}",
                    server.name,
                    answer.text
                );
            }
        }
    }
}

#[test]
fn forged_and_spent_tokens_open_nothing() {
    for server in servers() {
        let [a, _] = load(&server, "forged");
        let key = server.key(json!({ "actions": ["search"], "indexes": ["*"], "expiresAt": null }));
        let other = server.key(json!({ "actions": ["search"], "indexes": ["*"], "expiresAt": null }));
        let claims = json!({ "searchRules": ["*"], "apiKeyUid": key["uid"] });
        let value = text(&key["key"]);
        for algorithm in ["HS256", "HS384", "HS512"] {
            server.with(&jwt::sign_with(algorithm, &claims, value)).search(&a, &json!({})).expect(200);
        }
        let decoding = |why: &str| format!("Could not decode tenant token, {why}.");
        let told = |what: &str, token: &str, message: &str| {
            refused(&server, what, &server.with(token).search(&a, &json!({})), 403, "invalid_api_key", message);
        };
        let invalid = decoding("InvalidSignature");
        told("another key's", &jwt::sign(&claims, text(&other["key"])), &invalid);
        told("nobody's", &jwt::sign(&claims, "guess"), &invalid);
        told("another family", &jwt::sign_with("RS256", &claims, value), &decoding("InvalidAlgorithm"));
        let whole = jwt::sign(&claims, value);
        told("unsigned", &whole[..=whole.rfind('.').unwrap_or(0)], &invalid);
        let none = server.with(&jwt::sign_with("none", &claims, value)).search(&a, &json!({}));
        assert_eq!(none.verdict(), (403, "invalid_api_key".to_owned()));
        let mut spent = claims.clone();
        spent["exp"] = json!(jwt::seconds_from_now(-60));
        let answer = server.with(&jwt::sign(&spent, value)).search(&a, &json!({}));
        assert_eq!(answer.verdict(), (403, "invalid_api_key".to_owned()));
        let begins = format!("Tenant token expired. Was valid up to `{}` and we're now `", spent["exp"]);
        assert!(text(&answer.body["message"]).starts_with(&begins), "{}", answer.text);
        let mut unfinished = claims;
        unfinished["exp"] = json!(jwt::seconds_from_now(600));
        server.with(&jwt::sign(&unfinished, value)).search(&a, &json!({})).expect(200);
    }
}

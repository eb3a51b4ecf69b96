//! Errors: their object, their statuses, their codes.

use serde_json::{Value, json};

use crate::server::{KEY, Server, code_of};

#[test]
fn an_error_has_four_members() {
    let server = Server::start();
    let answer = server.get("/indexes/none");
    assert_eq!(answer.error(), (404, "index_not_found"));
    let members: Vec<&String> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["message", "code", "type", "link"]);
    assert_eq!(answer.body["message"], "Index `none` not found.");
    assert_eq!(answer.body["type"], "invalid_request");
    assert_eq!(answer.body["link"], "https://docs.meilisearch.com/errors#index_not_found");
}

#[test]
fn only_the_key_opens_the_node() {
    let server = Server::start();
    let with = |headers: &[(&str, &str)]| server.raw("GET", "/indexes", headers, b"");
    assert_eq!(with(&[]).error(), (401, "missing_authorization_header"));
    assert_eq!(with(&[("authorization", "Basic abc")]).error(), (401, "missing_authorization_header"));
    let wrong = format!("Bearer {KEY}x");
    let answer = with(&[("authorization", &wrong)]);
    assert_eq!(answer.error(), (403, "invalid_api_key"));
    assert_eq!(answer.body["type"], "auth");
    let right = format!("Bearer {KEY}");
    assert_eq!(with(&[("authorization", &right)]).status, 200);
}

#[test]
fn each_search_parameter_has_its_code() {
    let server = Server::start();
    server.index("a", &json!({"searchableAttributes": ["id"]}), &json!([{"id": 1, "other": "x"}]));
    let cases = [
        (json!({"q": 1}), "invalid_search_q"),
        (json!({"limit": -1}), "invalid_search_limit"),
        (json!({"offset": "a"}), "invalid_search_offset"),
        (json!({"page": -1}), "invalid_search_page"),
        (json!({"hitsPerPage": "a"}), "invalid_search_hits_per_page"),
        (json!({"attributesToRetrieve": 1}), "invalid_search_attributes_to_retrieve"),
        (json!({"attributesToCrop": 1}), "invalid_search_attributes_to_crop"),
        (json!({"attributesToHighlight": 1}), "invalid_search_attributes_to_highlight"),
        (json!({"cropLength": -1}), "invalid_search_crop_length"),
        (json!({"cropMarker": 1}), "invalid_search_crop_marker"),
        (json!({"highlightPreTag": 1}), "invalid_search_highlight_pre_tag"),
        (json!({"highlightPostTag": 1}), "invalid_search_highlight_post_tag"),
        (json!({"showMatchesPosition": 1}), "invalid_search_show_matches_position"),
        (json!({"showRankingScore": 1}), "invalid_search_show_ranking_score"),
        (json!({"showRankingScoreDetails": 1}), "invalid_search_show_ranking_score_details"),
        (json!({"filter": 1}), "invalid_search_filter"),
        (json!({"filter": "a ="}), "invalid_search_filter"),
        (json!({"filter": "a = 1"}), "invalid_search_filter"),
        (json!({"filter": [["a = 1", ["b = 2"]]]}), "invalid_search_filter"),
        (json!({"sort": "a"}), "invalid_search_sort"),
        (json!({"sort": ["a"]}), "invalid_search_sort"),
        (json!({"sort": ["a:asc"]}), "invalid_search_sort"),
        (json!({"sort": ["_geoPoint(91, 0):asc"]}), "invalid_search_sort"),
        (json!({"distinct": 1}), "invalid_search_distinct"),
        (json!({"distinct": "a"}), "invalid_search_distinct"),
        (json!({"facets": "a"}), "invalid_search_facets"),
        (json!({"facets": ["a"]}), "invalid_search_facets"),
        (json!({"matchingStrategy": "some"}), "invalid_search_matching_strategy"),
        (json!({"attributesToSearchOn": "a"}), "invalid_search_attributes_to_search_on"),
        (json!({"q": "x", "attributesToSearchOn": ["other"]}), "invalid_search_attributes_to_search_on"),
        (json!({"rankingScoreThreshold": 2}), "invalid_search_ranking_score_threshold"),
        (json!({"locales": ["xx"]}), "invalid_search_locales"),
        (json!({"vector": "a"}), "invalid_search_vector"),
        (json!({"hybrid": 1}), "invalid_search_hybrid_query"),
        (json!({"hybrid": {"embedder": "a", "semanticRatio": 2}}), "invalid_search_semantic_ratio"),
        (json!({"retrieveVectors": 1}), "invalid_search_retrieve_vectors"),
        (json!({"frobnicate": 1}), "bad_request"),
    ];
    for (query, code) in cases {
        let answer = server.post("/indexes/a/search", &query);
        assert_eq!(code_of(&answer), json!([400, code]), "{query}: {}", answer.body);
    }
    let unknown = server.get("/indexes/a/search?frobnicate=1");
    assert_eq!(unknown.error(), (400, "bad_request"));
}

#[test]
fn each_document_parameter_has_its_code() {
    let server = Server::start();
    server.index("a", &json!({}), &json!([{"id": 1}]));
    let fetch = |query: Value| code_of(&server.post("/indexes/a/documents/fetch", &query));
    assert_eq!(fetch(json!({"limit": "a"})), json!([400, "invalid_document_limit"]));
    assert_eq!(fetch(json!({"offset": -1})), json!([400, "invalid_document_offset"]));
    assert_eq!(fetch(json!({"filter": "a ="})), json!([400, "invalid_document_filter"]));
    assert_eq!(fetch(json!({"filter": "a = 1"})), json!([400, "invalid_document_filter"]));
    assert_eq!(fetch(json!({"fields": 1})), json!([400, "invalid_document_fields"]));
    assert_eq!(fetch(json!({"nope": 1})), json!([400, "bad_request"]));
    assert_eq!(server.get("/indexes/a/documents/none").error(), (404, "document_not_found"));
    assert_eq!(server.get("/indexes/none/documents/1").error(), (404, "index_not_found"));
    assert_eq!(server.get("/indexes/a/documents?limit=x").error(), (400, "invalid_document_limit"));
    assert_eq!(server.get("/indexes/a%20b").error(), (400, "invalid_index_uid"));
}

#[test]
fn settings_are_judged_before_the_name_of_their_index() {
    let server = Server::start();
    let path = "/indexes/no%20index/settings";
    assert_eq!(server.patch(path, &json!({"rankingRules": ["nope"]})).error(), (400, "invalid_settings_ranking_rules"));
    assert_eq!(server.patch(path, &json!({"stopWords": ["a"]})).error(), (400, "invalid_index_uid"));
}

#[test]
fn bodies_must_be_what_they_say() {
    let server = Server::start();
    let authorization = format!("Bearer {KEY}");
    let send = |content_type: Option<&str>, body: &[u8]| {
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(content_type.map(|content_type| ("content-type", content_type)));
        code_of(&server.raw("POST", "/indexes/a/documents", &headers, body))
    };
    let json_type = Some("application/json");
    assert_eq!(send(None, b"[]"), json!([415, "missing_content_type"]));
    assert_eq!(send(Some("text/plain"), b"[]"), json!([415, "invalid_content_type"]));
    assert_eq!(send(json_type, b""), json!([400, "missing_payload"]));
    assert_eq!(send(Some("application/x-ndjson"), b""), json!([400, "missing_payload"]));
    for body in [&b"[{\"id\":1}"[..], b"{\"id\":", b"[{\"id\":1},]", b"nonsense", b"{\"id\":\"\xff\"}"] {
        assert_eq!(send(json_type, body), json!([400, "malformed_payload"]), "{body:?}");
    }
    assert_eq!(send(Some("application/x-ndjson"), b"{\"id\":1}\n{"), json!([400, "malformed_payload"]));
    // Nothing of a refused body becomes a task.
    assert_eq!(server.get("/tasks").ok()["total"], 0);
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let search = server.raw("POST", "/indexes/a/search", &headers, b"{\"q\":");
    assert_eq!(search.error(), (400, "malformed_payload"));
    let parameter = server.post("/indexes/a/documents?nope=1", &json!([]));
    assert_eq!(parameter.error(), (400, "bad_request"));
}

#[test]
fn unknown_routes_and_verbs_have_no_body() {
    let server = Server::start();
    let unknown = server.get("/no/such/route");
    assert_eq!((unknown.status, unknown.body), (404, Value::Null));
    let verb = server.patch("/indexes/a/documents", &json!([]));
    assert_eq!((verb.status, verb.body), (405, Value::Null));
}

#[test]
fn index_requests_are_checked() {
    let server = Server::start();
    assert_eq!(server.post("/indexes", &json!({})).error(), (400, "missing_index_uid"));
    assert_eq!(server.post("/indexes", &json!({"uid": "a b"})).error(), (400, "invalid_index_uid"));
    assert_eq!(server.post("/indexes", &json!({"uid": "a", "x": 1})).error(), (400, "bad_request"));
    let swap = |body: Value| code_of(&server.post("/swap-indexes", &body));
    assert_eq!(swap(json!([{"indexes": ["a"]}])), json!([400, "invalid_swap_indexes"]));
    assert_eq!(swap(json!([{"indexes": ["a", "a"]}])), json!([400, "invalid_swap_duplicate_index_found"]));
    assert_eq!(swap(json!([{}])), json!([400, "missing_swap_indexes"]));
}

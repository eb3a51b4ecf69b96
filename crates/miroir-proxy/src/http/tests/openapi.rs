//! The OpenAPI document and the router are of one mind, and the document is committed.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use miroir_api::ErrorBody;
use miroir_cluster::testing::{ADMIN_KEY, instance};
use miroir_core::base::error::{self, Code};
use serde_json::Value;

use super::{METHODS, send, send_body};
use crate::http::openapi::document;

fn as_json() -> Value {
    serde_json::to_value(document()).expect("JSON")
}

/// Method, path and description of every operation.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(move |(method, described)| {
            let method = method.to_uppercase().parse().expect("a method");
            (method, path.clone(), described.clone())
        })
    });
    operations.collect()
}

/// Rewrites the document when `UPDATE_DOCS` is set.
#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let served = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, served).expect("the document can be written");
    } else {
        let committed = std::fs::read_to_string(path).expect("docs/openapi.json is there");
        assert!(committed == served, "run the tests with UPDATE_DOCS=1 to rewrite docs/openapi.json");
    }
}

#[tokio::test]
async fn what_is_described_is_a_route_and_nothing_else_is() {
    let cluster = instance().await;
    let document = as_json();
    let operations = operations(&document);
    let paths: BTreeSet<&String> = operations.iter().map(|(_, path, _)| path).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        for method in METHODS {
            // A GET without its body.
            if method == Method::HEAD {
                continue;
            }
            let (status, body) = send(&cluster, &method, path, Some(ADMIN_KEY)).await;
            let is_route =
                status != StatusCode::METHOD_NOT_ALLOWED && !(status == StatusCode::NOT_FOUND && body.is_empty());
            let described = operations.iter().find(|(other, at, _)| (other, at) == (&method, path));
            assert_eq!(is_route, described.is_some(), "{method} {path}: {status} {body}");
            let Some((_, _, operation)) = described else { continue };
            assert!(!operation["responses"][status.as_str()].is_null(), "{method} {path}: {status} {body}");
        }
    }
}

#[tokio::test]
async fn what_needs_the_admin_key_says_so() {
    let cluster = instance().await;
    for (method, path, operation) in operations(&as_json()) {
        let (status, body) = send(&cluster, &method, &path, None).await;
        let is_open = operation["security"] == serde_json::json!([{}]);
        assert_eq!(status != StatusCode::UNAUTHORIZED, is_open, "{method} {path}: {status} {body}");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&as_json()) {
        let name = operation["operationId"].as_str().expect("a name").to_owned();
        assert!(names.insert(name), "{method} {path} has the name of another operation");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{method} {path} says nothing");
        let parameters = operation["parameters"].as_array().map_or(0, Vec::len);
        assert!(parameters >= path.matches('{').count(), "{method} {path} does not describe its parameters");
    }
}

#[test]
fn every_property_of_the_document_is_described() {
    let document = as_json();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        assert!(schema["description"].is_string(), "{name} says nothing");
        let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
        let properties = parts.filter_map(|part| part["properties"].as_object()).flatten();
        for (property, described) in properties {
            assert!(described.to_string().contains("\"description\""), "{name}.{property} says nothing");
        }
    }
}

#[test]
fn an_error_has_the_members_that_are_described() {
    let ours = serde_json::to_value(error::ErrorBody::new(Code::MiroirConflict, "No.")).expect("JSON");
    let read: ErrorBody = serde_json::from_value(ours.clone()).expect("an error");
    assert_eq!(serde_json::to_value(read).expect("JSON"), ours);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_in_our_words() {
    let cluster = instance().await;
    for path in ["/_miroir/nodes/%ff/drain", "/_miroir/tasks/%ff", "/_miroir/indexes/%ff/settings/status"] {
        let method = if path.ends_with("drain") { Method::POST } else { Method::GET };
        let (status, body) = send_body(&cluster, &method, path, Some(ADMIN_KEY), Body::empty()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        assert!(serde_json::from_str::<ErrorBody>(&body).is_ok(), "{path}: {body}");
    }
}

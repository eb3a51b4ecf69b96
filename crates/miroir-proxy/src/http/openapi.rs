//! The OpenAPI document of the admin API.
//!
//! Here is what it says of all routes. What it says of one stands with the route's handler, and is put together by the same
//! calls that make the router: there is no route without its description, and no description without its route.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use miroir_api::ErrorBody;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi as Described, Ref, RefOr, Required, Response as Answer, ResponseBuilder,
};
use utoipa::{IntoParams, IntoResponses, Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::{json, metrics_routes, open_admin_routes, operators_routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Miroir's admin API",
        description = "What operators, `miroir-ctl` and user interfaces ask of Miroir. Every path begins with `/_miroir/`; \
            all others are Meilisearch's, which describes them itself. Where `admin.port` is set these paths are on that \
            port alone, except `ready`; where there is a master key and no admin key, only `ready` and `metrics` are there. A path \
            that is not there is answered 404, a method that a path has not 405, both without a body. Answers may gain \
            members, and lists of words may gain words, with any release: pass over what you do not know.",
        license(name = "MIT", identifier = "MIT"),
    ),
    components(schemas(ErrorBody)),
    security(("bearer" = []), ("adminKey" = [])),
    tags(
        (name = "instance", description = "An instance of Miroir"),
        (name = "cluster", description = "Nodes, shards and replicas"),
        (name = "membership", description = "Nodes and groups that come and go"),
        (name = "settings", description = "Settings of indexes on nodes"),
        (name = "anti-entropy", description = "Comparing replicas"),
        (name = "work", description = "Tasks, and work in the background"),
    ),
    modifiers(&Common),
)]
struct Document;

/// What several operations have in common.
struct Common;

/// Refusals, as a name of the document, its status and when it is given.
const REFUSALS: &[(&str, u16, &str)] = &[
    ("BadRequest", 400, "The path, or the body, is not what it should be."),
    ("Unauthorized", 401, "The admin key was not shown, or is another one (`miroir_invalid_auth`)."),
    ("SlowBody", 408, "The body did not arrive in time (`bad_request`)."),
    ("TooLarge", 413, "The body has more bytes than `server.max_body_bytes` (`payload_too_large`)."),
    ("NotJson", 415, "The `Content-Type` is missing, or is not JSON (`missing_content_type`, `invalid_content_type`)."),
    (
        "Internal",
        500,
        "Something went wrong inside, or a body is announced to be too large (`internal`). The log says more.",
    ),
    (
        "Unavailable",
        503,
        "The store does not answer, or the instance may not write at the moment (`miroir_store_unavailable`); or too much is \
         asked of it at once, it is stopping, or the request was not done in time (`miroir_overloaded`, with `Retry-After`).",
    ),
];

/// Refusals of every route that needs the admin key.
pub enum Refused {}

/// Refusals of routes that take a body, besides [`Refused`].
pub enum RefusedBody {}

/// Refusals of routes that begin a change of the membership, besides [`Refused`].
pub enum RefusedChange {}

/// The node that a path names, and what is refused because of it.
pub enum OfNode {}

/// The index that a path names, and what is refused because of it.
pub enum OfIndex {}

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        references(&[401, 500, 503])
    }
}

impl IntoResponses for RefusedBody {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        references(&[400, 408, 413, 415])
    }
}

impl IntoResponses for RefusedChange {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        let when = "It cannot be done as the cluster is, or another change is under way (`miroir_conflict`).";
        refusals([(409, when)])
    }
}

impl IntoResponses for OfNode {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        refusals([
            (400, "The path is not UTF-8 (`bad_request`)."),
            (404, "There is no such node (`miroir_node_not_found`)."),
        ])
    }
}

impl IntoParams for OfNode {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![in_path("id", "The node.", None, "meili-3")]
    }
}

impl IntoResponses for OfIndex {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        refusals([
            (400, "This is no uid of an index (`invalid_index_uid`)."),
            (404, "There is no such index (`index_not_found`)."),
        ])
    }
}

impl IntoParams for OfIndex {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![in_path("uid", "The index, as clients call it.", Some("^[A-Za-z0-9_-]{1,512}$"), "movies")]
    }
}

fn in_path(name: &str, about: &str, pattern: Option<&str>, example: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build();
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
    parameter.description(Some(about)).schema(Some(text)).example(Some(example.into())).build()
}

fn references(statuses: &[u16]) -> BTreeMap<String, RefOr<Answer>> {
    let named = REFUSALS.iter().filter(|(_, status, _)| statuses.contains(status));
    named.map(|(name, status, _)| (status.to_string(), Ref::from_response_name(*name).into())).collect()
}

/// By status, when it is given.
fn refusals<const N: usize>(given: [(u16, &str); N]) -> BTreeMap<String, RefOr<Answer>> {
    given.into_iter().map(|(status, when)| (status.to_string(), refusal(when).into())).collect()
}

fn refusal(when: &str) -> Answer {
    let error = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    ResponseBuilder::new().description(when).content("application/json", error).build()
}

impl Modify for Common {
    fn modify(&self, document: &mut Described) {
        let components = document.components.get_or_insert_default();
        for (name, _, when) in REFUSALS {
            components.responses.insert((*name).to_owned(), refusal(when).into());
        }
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The admin key.")).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKeyValue::with_description("X-Admin-Key", "The admin key.");
        components.add_security_scheme("adminKey", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// The document, of every route that there may be.
pub fn document() -> Described {
    let all = OpenApiRouter::with_openapi(Document::openapi());
    all.merge(open_admin_routes()).merge(metrics_routes()).merge(operators_routes()).into_openapi()
}

/// As it is answered and committed; it is put together once.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
    // What has just been put together out of texts can be written.
    let text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    Bytes::from(text + "\n")
});

/// This document
#[utoipa::path(
    get,
    path = "/_miroir/openapi.json",
    operation_id = "openapi",
    tag = "instance",
    responses(
        (status = 200, description = "An OpenAPI 3.1 document.", body = Object, content_type = "application/json"),
        Refused,
    ),
)]
pub async fn openapi() -> Response {
    json(StatusCode::OK, TEXT.clone())
}

//! `/indexes/{uid}/documents`.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use miroir_cluster::{Answer, BrowseRequest, Deletion, Ingest, Pages};
use miroir_core::access::Grant;
use miroir_core::base::error::Code;
use miroir_core::document::Format;

use super::body::Payload;
use super::error::Failure;
use super::observe::undertaken;
use super::versions::AtLeast;
use super::{Shared, answered, index_uid};

pub async fn replace(
    cluster: State<Shared>,
    grant: Extension<Grant>,
    path: Path<String>,
    query: RawQuery,
    payload: Payload,
) -> Result<Response, Failure> {
    add(cluster, grant, path, query, payload, Method::POST).await
}

pub async fn merge(
    cluster: State<Shared>,
    grant: Extension<Grant>,
    path: Path<String>,
    query: RawQuery,
    payload: Payload,
) -> Result<Response, Failure> {
    add(cluster, grant, path, query, payload, Method::PUT).await
}

async fn add(
    State(cluster): State<Shared>,
    Extension(grant): Extension<Grant>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    payload: Payload,
    method: Method,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let options = Options::read(query.as_deref().unwrap_or_default())?;
    let format = format(payload.headers(), options.csv_delimiter.as_deref())?;
    let (body, reserved) = payload.documents().await?;
    let ingest = Ingest {
        method,
        body,
        format,
        primary_key: options.primary_key,
        skip_creation: options.skip_creation,
        may_create: grant.may_create(uid.as_str()),
        custom_metadata: options.custom_metadata,
        reserved,
    };
    let taken = undertaken(&cluster, move |_, writer| async move { writer.ingest(&uid, ingest).await });
    Ok(answered(StatusCode::ACCEPTED, taken.await?))
}

/// The query parameters of an addition.
#[derive(Default)]
struct Options {
    primary_key: Option<String>,
    csv_delimiter: Option<String>,
    skip_creation: bool,
    custom_metadata: Option<String>,
}

impl Options {
    fn read(query: &str) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "primaryKey" => options.primary_key = Some(value),
                "csvDelimiter" => options.csv_delimiter = Some(value),
                "skipCreation" => {
                    options.skip_creation = value.parse().map_err(|_| {
                        let message = format!("skipCreation must be either `true` or `false`. Found: `{value}`");
                        Failure::new(Code::InvalidSkipCreation, message)
                    })?;
                }
                "customMetadata" => options.custom_metadata = Some(value),
                unknown => {
                    let message = format!(
                        "Unknown parameter `{unknown}`: expected one of `primaryKey`, `csvDelimiter`, `customMetadata`, `skipCreation`"
                    );
                    return Err(Failure::new(Code::BadRequest, message));
                }
            }
        }
        Ok(options)
    }
}

/// The format that `Content-Type` names.
fn format(headers: &HeaderMap, delimiter: Option<&str>) -> Result<Format, Failure> {
    const ACCEPTED: &str = "`application/json`, `application/x-ndjson`, `text/csv`";
    let Some(content_type) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        let message =
            format!("A Content-Type header is missing. Accepted values for the Content-Type header are: {ACCEPTED}");
        return Err(Failure::new(Code::MissingContentType, message));
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match essence.as_str() {
        "application/json" => Format::Json,
        "application/x-ndjson" => Format::Ndjson,
        "text/csv" => return Ok(Format::Csv { delimiter: csv_delimiter(delimiter)? }),
        _ => {
            let message = format!(
                "The Content-Type `{content_type}` is invalid. Accepted values for the Content-Type header are: {ACCEPTED}"
            );
            return Err(Failure::new(Code::InvalidContentType, message));
        }
    };
    if delimiter.is_some() {
        let message = format!(
            "The Content-Type `{essence}` does not support the use of a csv delimiter. The csv delimiter can only be used with the Content-Type `text/csv`."
        );
        return Err(Failure::new(Code::InvalidContentType, message));
    }
    Ok(format)
}

fn csv_delimiter(text: Option<&str>) -> Result<u8, Failure> {
    match text.unwrap_or(",").as_bytes() {
        [delimiter] if delimiter.is_ascii() => Ok(*delimiter),
        _ => {
            let message = format!(
                "Invalid value in parameter `csvDelimiter`: expected a string of one ASCII character, but found: `{}`",
                text.unwrap_or_default()
            );
            Err(Failure::new(Code::InvalidDocumentCsvDelimiter, message))
        }
    }
}

pub async fn get(
    State(cluster): State<Shared>,
    AtLeast(floor): AtLeast,
    Path((uid, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    Ok(answered(StatusCode::OK, cluster.reads.document(&uid, &id, query.as_deref().unwrap_or_default(), floor?).await?))
}

pub async fn list(
    State(cluster): State<Shared>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let request = BrowseRequest::from_query(query.as_deref().unwrap_or_default());
    Ok(page(cluster.reads.browse(&uid, request, floor?).await?))
}

pub async fn fetch(
    State(cluster): State<Shared>,
    AtLeast(floor): AtLeast,
    Path(uid): Path<String>,
    mut payload: Payload,
) -> Result<Response, Failure> {
    let uid = index_uid(&uid)?;
    let body = payload.json().await?;
    Ok(page(cluster.reads.browse(&uid, BrowseRequest::from_body(&body), floor?).await?))
}

/// A page of documents, at once or as it comes. Nothing is read any more for a client that has left.
fn page(pages: Pages) -> Response {
    match pages {
        Pages::Whole(answer) => answered(StatusCode::OK, answer),
        Pages::InPieces { degraded, text } => {
            let mut response = answered(StatusCode::OK, Answer { body: Bytes::new(), degraded });
            *response.body_mut() = Body::from_stream(text);
            response
        }
    }
}

pub async fn delete(
    State(cluster): State<Shared>,
    Path((uid, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    remove(&cluster, &uid, query, Deletion::One(id)).await
}

pub async fn clear(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    remove(&cluster, &uid, query, Deletion::All).await
}

pub async fn delete_batch(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    mut payload: Payload,
) -> Result<Response, Failure> {
    index_uid(&uid)?;
    let body = payload.json().await?;
    remove(&cluster, &uid, query, Deletion::Batch(body)).await
}

pub async fn delete_by_filter(
    State(cluster): State<Shared>,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    mut payload: Payload,
) -> Result<Response, Failure> {
    index_uid(&uid)?;
    let body = payload.json().await?;
    remove(&cluster, &uid, query, Deletion::Filter(body)).await
}

async fn remove(cluster: &Shared, uid: &str, query: Option<String>, deletion: Deletion) -> Result<Response, Failure> {
    let uid = index_uid(uid)?;
    let metadata = only_custom_metadata(query.as_deref().unwrap_or_default())?;
    let deleted =
        undertaken(cluster, move |_, writer| async move { writer.delete_documents(&uid, deletion, metadata).await });
    Ok(answered(StatusCode::ACCEPTED, deleted.await?))
}

/// `?customMetadata=`, where nothing else is taken.
pub(super) fn only_custom_metadata(query: &str) -> Result<Option<String>, Failure> {
    let mut metadata = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "customMetadata" {
            let message = format!("Unknown parameter `{name}`: expected one of `customMetadata`");
            return Err(Failure::new(Code::BadRequest, message));
        }
        metadata = Some(value.into_owned());
    }
    Ok(metadata)
}

//! Meilisearch's error object, and the mapping from engine errors to its codes.
//!
//! Every error that leaves a node, in a response or inside a task, is an [`ApiError`].

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use milli_core::{Error as EngineError, UserError};
use serde::{Deserialize, Serialize};

/// An error as a client of a node sees it: `message`, `code`, `type`, `link`, and the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong, in words.
    pub message: String,
    /// Meilisearch's stable code, as `index_not_found`.
    pub code: String,
    /// `invalid_request`, `auth`, `internal` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the code is documented.
    pub link: String,
    /// The HTTP status when the error is the answer itself; not part of the object.
    #[serde(skip, default = "internal_status")]
    pub status: u16,
}

/// A result whose error is an answer.
pub type ApiResult<T> = Result<T, ApiError>;

fn internal_status() -> u16 {
    500
}

impl ApiError {
    /// An error with `code`; type and status follow from the code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let (kind, status) = kind_and_status(code);
        Self {
            message: message.into(),
            code: code.to_owned(),
            kind: kind.to_owned(),
            link: format!("https://docs.meilisearch.com/errors#{code}"),
            status,
        }
    }

    /// A fault of the node itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("internal", message)
    }

    /// The index `uid` does not exist.
    pub fn index_not_found(uid: &str) -> Self {
        Self::new("index_not_found", format!("Index `{uid}` not found."))
    }

    /// The same error under another code.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        Self::new(code, self.message)
    }

    /// The same error, its message preceded by `prefix`.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}{}", self.message);
        self
    }

    /// An engine error that arose while working on the index `uid`.
    pub fn in_index(uid: &str, error: EngineError) -> Self {
        let prefix = format!("Index `{uid}`: ");
        Self::from(error).prefixed(&prefix)
    }
}

/// The type and HTTP status that Meilisearch gives each code.
fn kind_and_status(code: &str) -> (&'static str, u16) {
    match code {
        "index_not_found" | "document_not_found" | "task_not_found" => ("invalid_request", 404),
        "index_already_exists" => ("invalid_request", 409),
        "payload_too_large" => ("invalid_request", 413),
        "missing_content_type" | "invalid_content_type" | "unsupported_media_type" => ("invalid_request", 415),
        "missing_authorization_header" => ("auth", 401),
        "invalid_api_key" => ("auth", 403),
        "too_many_search_requests" => ("system", 503),
        "io_error" | "no_space_left_on_device" | "too_many_open_files" => ("system", 422),
        "internal" | "index_creation_failed" | "database_size_limit_reached" | "invalid_store_file" => {
            ("internal", 500)
        }
        "not_implemented" => ("invalid_request", 501),
        _ => ("invalid_request", 400),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = (self.status == 503).then_some((header::RETRY_AFTER, "10"));
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let json = (header::CONTENT_TYPE, "application/json");
        match retry {
            Some(retry) => (status, [json, retry], body).into_response(),
            None => (status, [json], body).into_response(),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::new(io_code(&error), error.to_string())
    }
}

fn io_code(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(5) => "io_error",
        Some(24) => "too_many_open_files",
        Some(28) => "no_space_left_on_device",
        _ => "internal",
    }
}

impl From<milli_core::heed::Error> for ApiError {
    fn from(error: milli_core::heed::Error) -> Self {
        Self::from(EngineError::from(error))
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let code = match &error {
            EngineError::InternalError(_) => "internal",
            EngineError::IoError(error) => io_code(error),
            EngineError::UserError(error) => user_code(error),
        };
        let message = match &error {
            // The engine of this node has other words for it than that of Meilisearch 1.50.
            EngineError::UserError(UserError::InvalidFilterExpression(expected, found)) => {
                let expected = expected.join(", ");
                format!("Invalid syntax for the filter parameter: `expected {expected}, found: {found}`.")
            }
            EngineError::UserError(_) | EngineError::InternalError(_) | EngineError::IoError(_) => error.to_string(),
        };
        Self::new(code, message)
    }
}

fn user_code(error: &UserError) -> &'static str {
    use UserError as U;
    match error {
        U::SerdeJson(_) | U::EnvAlreadyOpened | U::DocumentLimitReached | U::UnknownInternalDocumentId { .. } => {
            "internal"
        }
        U::InvalidStoreFile => "invalid_store_file",
        U::NoSpaceLeftOnDevice => "no_space_left_on_device",
        U::MaxDatabaseSizeReached => "database_size_limit_reached",
        U::AttributeLimitReached => "max_fields_limit_exceeded",
        U::InvalidFilter(_) | U::InvalidFilterExpression(..) | U::FilterOperatorNotAllowed { .. } => {
            "invalid_search_filter"
        }
        U::MissingDocumentId { .. } => "missing_document_id",
        U::InvalidDocumentId { .. } | U::TooManyDocumentIds { .. } => "invalid_document_id",
        U::MissingDocumentField(_) => "invalid_document_fields",
        U::InvalidFieldForSource { .. }
        | U::MissingFieldForSource { .. }
        | U::InvalidOpenAiModel { .. }
        | U::InvalidOpenAiModelDimensions { .. }
        | U::InvalidOpenAiModelDimensionsMax { .. }
        | U::InvalidSettingsDimensions { .. }
        | U::InvalidUrl { .. }
        | U::InvalidSettingsDocumentTemplateMaxBytes { .. }
        | U::InvalidPrompt(_)
        | U::InvalidDisableBinaryQuantization { .. }
        | U::InvalidSourceForNested { .. }
        | U::MissingSourceForNested { .. }
        | U::InvalidSettingsEmbedder { .. }
        | U::TooManyEmbedders(_)
        | U::InvalidPromptForEmbeddings(..) => "invalid_settings_embedders",
        U::NoPrimaryKeyCandidateFound => "index_primary_key_no_candidate_found",
        U::MultiplePrimaryKeyCandidatesFound { .. } => "index_primary_key_multiple_candidates_found",
        U::PrimaryKeyCannotBeChanged(_) => "index_primary_key_already_exists",
        U::InvalidDistinctAttribute { .. } => "invalid_search_distinct",
        U::InvalidFacetsDistribution { .. } => "invalid_search_facets",
        U::SortRankingRuleMissing | U::InvalidSortableAttribute { .. } | U::SortError(_) => "invalid_search_sort",
        U::InvalidSearchableAttribute { .. } => "invalid_search_attributes_to_search_on",
        U::InvalidFacetSearchFacetName { .. } => "invalid_facet_search_facet_name",
        U::CriterionError(_) => "invalid_settings_ranking_rules",
        U::InvalidGeoField(_) => "invalid_document_geo_field",
        U::InvalidVectorDimensions { .. } | U::InvalidIndexingVectorDimensions { .. } => "invalid_vector_dimensions",
        U::InvalidVectorsMapType { .. } | U::InvalidVectorsEmbedderConf { .. } => "invalid_vectors_type",
        U::TooManyVectors(..) => "too_many_vectors",
        U::InvalidMinTypoWordLenSetting(..) => "invalid_settings_typo_tolerance",
        U::InvalidSearchEmbedder(_) => "invalid_search_embedder",
        U::InvalidSimilarEmbedder(_) => "invalid_similar_embedder",
        U::VectorEmbeddingError(_) | U::DocumentEmbeddingError(_) => "vector_embedding_error",
        U::DocumentEditionCannotModifyPrimaryKey
        | U::DocumentEditionDocumentMustBeObject
        | U::DocumentEditionRuntimeError(_)
        | U::DocumentEditionCompilationError(_) => "edit_documents_by_function_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_type_and_status() {
        let error = ApiError::index_not_found("a");
        assert_eq!((error.kind.as_str(), error.status), ("invalid_request", 404));
        assert_eq!(ApiError::new("invalid_api_key", "").status, 403);
        assert_eq!(ApiError::new("invalid_search_limit", "").status, 400);
    }

    #[test]
    fn the_object_has_meilisearchs_four_members() {
        let json = serde_json::to_value(ApiError::index_not_found("a")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "message": "Index `a` not found.",
                "code": "index_not_found",
                "type": "invalid_request",
                "link": "https://docs.meilisearch.com/errors#index_not_found",
            })
        );
    }

    #[test]
    fn engine_errors_keep_their_codes() {
        let error = ApiError::from(EngineError::UserError(UserError::NoPrimaryKeyCandidateFound));
        assert_eq!(error.code, "index_primary_key_no_candidate_found");
    }
}

//! The error vocabulary that clients see: Meilisearch's shape, Meilisearch's codes, and the few of ours.

use serde::{Deserialize, Deserializer, Serialize};

use crate::base::text::shown;

/// An error as Meilisearch writes it, in answers and in tasks. Also holds what a node answered, unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For people. Of a node's no more than can be of use.
    #[serde(deserialize_with = "of_a_node")]
    pub message: String,
    /// For programs, for example `index_not_found`.
    pub code: String,
    /// `invalid_request`, `auth`, `internal` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the code is documented.
    pub link: String,
}

/// Bytes of a message as clients see it: whatever of theirs it quotes, it quotes no more. Meilisearch shortens at 16 KiB what
/// it quotes of documents.
pub const MAX_MESSAGE: usize = 32 * 1024;
/// Bytes of a node's message. It may quote what was added to the client's request, which is taken out later.
const MAX_MESSAGE_OF_NODE: usize = 256 * 1024;

fn of_a_node<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let message = String::deserialize(deserializer)?;
    Ok(shown(&message, MAX_MESSAGE_OF_NODE).into_owned())
}

impl ErrorBody {
    /// The error of this code with this message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            message: if message.len() > MAX_MESSAGE { shown(&message, MAX_MESSAGE).into_owned() } else { message },
            code: code.name().into(),
            kind: code.kind().into(),
            link: format!("https://docs.meilisearch.com/errors#{}", code.name()),
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal, $kind:literal;)*) => {
        /// Every error code that Miroir itself produces. Codes of nodes are passed on as [`ErrorBody`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the table below says it all
        pub enum Code { $($variant),* }

        impl Code {
            /// All of them, for tables and tests.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// As it stands in `code`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// The HTTP status that carries it.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            /// As it stands in `type`.
            pub fn kind(self) -> &'static str {
                match self { $(Code::$variant => $kind),* }
            }
        }
    };
}

codes! {
    // Meilisearch's
    BadRequest = "bad_request", 400, "invalid_request";
    Internal = "internal", 500, "internal";
    PayloadTooLarge = "payload_too_large", 413, "invalid_request";
    MissingPayload = "missing_payload", 400, "invalid_request";
    MalformedPayload = "malformed_payload", 400, "invalid_request";
    MissingContentType = "missing_content_type", 415, "invalid_request";
    InvalidContentType = "invalid_content_type", 415, "invalid_request";
    InvalidDocumentCsvDelimiter = "invalid_document_csv_delimiter", 400, "invalid_request";
    InvalidSkipCreation = "invalid_skip_creation", 400, "invalid_request";
    MissingAuthorizationHeader = "missing_authorization_header", 401, "auth";
    InvalidApiKey = "invalid_api_key", 403, "auth";
    MissingMasterKey = "missing_master_key", 401, "auth";
    ApiKeyNotFound = "api_key_not_found", 404, "invalid_request";
    ApiKeyAlreadyExists = "api_key_already_exists", 409, "invalid_request";
    MissingApiKeyActions = "missing_api_key_actions", 400, "invalid_request";
    MissingApiKeyIndexes = "missing_api_key_indexes", 400, "invalid_request";
    MissingApiKeyExpiresAt = "missing_api_key_expires_at", 400, "invalid_request";
    InvalidApiKeyActions = "invalid_api_key_actions", 400, "invalid_request";
    InvalidApiKeyIndexes = "invalid_api_key_indexes", 400, "invalid_request";
    InvalidApiKeyExpiresAt = "invalid_api_key_expires_at", 400, "invalid_request";
    InvalidApiKeyName = "invalid_api_key_name", 400, "invalid_request";
    InvalidApiKeyDescription = "invalid_api_key_description", 400, "invalid_request";
    InvalidApiKeyUid = "invalid_api_key_uid", 400, "invalid_request";
    InvalidApiKeyOffset = "invalid_api_key_offset", 400, "invalid_request";
    InvalidApiKeyLimit = "invalid_api_key_limit", 400, "invalid_request";
    ImmutableApiKeyUid = "immutable_api_key_uid", 400, "invalid_request";
    ImmutableApiKeyActions = "immutable_api_key_actions", 400, "invalid_request";
    ImmutableApiKeyIndexes = "immutable_api_key_indexes", 400, "invalid_request";
    ImmutableApiKeyExpiresAt = "immutable_api_key_expires_at", 400, "invalid_request";
    ImmutableApiKeyCreatedAt = "immutable_api_key_created_at", 400, "invalid_request";
    ImmutableApiKeyUpdatedAt = "immutable_api_key_updated_at", 400, "invalid_request";
    IndexScopedApiKeyWithGlobalAction = "index_scoped_api_key_with_global_action", 400, "invalid_request";
    IndexNotFound = "index_not_found", 404, "invalid_request";
    IndexAlreadyExists = "index_already_exists", 409, "invalid_request";
    IndexPrimaryKeyAlreadyExists = "index_primary_key_already_exists", 400, "invalid_request";
    IndexPrimaryKeyNoCandidateFound = "index_primary_key_no_candidate_found", 400, "invalid_request";
    IndexPrimaryKeyMultipleCandidatesFound = "index_primary_key_multiple_candidates_found", 400, "invalid_request";
    InvalidIndexUid = "invalid_index_uid", 400, "invalid_request";
    MissingIndexUid = "missing_index_uid", 400, "invalid_request";
    InvalidSwapIndexes = "invalid_swap_indexes", 400, "invalid_request";
    InvalidSwapRename = "invalid_swap_rename", 400, "invalid_request";
    InvalidSwapDuplicateIndexFound = "invalid_swap_duplicate_index_found", 400, "invalid_request";
    MissingSwapIndexes = "missing_swap_indexes", 400, "invalid_request";
    InvalidIndexPrimaryKey = "invalid_index_primary_key", 400, "invalid_request";
    InvalidIndexOffset = "invalid_index_offset", 400, "invalid_request";
    InvalidIndexLimit = "invalid_index_limit", 400, "invalid_request";
    DocumentNotFound = "document_not_found", 404, "invalid_request";
    MissingDocumentId = "missing_document_id", 400, "invalid_request";
    InvalidDocumentId = "invalid_document_id", 400, "invalid_request";
    InvalidDocumentGeoField = "invalid_document_geo_field", 400, "invalid_request";
    InvalidVectorsType = "invalid_vectors_type", 400, "invalid_request";
    InvalidVectorDimensions = "invalid_vector_dimensions", 400, "invalid_request";
    VectorEmbeddingError = "vector_embedding_error", 400, "invalid_request";
    InvalidDocumentOffset = "invalid_document_offset", 400, "invalid_request";
    InvalidDocumentLimit = "invalid_document_limit", 400, "invalid_request";
    InvalidDocumentFields = "invalid_document_fields", 400, "invalid_request";
    InvalidDocumentFilter = "invalid_document_filter", 400, "invalid_request";
    InvalidMultiSearchFederationOptions = "invalid_multi_search_federation_options", 400, "invalid_request";
    InvalidDocumentSort = "invalid_document_sort", 400, "invalid_request";
    InvalidSearchDistinct = "invalid_search_distinct", 400, "invalid_request";
    InvalidFacetSearchFacetName = "invalid_facet_search_facet_name", 400, "invalid_request";
    InvalidSearchFilter = "invalid_search_filter", 400, "invalid_request";
    InvalidSimilarFilter = "invalid_similar_filter", 400, "invalid_request";
    InvalidSimilarId = "invalid_similar_id", 400, "invalid_request";
    NotFoundSimilarId = "not_found_similar_id", 400, "invalid_request";
    MissingDocumentFilter = "missing_document_filter", 400, "invalid_request";
    TaskNotFound = "task_not_found", 404, "invalid_request";
    TaskFileNotFound = "task_file_not_found", 404, "invalid_request";
    InvalidDocumentEditionContext = "invalid_document_edition_context", 400, "invalid_request";
    InvalidDocumentEditionFunction = "invalid_document_edition_function_filter", 400, "invalid_request";
    MissingDocumentEditionFunction = "missing_document_edition_function", 400, "invalid_request";
    BatchNotFound = "batch_not_found", 404, "invalid_request";
    MissingTaskFilters = "missing_task_filters", 400, "invalid_request";
    FeatureNotEnabled = "feature_not_enabled", 400, "invalid_request";
    InvalidWebhooks = "invalid_webhooks", 400, "invalid_request";
    InvalidWebhookUrl = "invalid_webhook_url", 400, "invalid_request";
    InvalidWebhookHeaders = "invalid_webhook_headers", 400, "invalid_request";
    InvalidWebhookUuid = "invalid_webhook_uuid", 400, "invalid_request";
    ImmutableWebhook = "immutable_webhook", 400, "invalid_request";
    ImmutableWebhookUuid = "immutable_webhook_uuid", 400, "invalid_request";
    ImmutableWebhookIsEditable = "immutable_webhook_is_editable", 400, "invalid_request";
    WebhookNotFound = "webhook_not_found", 404, "invalid_request";
    InvalidTaskUids = "invalid_task_uids", 400, "invalid_request";
    InvalidTaskStatuses = "invalid_task_statuses", 400, "invalid_request";
    InvalidTaskTypes = "invalid_task_types", 400, "invalid_request";
    InvalidTaskLimit = "invalid_task_limit", 400, "invalid_request";
    InvalidTaskFrom = "invalid_task_from", 400, "invalid_request";
    InvalidTaskReverse = "invalid_task_reverse", 400, "invalid_request";
    InvalidBatchUids = "invalid_batch_uids", 400, "invalid_request";
    InvalidTaskCanceledBy = "invalid_task_canceled_by", 400, "invalid_request";
    InvalidTaskBeforeEnqueuedAt = "invalid_task_before_enqueued_at", 400, "invalid_request";
    InvalidTaskBeforeStartedAt = "invalid_task_before_started_at", 400, "invalid_request";
    InvalidTaskBeforeFinishedAt = "invalid_task_before_finished_at", 400, "invalid_request";
    InvalidTaskAfterEnqueuedAt = "invalid_task_after_enqueued_at", 400, "invalid_request";
    InvalidTaskAfterStartedAt = "invalid_task_after_started_at", 400, "invalid_request";
    InvalidTaskAfterFinishedAt = "invalid_task_after_finished_at", 400, "invalid_request";
    DynamicSearchRuleNotFound = "dynamic_search_rule_not_found", 404, "invalid_request";
    InvalidDynamicSearchRuleOffset = "invalid_dynamic_search_rule_offset", 400, "invalid_request";
    InvalidDynamicSearchRuleLimit = "invalid_dynamic_search_rule_limit", 400, "invalid_request";
    InvalidDynamicSearchRuleFilter = "invalid_dynamic_search_rule_filter", 400, "invalid_request";
    InvalidDynamicSearchRuleFilterQuery = "invalid_dynamic_search_rule_filter_query", 400, "invalid_request";
    InvalidDynamicSearchRuleFilterActive = "invalid_dynamic_search_rule_filter_active", 400, "invalid_request";
    InvalidDynamicSearchRuleDescription = "invalid_dynamic_search_rule_description", 400, "invalid_request";
    InvalidDynamicSearchRulePriority = "invalid_dynamic_search_rule_priority", 400, "invalid_request";
    InvalidDynamicSearchRuleActive = "invalid_dynamic_search_rule_active", 400, "invalid_request";
    InvalidDynamicSearchRuleConditions = "invalid_dynamic_search_rule_conditions", 400, "invalid_request";
    InvalidDynamicSearchRuleActions = "invalid_dynamic_search_rule_actions", 400, "invalid_request";
    // ours
    MiroirPrimaryKeyRequired = "miroir_primary_key_required", 400, "invalid_request";
    MiroirReservedField = "miroir_reserved_field", 400, "invalid_request";
    MiroirFilterTooLong = "miroir_filter_too_long", 400, "invalid_request";
    MiroirInvalidHeader = "miroir_invalid_header", 400, "invalid_request";
    MiroirInvalidAuth = "miroir_invalid_auth", 401, "auth";
    MiroirNodeNotFound = "miroir_node_not_found", 404, "invalid_request";
    MiroirReplicaGroupNotFound = "miroir_replica_group_not_found", 404, "invalid_request";
    MiroirNodeUnfit = "miroir_node_unfit", 400, "invalid_request";
    MiroirConflict = "miroir_conflict", 409, "invalid_request";
    MiroirUnsupported = "miroir_unsupported", 501, "invalid_request";
    MiroirNoQuorum = "miroir_no_quorum", 503, "system";
    MiroirShardUnavailable = "miroir_shard_unavailable", 503, "system";
    MiroirSettingsVersionStale = "miroir_settings_version_stale", 503, "system";
    MiroirSettingsFrozen = "miroir_settings_frozen", 503, "system";
    MiroirStoreUnavailable = "miroir_store_unavailable", 503, "system";
    MiroirOverloaded = "miroir_overloaded", 503, "system";
}

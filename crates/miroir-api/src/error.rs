//! What a refusal says.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error in Meilisearch's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// For people.
    pub message: String,
    /// For programs, for example `index_not_found`; those of Miroir's own begin with `miroir_`.
    pub code: String,
    /// `invalid_request`, `auth`, `internal` or `system`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the code is documented.
    pub link: String,
}

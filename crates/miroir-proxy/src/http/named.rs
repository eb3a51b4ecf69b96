//! What a path names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use miroir_core::base::error::Code;

use super::Shared;
use super::error::Failure;

/// The first parameter of a path, decoded.
pub struct Named(pub String);

impl FromRequestParts<Shared> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, cluster: &Shared) -> Result<Self, Failure> {
        let named = Path::<Vec<(String, String)>>::from_request_parts(parts, cluster).await;
        let first = named.ok().and_then(|Path(named)| named.into_iter().next());
        first.map(|(_, value)| Self(value)).ok_or_else(|| Failure::new(Code::BadRequest, "The path is not UTF-8."))
    }
}

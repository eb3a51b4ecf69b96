//! What a path of the admin API names.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use miroir_core::error::Code;

use super::Shared;
use super::error::Failure;

/// The one parameter of a path, decoded.
pub struct Named(pub String);

impl FromRequestParts<Shared> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, cluster: &Shared) -> Result<Self, Failure> {
        let named = Path::<String>::from_request_parts(parts, cluster).await;
        named.map(|Path(name)| Self(name)).map_err(|_| Failure::new(Code::BadRequest, "The path is not UTF-8."))
    }
}

//! The one table that speaks HTTP: errors as Meilisearch words them.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use miroir_cluster::Error;
use miroir_core::access::Refusal;
use miroir_core::base::error::{Code, ErrorBody, MAX_MESSAGE};
use miroir_core::base::id::InvalidIndexUid;
use miroir_core::base::text::shown;
use miroir_core::document::SplitError;
use miroir_core::membership::transition::Refused;
use miroir_core::settings::InvalidFloor;

use super::json;

/// An error on its way to a client.
#[derive(Debug)]
pub struct Failure {
    status: u16,
    body: ErrorBody,
    retry_after_s: Option<u32>,
}

/// The status of a request that did not arrive in time. Meilisearch has no code for it.
const REQUEST_TIMEOUT: u16 = 408;
/// Seconds after which an overloaded instance may be asked again.
const RETRY_AFTER_S: u32 = 10;

impl Failure {
    /// The failure of this code with this message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), body: ErrorBody::new(code, message), retry_after_s: None }
    }

    /// Too much at once; the client should come back later.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(RETRY_AFTER_S), ..Self::new(Code::MiroirOverloaded, message) }
    }

    fn of(body: ErrorBody) -> Self {
        let known = Code::ALL.iter().find(|code| code.name() == body.code);
        Self { status: known.map_or(400, |code| code.status()), body, retry_after_s: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::IndexNotFound(_) => Self::new(Code::IndexNotFound, text),
            Error::Refused { status, body } => Self { status, body, retry_after_s: None },
            Error::Invalid(body) => Self::of(body),
            Error::Documents(error) => Self::from(error),
            Error::NoQuorum { .. } => Self::new(Code::MiroirNoQuorum, text),
            Error::Frozen { .. } => Self::new(Code::MiroirSettingsFrozen, text),
            Error::ShardUnavailable { .. } => Self::new(Code::MiroirShardUnavailable, text),
            Error::NotHeld { .. } => Self::new(Code::MiroirSettingsVersionStale, text),
            Error::Membership(why) => Self::new(membership(&why), sentence(&text)),
            Error::Store(source) => {
                tracing::error!(error = %source, "the store failed");
                Self::new(Code::MiroirStoreUnavailable, "The store is unavailable; nothing was acknowledged.")
            }
            Error::IndexLockLost | Error::Isolated { .. } => Self::new(Code::MiroirStoreUnavailable, text),
            Error::Overloaded(_) | Error::ClientLeft => Self::overloaded(text),
            Error::ReplyTooLarge { .. } => Self::new(Code::BadRequest, text),
            Error::TooLarge { .. } => Self::new(Code::PayloadTooLarge, text),
            Error::Encoding { .. } | Error::Body(_) => Self::new(Code::BadRequest, text),
            Error::SlowBody => Self { status: REQUEST_TIMEOUT, ..Self::new(Code::BadRequest, text) },
            Error::Answer { .. } | Error::Merge(_) | Error::Internal(_) => {
                tracing::error!(error = %text, "a request failed inside");
                Self::new(Code::Internal, "An internal error has occurred. The log says more.")
            }
        }
    }
}

/// Why the membership is not changed.
fn membership(why: &Refused) -> Code {
    match why {
        Refused::UnknownNode(_) => Code::MiroirNodeNotFound,
        Refused::UnknownGroup(_) => Code::MiroirReplicaGroupNotFound,
        Refused::BadGroup => Code::BadRequest,
        Refused::NoAnswer(_) | Refused::Elsewhere(_) | Refused::NotOurKey(_) | Refused::Unfit { .. } => {
            Code::MiroirNodeUnfit
        }
        Refused::UnderWay
        | Refused::DuplicateNode(_)
        | Refused::DuplicateAddress { .. }
        | Refused::DuplicateGroup(_)
        | Refused::LastReplica(_)
        | Refused::OnlyCopy { .. }
        | Refused::LastGroup(_)
        | Refused::AlreadyDraining(_)
        | Refused::NotDraining(_) => Code::MiroirConflict,
    }
}

/// A message begins with a capital letter and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str())
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::of(refusal.body())
    }
}

impl From<InvalidFloor> for Failure {
    fn from(error: InvalidFloor) -> Self {
        Self::of(error.body())
    }
}

impl From<SplitError> for Failure {
    fn from(error: SplitError) -> Self {
        Self::of(error.body())
    }
}

impl From<InvalidIndexUid> for Failure {
    fn from(error: InvalidIndexUid) -> Self {
        Self::new(Code::InvalidIndexUid, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = self.body;
        if body.message.len() > MAX_MESSAGE {
            body.message = shown(&body.message, MAX_MESSAGE).into_owned();
        }
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = json(status, body);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

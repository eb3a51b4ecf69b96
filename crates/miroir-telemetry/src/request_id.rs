//! The name of a request: the same in the client's answer, in the log, and in what nodes are asked for its sake.
//!
//! Invariant: a [`RequestId`] is at most [`MAX_BYTES`] long and consists of [visible characters](is_named_by) alone, so that
//! it can stand in a header and in a line of the log.

use std::future::Future;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use uuid::Uuid;

/// `X-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that a client may give.
const MAX_BYTES: usize = 128;

/// The name of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

tokio::task_local! {
    static CURRENT: RequestId;
}

/// What names are made of, those of common tracing systems among them.
fn is_named_by(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte)
}

impl RequestId {
    /// The name that a client gave, if it can be used; a new one else.
    pub fn given(header: Option<&HeaderValue>) -> Self {
        let text = header.and_then(|value| value.to_str().ok());
        let usable = |text: &&str| (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(is_named_by);
        text.filter(usable).map_or_else(Self::new, |text| Self(text.into()))
    }

    /// A name that no other request has.
    fn new() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the value of a header; `None` never happens, for what a name is made of can stand in one.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }

    /// The request for whose sake this task runs; `None` for the instance's own work.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// What goes on by itself is still done for the sake of the request that began it.
    pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
        let id = Self::current();
        async move {
            match id {
                Some(id) => id.scope(work).await,
                None => work.await,
            }
        }
    }

    /// Do something for the sake of this request.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &[u8]) -> RequestId {
        RequestId::given(Some(&HeaderValue::from_bytes(text).expect("a value")))
    }

    #[test]
    fn a_usable_name_is_kept_and_any_other_is_replaced() {
        for kept in ["a", "7f3c-11", "Root=1-67891233-abcdef012345678912345678", &"x".repeat(MAX_BYTES)] {
            assert_eq!(given(kept.as_bytes()).as_str(), kept);
        }
        let long = "x".repeat(MAX_BYTES + 1);
        for replaced in ["", " ", "a b", "a\"b", "a,b", "\u{e4}", "{}", long.as_str()] {
            let id = given(replaced.as_bytes());
            assert!(Uuid::parse_str(id.as_str()).is_ok(), "{replaced:?} became {id:?}");
        }
        assert_ne!(RequestId::given(None), RequestId::given(None));
        assert!(RequestId::given(None).header().is_some());
    }

    #[tokio::test]
    async fn work_knows_for_whose_sake_it_is_done() {
        assert_eq!(RequestId::current(), None);
        let id = given(b"seven");
        assert_eq!(id.clone().scope(async { RequestId::current() }).await, Some(id.clone()));
        let begin = || tokio::spawn(RequestId::carried(async { RequestId::current() }));
        let told = id.clone().scope(async { begin().await.expect("done") }).await;
        assert_eq!(told, Some(id));
    }
}

//! Webhooks: who is told of finished tasks, and how Meilisearch refuses those that cannot be told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::base::error::{Code, ErrorBody};
use crate::base::json::described;

/// The most webhooks there may be.
pub const MAX_WEBHOOKS: usize = 20;
/// The most headers of one.
const MAX_HEADERS: usize = 200;

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// What is sent with it.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Why a webhook was not made or changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)] // the messages say it
pub enum WebhookError {
    #[error("The URL for the webhook `{0}` is missing.")]
    MissingUrl(Uuid),
    #[error("Invalid URL `{0}`: {1}")]
    InvalidUrl(String, String),
    #[error(
        "Defining too many webhooks would crush the server. Please limit the number of webhooks to {MAX_WEBHOOKS}. You may use a third-party proxy server to dispatch events to more than {MAX_WEBHOOKS} endpoints."
    )]
    TooMany,
    #[error(
        "Too many headers for the webhook `{0}`. Please limit the number of headers to {MAX_HEADERS}. Hint: To remove an already defined header set its value to `null`"
    )]
    TooManyHeaders(Uuid),
    #[error("Invalid header name `{0}`: invalid HTTP header name")]
    InvalidHeaderName(String),
    #[error("Invalid header value `{0}`: failed to parse header value")]
    InvalidHeaderValue(String),
    #[error("Webhook `{0}` is immutable. The webhook defined from the command line cannot be modified using the API.")]
    Immutable(Uuid),
    #[error("Webhook `{0}` not found.")]
    NotFound(Uuid),
    #[error("Invalid UUID: {0}")]
    InvalidUuid(String),
    #[error("{message}")]
    Unreadable { code: Code, message: String },
}

impl WebhookError {
    /// As clients see it.
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::MissingUrl(_) | Self::InvalidUrl(..) => Code::InvalidWebhookUrl,
            Self::TooMany => Code::InvalidWebhooks,
            Self::TooManyHeaders(_) | Self::InvalidHeaderName(_) | Self::InvalidHeaderValue(_) => {
                Code::InvalidWebhookHeaders
            }
            Self::Immutable(_) => Code::ImmutableWebhook,
            Self::NotFound(_) => Code::WebhookNotFound,
            Self::InvalidUuid(_) => Code::InvalidWebhookUuid,
            Self::Unreadable { code, .. } => *code,
        };
        ErrorBody::new(code, self.to_string())
    }
}

/// What a client wants changed. The outer `None`: as it was; the inner: to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookPatch {
    url: Option<Option<String>>,
    headers: Option<Option<BTreeMap<String, Option<String>>>>,
}

impl WebhookPatch {
    /// The body of a request.
    ///
    /// # Errors
    /// Meilisearch's refusal of the first member that is wrong.
    pub fn read(body: &Value) -> Result<Self, WebhookError> {
        let Value::Object(members) = body else {
            let message = format!("Invalid value type: expected an object, but found {}", described(body));
            return Err(WebhookError::Unreadable { code: Code::BadRequest, message });
        };
        let mut patch = Self::default();
        for (name, value) in members {
            match name.as_str() {
                "url" => patch.url = Some(text(".url", value, Code::InvalidWebhookUrl)?),
                "headers" => patch.headers = Some(headers(value)?),
                "uuid" => return Err(immutable(name, Code::ImmutableWebhookUuid)),
                "isEditable" => return Err(immutable(name, Code::ImmutableWebhookIsEditable)),
                unknown => {
                    let message = format!("Unknown field `{unknown}`: expected one of `url`, `headers`");
                    return Err(WebhookError::Unreadable { code: Code::BadRequest, message });
                }
            }
        }
        Ok(patch)
    }

    /// A new webhook.
    ///
    /// # Errors
    /// When nobody could be told.
    pub fn create(self, uuid: Uuid) -> Result<Webhook, WebhookError> {
        let url = self.url.flatten().ok_or(WebhookError::MissingUrl(uuid))?;
        let headers = self.headers.flatten().unwrap_or_default();
        let headers = headers.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
        Webhook { url, headers }.checked(uuid)
    }

    /// The webhook as the client wants it.
    ///
    /// # Errors
    /// When nobody could be told.
    pub fn apply(self, uuid: Uuid, mut webhook: Webhook) -> Result<Webhook, WebhookError> {
        match self.url {
            Some(Some(url)) => webhook.url = url,
            Some(None) => return Err(WebhookError::MissingUrl(uuid)),
            None => {}
        }
        match self.headers {
            Some(Some(headers)) => {
                for (name, value) in headers {
                    match value {
                        Some(value) => webhook.headers.insert(name, value),
                        None => webhook.headers.remove(&name),
                    };
                }
            }
            Some(None) => webhook.headers.clear(),
            None => {}
        }
        webhook.checked(uuid)
    }
}

fn immutable(name: &str, code: Code) -> WebhookError {
    WebhookError::Unreadable { code, message: format!("Immutable field `{name}`: expected one of `url`, `headers`") }
}

fn text(at: &str, value: &Value, code: Code) -> Result<Option<String>, WebhookError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            let message = format!("Invalid value type at `{at}`: expected a string, but found {}", described(other));
            Err(WebhookError::Unreadable { code, message })
        }
    }
}

type Headers = BTreeMap<String, Option<String>>;

fn headers(value: &Value) -> Result<Option<Headers>, WebhookError> {
    const CODE: Code = Code::InvalidWebhookHeaders;
    let members: &Map<String, Value> = match value {
        Value::Null => return Ok(None),
        Value::Object(members) => members,
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let found = described(other);
            let message = format!("Invalid value type at `.headers`: expected an object, but found {found}");
            return Err(WebhookError::Unreadable { code: CODE, message });
        }
    };
    let one = |(name, value): (&String, &Value)| {
        text(&format!(".headers.{name}"), value, CODE).map(|value| (name.clone(), value))
    };
    members.iter().map(one).collect::<Result<Headers, _>>().map(Some)
}

impl Webhook {
    fn checked(self, uuid: Uuid) -> Result<Self, WebhookError> {
        if self.url.is_empty() {
            return Err(WebhookError::MissingUrl(uuid));
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(WebhookError::TooManyHeaders(uuid));
        }
        for (name, value) in &self.headers {
            if !is_token(name) {
                return Err(WebhookError::InvalidHeaderName(name.clone()));
            }
            if !value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
                return Err(WebhookError::InvalidHeaderValue(name.clone()));
            }
        }
        if let Err(error) = url::Url::parse(&self.url) {
            return Err(WebhookError::InvalidUrl(self.url, error.to_string()));
        }
        Ok(self)
    }

    /// As the API shows it: what is secret only by its beginning.
    pub fn view(&self, uuid: Uuid) -> Value {
        let shown = |(name, value): (&String, &String)| {
            let secret = name.eq_ignore_ascii_case("authorization");
            (name.clone(), Value::String(if secret { redacted(value) } else { value.clone() }))
        };
        let headers: Map<String, Value> = self.headers.iter().map(shown).collect();
        json!({ "uuid": uuid, "isEditable": !uuid.is_nil(), "url": self.url, "headers": headers })
    }
}

/// Letters, digits and what else RFC 9110 allows in a token.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn redacted(value: &str) -> String {
    let scheme = if value.starts_with("Bearer ") { "Bearer ".len() } else { 0 };
    let (shown, mask) = match value.len() - scheme {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    let end = (scheme + shown..=value.len()).find(|at| value.is_char_boundary(*at)).unwrap_or(value.len());
    format!("{}{mask}", value.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid::from_u128(7);

    fn create(body: Value) -> Result<Webhook, (String, String)> {
        let made = WebhookPatch::read(&body).and_then(|patch| patch.create(UUID));
        made.map_err(|error| (error.body().code, error.body().message))
    }

    #[test]
    fn secrets_show_their_beginning_only() {
        for (value, shown) in [
            ("Bearer abcdefghijkl", "Bearer abXXXX..."),
            ("short", "XXX..."),
            ("Bearer ", "Bearer XXX..."),
            ("abcdefghijklmnopqrstuvwxyz", "abcXXXXX..."),
            ("abcdefghijklmnopqrstuvwxyz0123456789", "abcdeXXXXXX..."),
            ("éééééééééé", "ééXXXXX..."),
        ] {
            assert_eq!(redacted(value), shown, "{value}");
        }
    }

    #[test]
    fn patches_change_headers_one_by_one() {
        let first = create(json!({ "url": "http://a/x", "headers": { "a": "1", "b": "2" } })).expect("valid");
        let patch = WebhookPatch::read(&json!({ "headers": { "a": null, "c": "3" } })).expect("valid");
        let second = patch.apply(UUID, first).expect("valid");
        assert_eq!(second.headers.keys().collect::<Vec<_>>(), ["b", "c"]);
        let patch = WebhookPatch::read(&json!({ "headers": null })).expect("valid");
        assert!(patch.apply(UUID, second.clone()).expect("valid").headers.is_empty());
        let gone = WebhookPatch::read(&json!({ "url": null })).expect("valid").apply(UUID, second);
        assert_eq!(gone, Err(WebhookError::MissingUrl(UUID)));
    }

    #[test]
    fn refusals_are_worded_as_by_meilisearch() {
        let url = "http://a/x";
        let cases = [
            (json!([]), "bad_request", "Invalid value type: expected an object, but found an array: `[]`"),
            (json!({ "foo": 1 }), "bad_request", "Unknown field `foo`: expected one of `url`, `headers`"),
            (
                json!({ "uuid": "x" }),
                "immutable_webhook_uuid",
                "Immutable field `uuid`: expected one of `url`, `headers`",
            ),
            (json!({ "url": "nope" }), "invalid_webhook_url", "Invalid URL `nope`: relative URL without a base"),
            (
                json!({ "url": url, "headers": { "bad name": "b" } }),
                "invalid_webhook_headers",
                "Invalid header name `bad name`: invalid HTTP header name",
            ),
            (
                json!({ "url": url, "headers": { "x": "b\n" } }),
                "invalid_webhook_headers",
                "Invalid header value `x`: failed to parse header value",
            ),
            (
                json!({ "url": url, "headers": { "x": 5 } }),
                "invalid_webhook_headers",
                "Invalid value type at `.headers.x`: expected a string, but found a positive integer: `5`",
            ),
        ];
        for (body, code, message) in cases {
            assert_eq!(create(body), Err((code.to_owned(), message.to_owned())));
        }
    }
}

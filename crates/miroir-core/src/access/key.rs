//! An API key: what it may do, where, and until when.

use std::fmt;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Action, IndexPattern};

/// An API key. Its value is not part of it: it follows from the master key and the uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Given by the client or random.
    pub uid: Uuid,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// As given, repetitions included.
    pub actions: Vec<Action>,
    /// As given, repetitions included.
    pub indexes: Vec<IndexPattern>,
    /// From then on it opens nothing.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// Listings begin with the latest.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When a client last changed it, or sent a change that changes nothing.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// What a client shows: HMAC-SHA256 of the hyphenated lowercase uid, keyed with the master key. Not to be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue([u8; 32]);

impl KeyValue {
    /// The value of the key of this uid.
    pub fn derive(master_key: &str, uid: Uuid) -> Self {
        let mut mac = hmac_of::<Hmac<Sha256>>(master_key.as_bytes());
        let mut text = Uuid::encode_buffer();
        mac.update(uid.hyphenated().encode_lower(&mut text).as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// What a client wrote, in hexadecimal digits of either case; `None` when it cannot be a value.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// In lowercase hexadecimal digits, as clients send it.
impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyValue(redacted)")
    }
}

/// HMAC takes keys of any length.
pub(super) fn hmac_of<M: Mac + hmac::digest::KeyInit>(key: &[u8]) -> M {
    match <M as Mac>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(hmac::digest::InvalidLength) => unreachable!("HMAC takes keys of any length"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    name: Option<&'a str>,
    description: Option<&'a str>,
    key: String,
    uid: Uuid,
    actions: &'a [Action],
    indexes: &'a [IndexPattern],
    expires_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl Key {
    /// The JSON text that clients get.
    pub fn view(&self, value: &KeyValue) -> String {
        let view = View {
            name: self.name.as_deref(),
            description: self.description.as_deref(),
            key: value.to_string(),
            uid: self.uid,
            actions: &self.actions,
            indexes: &self.indexes,
            expires_at: self.expires_at.map(timestamp),
            created_at: timestamp(self.created_at),
            updated_at: timestamp(self.updated_at),
        };
        // Writing strings and lists cannot fail; an empty object stands for the impossible.
        serde_json::to_string(&view).unwrap_or_else(|_| "{}".into())
    }

    /// Whether it may do `action`, on some index at least.
    pub fn may(&self, action: Action) -> bool {
        self.actions.iter().any(|held| held.grants(action))
    }

    /// Whether it is for this index.
    pub fn is_for(&self, index: &str) -> bool {
        self.indexes.iter().any(|pattern| pattern.matches(index))
    }

    /// Whether it is for all indexes.
    pub fn is_for_all(&self) -> bool {
        self.indexes.iter().any(IndexPattern::is_all)
    }

    /// Whether it opens nothing any more.
    pub fn is_expired(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// The keys that a server has from its first start, oldest first, each a moment younger than the one before.
    pub fn defaults(now: OffsetDateTime, uids: [Uuid; 4]) -> [Key; 4] {
        let mut age = 0;
        let mut make = |uid, name: &str, description: &str, actions: &[Action]| {
            let created_at = now + Duration::microseconds(age);
            age += 1;
            Key {
                uid,
                name: Some(name.into()),
                description: Some(description.into()),
                actions: actions.to_vec(),
                indexes: vec![IndexPattern::all()],
                expires_at: None,
                created_at,
                updated_at: created_at,
            }
        };
        let [chat, read_only, admin, search] = uids;
        [
            make(
                chat,
                "Default Chat API Key",
                "Use it to chat and search from the frontend",
                &[Action::ChatCompletions, Action::Search],
            ),
            make(
                read_only,
                "Default Read-Only Admin API Key",
                "Use it to read information across the whole database. Caution! Do not expose this key on a public frontend",
                &[Action::AllGet, Action::KeysGet],
            ),
            make(
                admin,
                "Default Admin API Key",
                "Use it for anything that is not a search operation. Caution! Do not expose it on a public frontend",
                &[Action::All],
            ),
            make(search, "Default Search API Key", "Use it to search from the frontend", &[Action::Search]),
        ]
    }
}

/// RFC 3339 with the offset that the client gave. Years that the format cannot write never come in.
fn timestamp(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

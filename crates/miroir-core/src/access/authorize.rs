//! Letting a request in, or saying why not.

use std::sync::Arc;

use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;

use super::rights::{Access, Indexes};
use super::{Action, Grant, Key, KeyRegistry, SearchRules, TokenError, token};
use crate::base::error::{Code, ErrorBody};

/// Why a request is not let in, in Meilisearch's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Nothing was shown, or not in the way it must be.
    #[error("The Authorization header is missing. It must use the bearer authorization method.")]
    MissingHeader,
    /// What was shown does not open this, for whatever reason.
    #[error("The provided API key is invalid.")]
    InvalidKey,
    /// Keys hang on a master key.
    #[error(
        "Meilisearch is running without a master key. To access this API endpoint, you must have set a master key at launch."
    )]
    MissingMasterKey,
    /// The key is not for this index. Whoever holds it may know what it is for.
    #[error("The API key cannot acces the index `{index}`, authorized indexes are {allowed:?}.")]
    ForeignIndex {
        /// The one asked for.
        index: String,
        /// Those of the key, ascending.
        allowed: Vec<String>,
    },
    /// The token is not for this index.
    #[error("The provided tenant token cannot acces the index `{index}`, allowed indexes are {allowed:?}.")]
    ForeignToToken {
        /// The one asked for.
        index: String,
        /// Those of the token, ascending.
        allowed: Vec<String>,
    },
    /// The key behind the token is not for this index. What it is for is not the token bearer's business.
    #[error("The API key used to generate this tenant token cannot acces the index `{index}`.")]
    ForeignToKeyOfToken {
        /// The one asked for.
        index: String,
    },
    /// The token's time is over.
    #[error("Tenant token expired. Was valid up to `{exp}` and we're now `{now}`.")]
    ExpiredToken {
        /// Its last second.
        exp: i64,
        /// The present one.
        now: i64,
    },
    /// The token cannot be read or was not signed with the key it names.
    #[error("Could not decode tenant token, {0}.")]
    BrokenToken(String),
}

impl Refusal {
    /// Whether a key that was made a moment ago, and is not known here yet, could make a difference.
    pub fn may_be_outdated(&self) -> bool {
        match self {
            Self::InvalidKey | Self::ForeignIndex { .. } | Self::ForeignToKeyOfToken { .. } | Self::BrokenToken(_) => {
                true
            }
            // What is shown says so itself.
            Self::MissingHeader | Self::MissingMasterKey | Self::ForeignToToken { .. } | Self::ExpiredToken { .. } => {
                false
            }
        }
    }

    /// As clients see it.
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            Self::MissingHeader => Code::MissingAuthorizationHeader,
            Self::MissingMasterKey => Code::MissingMasterKey,
            Self::InvalidKey
            | Self::ForeignIndex { .. }
            | Self::ForeignToToken { .. }
            | Self::ForeignToKeyOfToken { .. }
            | Self::ExpiredToken { .. }
            | Self::BrokenToken(_) => Code::InvalidApiKey,
        };
        ErrorBody::new(code, self.to_string())
    }
}

/// What an `Authorization` header shows; `None` without the header.
///
/// # Errors
/// When it is not of the bearer scheme, or shows nothing.
pub fn bearer(header: Option<&[u8]>) -> Result<Option<&str>, Refusal> {
    let Some(header) = header else { return Ok(None) };
    let text = std::str::from_utf8(header).unwrap_or_default();
    match text.split_once(' ') {
        Some(("Bearer", shown)) => Ok(Some(shown)),
        None if text == "Bearer" => Err(Refusal::InvalidKey),
        Some(_) | None => Err(Refusal::MissingHeader),
    }
}

/// Let a request in. `shown` is what [`bearer`] read; `index` the one in the path, if the right looks for it there.
///
/// # Errors
/// Why not.
pub fn authorize(
    registry: &KeyRegistry,
    shown: Option<&str>,
    access: &Access,
    index: Option<&str>,
    now: OffsetDateTime,
) -> Result<Grant, Refusal> {
    let (actions, indexes) = match access {
        Access::Open => return Ok(Grant::everything()),
        Access::Needs(actions, indexes) => (*actions, *indexes),
    };
    let mut granted = None;
    for action in actions {
        let request = Request { registry, shown, action: *action, indexes, index, now };
        let grant = request.grant().map_err(|refusal| match (refusal, shown) {
            _ if !registry.has_master_key() => Refusal::MissingMasterKey,
            (_, None) => Refusal::MissingHeader,
            (refusal, Some(_)) => refusal,
        })?;
        // All grants are of one key, hence the same.
        granted = Some(grant);
    }
    granted.ok_or(Refusal::InvalidKey)
}

struct Request<'a> {
    registry: &'a KeyRegistry,
    shown: Option<&'a str>,
    action: Action,
    indexes: Indexes,
    index: Option<&'a str>,
    now: OffsetDateTime,
}

impl Request<'_> {
    fn grant(&self) -> Result<Grant, Refusal> {
        let shown = self.shown.unwrap_or_default();
        let trusted =
            if self.registry.has_master_key() { self.registry.is_master_key(shown) } else { !self.manages_keys() };
        if trusted {
            return Ok(Grant::everything());
        }
        let (uid, rules) = match self.tenant_token(shown)? {
            Some((uid, rules)) => (uid, Some(rules)),
            None => (self.registry.uid_of(shown).ok_or(Refusal::InvalidKey)?, None),
        };
        let key = self.registry.get(uid).ok_or(Refusal::InvalidKey)?;
        if let Some(index) = self.index {
            refuse_foreign(index, key, rules.as_ref())?;
        }
        if self.opens(key) { Ok(Grant::of(Arc::clone(key), rules)) } else { Err(Refusal::InvalidKey) }
    }

    fn manages_keys(&self) -> bool {
        matches!(self.action, Action::KeysCreate | Action::KeysGet | Action::KeysUpdate | Action::KeysDelete)
    }

    /// The key and the rules of a tenant token; `None` when what is shown is none, or the action is not for tokens.
    fn tenant_token(&self, shown: &str) -> Result<Option<(Uuid, SearchRules)>, Refusal> {
        if !matches!(self.action, Action::Search | Action::ChatCompletions) {
            return Ok(None);
        }
        let refusal = |error: TokenError| match error {
            TokenError::NotAToken => None,
            TokenError::Expired { exp, now } => Some(Refusal::ExpiredToken { exp, now }),
            TokenError::Base64(_)
            | TokenError::Json(_)
            | TokenError::Algorithm
            | TokenError::Signature
            | TokenError::Audience => Some(Refusal::BrokenToken(error.to_string())),
        };
        let read = || -> Result<Option<(Uuid, SearchRules)>, TokenError> {
            let uid = token::unverified_key(shown)?;
            // Of a key that was deleted too: that it is gone is found later, when it cannot be told from a wrong one.
            let Some(value) = self.registry.value_of(uid) else { return Ok(None) };
            let claims = token::verify(shown, value.to_string().as_bytes(), self.now.unix_timestamp())?;
            Ok(Some((uid, claims.search_rules)))
        };
        match read() {
            Ok(token) => Ok(token),
            Err(error) => refusal(error).map_or(Ok(None), Err),
        }
    }

    /// The key may do the action here, now. Its index was found not to be foreign.
    fn opens(&self, key: &Key) -> bool {
        let somewhere = match self.indexes {
            Indexes::InPath => self.index.is_some(),
            Indexes::ByHandler => key.is_for_all() || !key.indexes.is_empty(),
            Indexes::Global => key.is_for_all(),
        };
        somewhere && key.may(self.action) && !key.is_expired(self.now)
    }
}

fn refuse_foreign(index: &str, key: &Key, rules: Option<&SearchRules>) -> Result<(), Refusal> {
    let index = index.to_owned();
    match rules {
        Some(rules) if !rules.allow(&index) => Err(Refusal::ForeignToToken { index, allowed: rules.listed() }),
        Some(_) if !key.is_for(&index) => Err(Refusal::ForeignToKeyOfToken { index }),
        None if !key.is_for(&index) => {
            let mut allowed: Vec<String> = key.indexes.iter().map(ToString::to_string).collect();
            allowed.sort_unstable();
            // Meilisearch keeps them as a set.
            allowed.dedup();
            Err(Refusal::ForeignIndex { index, allowed })
        }
        Some(_) | None => Ok(()),
    }
}

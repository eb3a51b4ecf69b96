//! Tenant tokens: JWTs that a backend signs with the value of one of its keys, to hand on less than the key may do.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Sha256, Sha384, Sha512};
use thiserror::Error;
use uuid::Uuid;

use super::IndexPattern;
use super::key::hmac_of;

/// What a token says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Where its bearer may search, and what they find there.
    pub search_rules: SearchRules,
    /// In seconds since 1970; at this second it is still valid.
    pub exp: Option<i64>,
    /// The key whose value signed it.
    pub api_key_uid: Uuid,
    /// A token for an audience is not for us.
    #[serde(default)]
    aud: Value,
}

/// Where a token's bearer may search.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum SearchRules {
    /// Everything in these indexes.
    Set(BTreeSet<IndexPattern>),
    /// What passes the rule of the most specific pattern.
    Map(BTreeMap<IndexPattern, Option<TokenFilter>>),
}

/// What a token's bearer finds in an index.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct TokenFilter {
    /// A filter in any form that a search takes.
    pub filter: Option<Value>,
}

/// Why a token opens nothing.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It has not the three parts of a token. It may be something else.
    #[error("not a token")]
    NotAToken,
    /// A part is not base64.
    #[error("Base64 error: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A part does not hold what it should.
    #[error("JSON error: {0}")]
    Json(#[from] serde_json::Error),
    /// It is signed in a way that is not accepted.
    #[error("InvalidAlgorithm")]
    Algorithm,
    /// It was not signed with this key.
    #[error("InvalidSignature")]
    Signature,
    /// It is for somebody else.
    #[error("InvalidAudience")]
    Audience,
    /// It was valid once.
    #[error("expired at {exp}, now is {now}")]
    Expired {
        /// The last second of its life.
        exp: i64,
        /// The present one.
        now: i64,
    },
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
}

/// The algorithms that tokens may name; those with a public key are known only to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Algorithm {
    HS256,
    HS384,
    HS512,
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

/// The parts of a token as they were sent.
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header and payload with their dot: what is signed.
    message: &'a str,
}

fn parts(token: &str) -> Result<Parts<'_>, TokenError> {
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::NotAToken)?;
    let (header, payload) = message.rsplit_once('.').ok_or(TokenError::NotAToken)?;
    Ok(Parts { header, payload, signature, message })
}

fn decoded<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

/// The key that a token says to be signed with. Nothing is checked but that it can be read.
///
/// # Errors
/// When it cannot be read.
pub fn unverified_key(token: &str) -> Result<Uuid, TokenError> {
    let parts = parts(token)?;
    decoded::<Header>(parts.header)?;
    Ok(decoded::<Claims>(parts.payload)?.api_key_uid)
}

/// The claims of a token that was signed with `secret` and is still valid at `now`, in seconds since 1970.
///
/// # Errors
/// Why it opens nothing.
pub fn verify(token: &str, secret: &[u8], now: i64) -> Result<Claims, TokenError> {
    let parts = parts(token)?;
    let algorithm = decoded::<Header>(parts.header)?.alg;
    let signature = URL_SAFE_NO_PAD.decode(parts.signature);
    let signed = |signature: Vec<u8>| match algorithm {
        Algorithm::HS256 => Some(is_signed::<Hmac<Sha256>>(secret, parts.message, &signature)),
        Algorithm::HS384 => Some(is_signed::<Hmac<Sha384>>(secret, parts.message, &signature)),
        Algorithm::HS512 => Some(is_signed::<Hmac<Sha512>>(secret, parts.message, &signature)),
        Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::EdDSA => None,
    };
    match signed(signature?) {
        None => return Err(TokenError::Algorithm),
        Some(false) => return Err(TokenError::Signature),
        Some(true) => {}
    }
    let claims: Claims = decoded(parts.payload)?;
    let is_audience = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    if claims.aud.is_string() || is_audience(&claims.aud) {
        return Err(TokenError::Audience);
    }
    match claims.exp {
        Some(exp) if now > exp => Err(TokenError::Expired { exp, now }),
        Some(_) | None => Ok(claims),
    }
}

/// Compares in constant time, whole signatures only.
fn is_signed<M: Mac + hmac::digest::KeyInit>(secret: &[u8], message: &str, signature: &[u8]) -> bool {
    let mut mac = hmac_of::<M>(secret);
    Mac::update(&mut mac, message.as_bytes());
    mac.verify_slice(signature).is_ok()
}

impl SearchRules {
    /// Whether the bearer may search the index at all.
    pub fn allow(&self, index: &str) -> bool {
        self.patterns().any(|pattern| pattern.matches(index))
    }

    /// Whether the pattern of all indexes is among them.
    pub fn allow_all(&self) -> bool {
        self.patterns().any(IndexPattern::is_all)
    }

    /// The filter of the most specific pattern that matches. It counts alone: a rule without filter lifts a wider one.
    pub fn filter_for(&self, index: &str) -> Option<&Value> {
        let Self::Map(rules) = self else { return None };
        let matching = rules.iter().filter(|(pattern, _)| pattern.matches(index));
        let (_, rule) = matching.max_by_key(|(pattern, _)| pattern.specificity())?;
        rule.as_ref()?.filter.as_ref()
    }

    /// Their patterns as text, ascending, as refusals list them.
    pub fn listed(&self) -> Vec<String> {
        self.patterns().map(ToString::to_string).collect()
    }

    fn patterns(&self) -> Box<dyn Iterator<Item = &IndexPattern> + '_> {
        match self {
            Self::Set(patterns) => Box::new(patterns.iter()),
            Self::Map(rules) => Box::new(rules.keys()),
        }
    }
}

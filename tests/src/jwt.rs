//! Tenant tokens, signed as a backend signs them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A token with HS256.
pub fn sign(claims: &Value, secret: &str) -> String {
    sign_with("HS256", claims, secret)
}

/// A token whose header names this algorithm; signed with HS256 when it is none of HMAC's.
pub fn sign_with(algorithm: &str, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({ "alg": algorithm, "typ": "JWT" })), part(claims));
    let signature = match algorithm {
        "HS384" => mac::<Hmac<Sha384>>(secret, &message),
        "HS512" => mac::<Hmac<Sha512>>(secret, &message),
        _ => mac::<Hmac<Sha256>>(secret, &message),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn mac<M: Mac + hmac::digest::KeyInit>(secret: &str, message: &str) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(secret.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    Mac::update(&mut mac, message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The value of the key of this uid, as servers derive it from their master key.
pub fn key_value(master_key: &str, uid: &str) -> String {
    mac::<Hmac<Sha256>>(master_key, uid).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A moment as `exp` counts it.
pub fn seconds_from_now(seconds: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + seconds
}

/// The same moment as keys write it.
pub fn rfc3339(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

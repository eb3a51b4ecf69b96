//! Keys, tokens and rights.

mod keys;
mod rights;
mod tokens;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::rights::access;
use super::{Grant, Key, KeyRegistry, Refusal, authorize, read_key};

const MASTER: &str = "a master key of some length";

fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(1_700_000_000)
}

fn uid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn key(n: u128, actions: Value, indexes: Value) -> Key {
    let body = json!({ "actions": actions, "indexes": indexes, "expiresAt": null });
    read_key(&body, now(), uid(n)).expect("a key")
}

fn registry(keys: impl IntoIterator<Item = Key>) -> KeyRegistry {
    KeyRegistry::new(Some(MASTER), keys)
}

fn value_of(n: u128) -> String {
    super::KeyValue::derive(MASTER, uid(n)).to_string()
}

fn signed(algorithm: &str, secret: &str, claims: &Value) -> String {
    fn mac<M: Mac + hmac::digest::KeyInit>(secret: &str, message: &str) -> Vec<u8> {
        let mut mac = <M as Mac>::new_from_slice(secret.as_bytes()).expect("any length");
        Mac::update(&mut mac, message.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({ "alg": algorithm, "typ": "JWT" })), part(claims));
    let signature = match algorithm {
        "HS384" => mac::<Hmac<Sha384>>(secret, &message),
        "HS512" => mac::<Hmac<Sha512>>(secret, &message),
        _ => mac::<Hmac<Sha256>>(secret, &message),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn ask(registry: &KeyRegistry, shown: &str, method: &str, path: &str, index: Option<&str>) -> Result<Grant, Refusal> {
    let access = access(method, path).expect("a row of the table");
    authorize(registry, Some(shown), access, index, now())
}

fn search(registry: &KeyRegistry, shown: &str, index: &str) -> Result<Grant, Refusal> {
    ask(registry, shown, "POST", "/indexes/{uid}/search", Some(index))
}

//! What errors of Redis and of the way to it mean to us. None of them shows a password.

use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError};
use thiserror::Error;

use crate::StoreError;

/// Why Redis did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Failure {
    #[error("{0} is not the address of a Redis, as redis://host:6379 is")]
    Url(&'static str),
    #[error("Redis at {address} cannot be reached: {problem}")]
    Unreachable { address: String, problem: String },
    #[error("Redis at {address} did not answer within {within:?}")]
    Slow { address: String, within: Duration },
    #[error("the connection to Redis at {address} was lost: {problem}")]
    Lost { address: String, problem: String },
    #[error("Redis at {address} refused the user name or the password")]
    Password { address: String },
    #[error("Redis at {address} does not let this user do what is needed: {message}")]
    Forbidden { address: String, message: String },
    #[error("what answers at {address} is not Redis 6.2 or later, nor Valkey: {problem}")]
    NotRedis { address: String, problem: String },
    #[error("Redis at {address} is a read-only replica; the address of the primary is needed")]
    ReadOnly { address: String },
    #[error("Redis at {address} is loading its data or busy: {message}")]
    Busy { address: String, message: String },
    #[error("Redis at {address} refused: {message}")]
    Refused { address: String, message: String },
    #[error("Redis at {address} answered with something that was not asked for")]
    Answer { address: String },
    #[error("Redis at {address} does not know a script that it was just told")]
    Unknown { address: String },
    #[error("the counter `{0}` cannot count any further")]
    Overflow(String),
}

impl Failure {
    /// It may go away by waiting: Redis is starting, or the way to it is broken.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Lost { .. } | Self::Busy { .. } => true,
            Self::Url(_)
            | Self::Password { .. }
            | Self::Forbidden { .. }
            | Self::NotRedis { .. }
            | Self::ReadOnly { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Unknown { .. }
            | Self::Overflow(_) => false,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(Arc::new(failure))
    }
}

/// The meaning of an error that the client library reports about this server.
#[allow(clippy::wildcard_enum_match_arm)] // the library's kinds, of which only these are told apart
pub(super) fn failure(address: &str, error: &RedisError) -> StoreError {
    let address = address.to_owned();
    let message = || match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    };
    let failure = match error.code() {
        Some("OOM") => return StoreError::Full,
        Some("MISCONF" | "NOREPLICAS") => Failure::Refused { address, message: message() },
        Some("WRONGPASS" | "NOAUTH") => Failure::Password { address },
        Some("NOPERM") => Failure::Forbidden { address, message: message() },
        Some("NOSCRIPT") => Failure::Unknown { address },
        Some("READONLY") => Failure::ReadOnly { address },
        Some("LOADING" | "BUSY" | "MASTERDOWN" | "TRYAGAIN") => Failure::Busy { address, message: message() },
        _ => match error.kind() {
            ErrorKind::AuthenticationFailed => Failure::Password { address },
            ErrorKind::Parse | ErrorKind::RESP3NotSupported => {
                Failure::NotRedis { address, problem: error.category().to_owned() }
            }
            ErrorKind::Io if error.is_connection_refusal() => {
                Failure::Unreachable { address, problem: "connection refused".into() }
            }
            ErrorKind::Io => Failure::Lost { address, problem: error.to_string() },
            _ => Failure::Refused { address, message: message() },
        },
    };
    // Some releases report what a script stumbled over in words alone.
    match failure {
        Failure::Refused { message, .. } if message.contains("OOM ") => StoreError::Full,
        Failure::Refused { address, message } if message.contains("user executing the script can't") => {
            Failure::Forbidden { address, message }.into()
        }
        other => other.into(),
    }
}

/// The failure behind an error of the store, if it is one of Redis.
pub(super) fn of(error: &StoreError) -> Option<&Failure> {
    match error {
        StoreError::Unavailable(source) => source.downcast_ref(),
        StoreError::Conflict { .. }
        | StoreError::Fenced { .. }
        | StoreError::Locked
        | StoreError::Full
        | StoreError::Corrupted(_)
        | StoreError::Foreign
        | StoreError::Newer { .. }
        | StoreError::Record { .. }
        | StoreError::Task { .. }
        | StoreError::NewTask(_)
        | StoreError::Closed => None,
    }
}

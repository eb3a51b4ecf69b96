//! Why a command did not do what it was asked; each kind has its exit code.

use thiserror::Error;

use crate::credentials::CredentialsError;
use crate::tls::{CaFile, TlsError};

/// The exit code of a command that was carried out, with a bad result, or that was refused.
pub const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// Why there is no report.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// The command line or the environment cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The credentials file, or the choice of a profile of it, cannot be meant.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Nobody answered.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// Somebody answered, with a certificate that cannot be believed.
    #[error("{url} shows a certificate that {}: {reason}", distrusted(ca_file.as_ref(), *is_unknown_issuer))]
    Untrusted {
        /// Who was asked.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
        /// Whether other authorities would believe it.
        is_unknown_issuer: bool,
        /// Whose authorities were asked; `None`: the system's.
        ca_file: Option<CaFile>,
    },
    /// No server could be believed: there are no authorities.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Miroir, or a file, said no.
    #[error("{0}")]
    Refused(String),
    /// Whoever was asked whether it is meant did not say yes.
    #[error("nothing was done")]
    Declined,
    /// The terminal gave no answer to that question.
    #[error("no answer could be read: {0}; nothing was done (--yes answers for you)")]
    NoAnswer(String),
}

/// Says who does not believe a certificate, and which option names others that may.
fn distrusted(ca_file: Option<&CaFile>, is_unknown_issuer: bool) -> String {
    match (is_unknown_issuer, ca_file) {
        (false, _) => "does not hold".into(),
        (true, Some(file)) => format!("no authority in {file} has issued"),
        (true, None) => "no authority of this system has issued (name its authority with --ca-file)".into(),
    }
}

impl Failure {
    /// 1 failed, 2 usage, 3 unreachable.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Credentials(_) | Self::Tls(_) => USAGE,
            Self::Unreachable { .. } | Self::Untrusted { .. } => UNREACHABLE,
            Self::Refused(_) | Self::Declined | Self::NoAnswer(_) => FAILED,
        }
    }
}

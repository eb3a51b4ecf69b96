//! Whose certificates a server is believed by.
//!
//! Invariant: the file of an authority takes the place of the system's roots. Whoever names one means that nobody else
//! may vouch for the server.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};
use thiserror::Error;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A file of certificates, and where it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFile {
    /// The file.
    pub path: PathBuf,
    /// The option or the entry of a profile that named it.
    pub named_by: &'static str,
}

impl fmt::Display for CaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.named_by, self.path.display())
    }
}

/// Why no server could be believed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{file}: {reason}")]
    Unreadable {
        /// Which file.
        file: CaFile,
        /// What the system said.
        reason: String,
    },
    /// The file has no certificate, or one that is none.
    #[error("{file}: expected certificates in PEM format: {reason}")]
    NoCertificates {
        /// Which file.
        file: CaFile,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no roots, as in a container without `ca-certificates`.
    #[error("this system has no root certificates{}; name the server's authority with --ca-file", because(reasons))]
    NoRoots {
        /// What went wrong as they were looked for.
        reasons: Vec<String>,
    },
}

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

/// How to speak TLS: with `ring`, and with servers that an authority of this file or of the system vouches for.
pub fn config(ca_file: Option<&CaFile>) -> Result<TlsConfig, TlsError> {
    // Fails when it was done before: then it is done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = match ca_file {
        Some(file) => roots_of(file)?,
        None => system_roots()?,
    };
    let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned());
    Ok(TlsConfig::builder().root_certs(RootCerts::from(roots)).build())
}

fn roots_of(file: &CaFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = |reason: String| TlsError::NoCertificates { file: file.clone(), reason };
    let pem = std::fs::read(&file.path)
        .map_err(|error| TlsError::Unreadable { file: file.clone(), reason: error.to_string() })?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let roots = roots.map_err(|error| none(error.to_string()))?;
    if roots.is_empty() {
        return Err(none("there is none".into()));
    }
    let mut store = RootCertStore::empty();
    for root in &roots {
        store.add(root.clone()).map_err(|error| none(error.to_string()))?;
    }
    Ok(roots)
}

/// The roots of the system, or those that SSL_CERT_FILE and SSL_CERT_DIR name. Some that cannot be read are passed over.
fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(TlsError::NoRoots { reasons: found.errors.iter().map(ToString::to_string).collect() });
    }
    Ok(found.certs)
}

/// Why a server's certificate was not accepted.
pub struct Distrust {
    /// What is wrong with it.
    pub reason: String,
    /// Whether other authorities would accept it.
    pub is_unknown_issuer: bool,
}

impl Distrust {
    /// What this error says of a certificate; `None` when it is about something else.
    pub fn of(error: &ureq::Error) -> Option<Self> {
        let handshake = if let ureq::Error::Io(error) = error {
            error.get_ref()?.downcast_ref::<rustls::Error>()?
        } else if let ureq::Error::Rustls(error) = error {
            error
        } else {
            return None;
        };
        let rustls::Error::InvalidCertificate(why) = handshake else { return None };
        let is_unknown_issuer = matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature);
        Some(Self { reason: why.to_string(), is_unknown_issuer })
    }
}

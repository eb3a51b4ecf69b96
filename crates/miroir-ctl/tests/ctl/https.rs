//! Servers with certificates, and who vouches for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::commands::TOPOLOGY;
use crate::stub::{Stub, ctl, home, text};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A server of this name or address, with a certificate of this authority.
fn server(authority: &Authority, name: &str) -> Stub {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
        .expect("a configuration");
    Stub::start_https(&[("/_miroir/topology", 200, TOPOLOGY)], Arc::new(config))
}

fn pem(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn asked(home: &Path, stub: &Stub, more: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let out = ctl(home, &[&["topology", "--url", &stub.url], more].concat(), environment);
    (out.status.code(), text(&out.stderr))
}

#[test]
fn a_server_is_believed_by_the_file_of_its_authority() {
    let (home, right) = (home(), authority("right"));
    let stub = server(&right, "127.0.0.1");
    let file = pem(home.path(), "ca.pem", &right.pem());
    let file = file.to_str().expect("UTF-8");
    let (code, told) = asked(home.path(), &stub, &["--ca-file", file, "--admin-key", "abc"], &[]);
    assert_eq!((code, told.as_str()), (Some(0), ""));
    assert_eq!(stub.asked.recv().expect("a request").1.as_deref(), Some("Bearer abc"));
    // Relative to the file that names it, wherever the command runs.
    let directory = home.path().join(".config/miroir");
    std::fs::create_dir_all(&directory).expect("a directory");
    pem(&directory, "its.pem", &right.pem());
    let profile = format!("[profile.a]\nurl = \"{}\"\nca_file = \"its.pem\"\n", stub.url);
    std::fs::write(directory.join("credentials"), profile).expect("a file");
    let out = ctl(home.path(), &["topology", "--profile", "a"], &[]);
    assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""));
}

#[test]
fn a_server_is_believed_by_the_authorities_of_the_system() {
    let (home, right, wrong) = (home(), authority("right"), authority("wrong"));
    let stub = server(&right, "127.0.0.1");
    let right = pem(home.path(), "right.pem", &right.pem());
    let wrong = pem(home.path(), "wrong.pem", &wrong.pem());
    let system = |path: &Path| asked(home.path(), &stub, &[], &[("SSL_CERT_FILE", path.to_str().expect("UTF-8"))]);
    assert_eq!(system(&right), (Some(0), String::new()));
    let (code, told) = system(&wrong);
    assert_eq!(code, Some(3), "{told}");
    let hint = "no authority of this system has issued (name its authority with --ca-file)";
    assert!(told.contains(&stub.url) && told.contains(hint), "{told}");
    let (code, told) = system(Path::new("/does/not/exist"));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("this system has no root certificates") && told.contains("--ca-file"), "{told}");
}

#[test]
fn another_authority_or_another_name_is_an_error_that_says_which() {
    let (home, right) = (home(), authority("authority"));
    let stub = server(&right, "127.0.0.1");
    // One of another name, and one that only pretends to be the right one.
    for name in ["another", "authority"] {
        let file = pem(home.path(), "wrong.pem", &authority(name).pem());
        let file = file.to_str().expect("UTF-8");
        let (code, told) = asked(home.path(), &stub, &["--ca-file", file], &[]);
        assert_eq!(code, Some(3), "{told}");
        let because = format!("shows a certificate that no authority in --ca-file {file} has issued: ");
        assert!(told.contains(&because), "{told}");
    }
    let stub = server(&right, "miroir.example");
    let file = pem(home.path(), "right.pem", &right.pem());
    let (code, told) = asked(home.path(), &stub, &["--ca-file", file.to_str().expect("UTF-8")], &[]);
    assert!(code == Some(3) && told.contains("shows a certificate that does not hold: "), "{told}");
    assert_eq!(stub.asked.try_iter().count(), 0, "nobody is told a key before it is believed");
}

#[test]
fn a_file_without_certificates_is_wrong_usage() {
    let home = home();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, reason) in [("", "there is none"), ("nothing", "there is none"), (broken, "")] {
        let file = pem(home.path(), "ca.pem", text);
        let file = file.to_str().expect("UTF-8");
        let out = ctl(home.path(), &["status", "--url", "https://127.0.0.1:1", "--ca-file", file], &[]);
        let told = crate::stub::text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{told}");
        let expected = format!("--ca-file {file}: expected certificates in PEM format: {reason}");
        assert!(told.contains(&expected), "{told}");
    }
}

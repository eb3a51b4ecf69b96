//! Where the executables under test are; built when they are missing or older than their sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// The orchestrator.
///
/// # Errors
/// When it cannot be built.
pub fn proxy() -> Result<PathBuf> {
    built("miroir-proxy")
}

/// The development node.
///
/// # Errors
/// When it cannot be built.
pub fn devnode() -> Result<PathBuf> {
    built("miroir-devnode")
}

/// The operators' command line.
///
/// # Errors
/// When it cannot be built.
pub fn ctl() -> Result<PathBuf> {
    built("miroir-ctl")
}

/// The Meilisearch server to test against instead of development nodes, when `MEILISEARCH_BIN` names one.
pub fn meilisearch() -> Option<PathBuf> {
    std::env::var_os("MEILISEARCH_BIN").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// `MIROIR_BIN_DIR`, or the directory into which cargo put what is running now.
fn directory() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("MIROIR_BIN_DIR") {
        return Ok(PathBuf::from(dir));
    }
    let here = std::env::current_exe().context("finding the running executable")?;
    let dir = here.parent().context("the executable has no directory")?;
    let dir = if dir.ends_with("deps") { dir.parent().context("no directory above deps")? } else { dir };
    Ok(dir.to_owned())
}

fn built(name: &str) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = directory()?;
    let binary = dir.join(name);
    if is_fresh(&binary) || (std::env::var_os("MIROIR_BIN_DIR").is_some() && binary.exists()) {
        return Ok(binary);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "-p", name, "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    if let Some(target) = dir.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if dir.ends_with("release") {
        cargo.arg("--release");
    }
    if !cargo.status().context("running cargo")?.success() || !binary.exists() {
        bail!("cargo could not build {name}");
    }
    Ok(binary)
}

/// Whether the executable is newer than each source that cargo's dependency file beside it names.
fn is_fresh(binary: &Path) -> bool {
    let Some(built) = modified(binary) else { return false };
    let Ok(list) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = list.split_once(": ") else { return false };
    // Spaces inside a path are escaped by a backslash.
    let sources = sources.replace("\\ ", "\0");
    sources
        .split_whitespace()
        .all(|source| modified(Path::new(&source.replace('\0', " "))).is_some_and(|written| written <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

//! Where the executables under test are; cargo makes them when they are missing or older than their sources.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail};

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

/// `MIROIR_BIN_DIR`, or what cargo makes of the sources, in the directory that holds what is running now.
fn built(name: &str) -> Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let named = std::env::var_os("MIROIR_BIN_DIR").map(PathBuf::from);
        named.map_or_else(build, Ok).map_err(|error| format!("{error:#}"))
    });
    let binary = directory.as_ref().map_err(|error| anyhow!("{error}"))?.join(name);
    if !binary.exists() {
        bail!("{} is missing", binary.display());
    }
    Ok(binary)
}

/// Has cargo bring every executable up to date, which takes a second when `make test` has just made them, and says where they are.
///
/// The selection is that of `make test`: another one would have other features, and compile the engine again.
fn build() -> Result<PathBuf> {
    let here = std::env::current_exe().context("finding the running executable")?;
    let dir = here.parent().context("the executable has no directory")?;
    let dir = if dir.ends_with("deps") { dir.parent().context("no directory above deps")? } else { dir };
    let mut cargo = Command::new(env!("CARGO"));
    if dir.ends_with("release") {
        cargo.args(["build", "--release", "-p", "miroir-proxy", "-p", "miroir-devnode"]);
    } else {
        cargo.args(["test", "--workspace", "--test", "*", "--no-run"]);
    }
    cargo.args(["--locked", "--quiet", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    if let Some(target) = dir.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    // What cargo tells a test of its package would have build scripts run again that look at it, and all that depends on them.
    let told = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_str().is_some_and(is_of_a_package));
    for name in told {
        cargo.env_remove(name);
    }
    let made = cargo.stdin(Stdio::null()).output().context("running cargo")?;
    if !made.status.success() {
        bail!("cargo could not build what is tested:\n{}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(dir.to_owned())
}

/// Whether cargo sets this variable for the test of a package.
fn is_of_a_package(variable: &str) -> bool {
    let begins = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| variable.starts_with(start));
    begins
        || ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"].contains(&variable)
}

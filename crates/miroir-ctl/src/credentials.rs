//! The credentials file: an admin key, and profiles of clusters with keys of their own.
//!
//! ```toml
//! admin_key = "..."            # where no profile is chosen
//!
//! [profile.staging]
//! url = "http://staging:7700"
//! admin_key_file = "staging.key"  # beside this file
//! ```
//!
//! Invariant: no message shows what stands in the file, for that may be a key; only names of profiles are shown.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::Deserialize;
use thiserror::Error;

/// Below the directory of the user's configuration.
const FILE: &str = "miroir/credentials";

/// Why the credentials file, or a profile of it, is of no use.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CredentialsError {
    /// The file, or one that it names, cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is no TOML, or has tables or keys that nobody knows.
    #[error(
        "{}, line {line}: expected TOML with admin_key = \"...\", and tables [profile.NAME] with url, admin_key or \
         admin_key_file, and ca_file",
        path.display()
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A key without characters would be sent as none.
    #[error("{}: the admin key is empty", path.display())]
    EmptyKey {
        /// The file that should have one.
        path: PathBuf,
    },
    /// A profile with a key and a file of a key: nobody knows which is meant.
    #[error("{}: profile {name} has both admin_key and admin_key_file", path.display())]
    TwoKeys {
        /// The credentials file.
        path: PathBuf,
        /// The profile.
        name: String,
    },
    /// The chosen profile is not in the file.
    #[error("there is no profile {name} in {}; there {}", path.display(), listed(known))]
    NoSuchProfile {
        /// Who was chosen.
        name: String,
        /// The credentials file.
        path: PathBuf,
        /// The profiles that there are.
        known: Vec<String>,
    },
    /// A profile was chosen, and there is no credentials file.
    #[error("there is no profile {name}: {} does not exist", path.display())]
    NoFile {
        /// Who was chosen.
        name: String,
        /// Where the file should be.
        path: PathBuf,
    },
    /// A profile was chosen, and nobody knows where the credentials file would be.
    #[error("there is no profile {name}: there is no home directory")]
    NoHome {
        /// Who was chosen.
        name: String,
    },
}

fn listed(known: &[String]) -> String {
    match known {
        [] => "is none".into(),
        [one] => format!("is {one}"),
        [..] => format!("are {}", known.join(", ")),
    }
}

/// What the file holds, as it is written. Not `Debug`: it holds keys.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    admin_key: Option<String>,
    #[serde(default)]
    profile: BTreeMap<String, WrittenProfile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    url: String,
    admin_key: Option<String>,
    admin_key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// One cluster, and how it is spoken to.
pub struct Profile {
    /// Where Miroir listens.
    pub url: String,
    /// The admin key; `None` leaves the choice to the environment, the file's own key and the flag.
    pub admin_key: Option<String>,
    /// The certificates that vouch for an https server; `None`: the system's.
    pub ca_file: Option<PathBuf>,
}

/// A credentials file that was read.
pub struct Credentials {
    path: PathBuf,
    written: Written,
}

impl Credentials {
    /// The file of whoever runs this. `None`: there is none, which is no error until a profile is chosen.
    pub fn load() -> Result<Option<Self>, CredentialsError> {
        for path in places() {
            if let Some(text) = read(&path)? {
                let credentials = Self::parse(path, &text)?;
                if credentials.holds_a_key() {
                    warn_of_others(&credentials.path);
                }
                return Ok(Some(credentials));
            }
        }
        Ok(None)
    }

    /// The message of a TOML error shows the offending line, which may hold a key: only its number is passed on.
    fn parse(path: PathBuf, text: &str) -> Result<Self, CredentialsError> {
        let written: Written = match toml::from_str(text) {
            Ok(written) => written,
            Err(error) => {
                let before = error.span().map_or(0, |span| span.start);
                let line = text.bytes().take(before).filter(|byte| *byte == b'\n').count() + 1;
                return Err(CredentialsError::Malformed { path, line });
            }
        };
        let keys = written.profile.values().map(|profile| &profile.admin_key);
        if keys.chain([&written.admin_key]).flatten().any(String::is_empty) {
            return Err(CredentialsError::EmptyKey { path });
        }
        let has_both = |profile: &WrittenProfile| profile.admin_key.is_some() && profile.admin_key_file.is_some();
        if let Some((name, _)) = written.profile.iter().find(|(_, profile)| has_both(profile)) {
            return Err(CredentialsError::TwoKeys { name: name.clone(), path });
        }
        Ok(Self { path, written })
    }

    fn holds_a_key(&self) -> bool {
        let mut profiles = self.written.profile.values();
        self.written.admin_key.is_some() || profiles.any(|profile| profile.admin_key.is_some())
    }

    /// The key where no profile has one.
    pub fn admin_key(&self) -> Option<&str> {
        self.written.admin_key.as_deref()
    }

    /// The profile of this name, with the key that its file holds.
    pub fn profile(&self, name: &str) -> Result<Profile, CredentialsError> {
        let Some(WrittenProfile { url, admin_key, admin_key_file, ca_file }) = self.written.profile.get(name) else {
            return Err(CredentialsError::NoSuchProfile {
                name: name.into(),
                path: self.path.clone(),
                known: self.written.profile.keys().cloned().collect(),
            });
        };
        let admin_key = match (admin_key, admin_key_file) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(file)) => Some(key_in(&self.beside(file))?),
            (None, None) => None,
        };
        Ok(Profile { url: url.clone(), admin_key, ca_file: ca_file.as_deref().map(|file| self.beside(file)) })
    }

    /// A path in the file is meant from the directory of the file, wherever the command runs.
    fn beside(&self, file: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }
}

/// The profile of this name from the file of whoever runs this.
pub fn chosen(name: &str, credentials: Option<&Credentials>) -> Result<Profile, CredentialsError> {
    match (credentials, places().into_iter().next()) {
        (Some(credentials), _) => credentials.profile(name),
        (None, Some(path)) => Err(CredentialsError::NoFile { name: name.into(), path }),
        (None, None) => Err(CredentialsError::NoHome { name: name.into() }),
    }
}

/// Where the file may be: the directory of XDG_CONFIG_HOME, then ~/.config in any case. Without a home in the environment
/// there is none: whoever cleared it wants nothing of the user's to play a part.
fn places() -> Vec<PathBuf> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(unix) && !is_set("HOME") && !is_set("XDG_CONFIG_HOME") {
        return Vec::new();
    }
    let Ok(strategy) = etcetera::choose_base_strategy() else { return Vec::new() };
    let mut places = vec![strategy.config_dir().join(FILE)];
    if is_set("HOME") {
        places.push(strategy.home_dir().join(".config").join(FILE));
    }
    places.dedup();
    places
}

/// The text of a file; `None` when there is no such file.
fn read(path: &Path) -> Result<Option<String>, CredentialsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CredentialsError::Unreadable { path: path.to_owned(), reason: error.to_string() }),
    }
}

/// The key that is the whole text of a file, but for white space around it.
fn key_in(path: &Path) -> Result<String, CredentialsError> {
    let text = read(path)?.ok_or_else(|| CredentialsError::Unreadable {
        path: path.to_owned(),
        reason: "there is no such file".into(),
    })?;
    warn_of_others(path);
    match text.trim() {
        "" => Err(CredentialsError::EmptyKey { path: path.to_owned() }),
        key => Ok(key.into()),
    }
}

/// Says so on standard error when others than the owner may read the file. It is read nevertheless.
#[cfg(unix)]
fn warn_of_others(path: &Path) {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o044 != 0 {
        let path = path.display();
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr().lock(), "miroir-ctl: others may read the key in {path}: chmod 600 {path}");
    }
}

#[cfg(not(unix))]
fn warn_of_others(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Credentials, CredentialsError> {
        Credentials::parse("/c/credentials".into(), text)
    }

    #[test]
    fn the_file_holds_a_key_and_profiles() {
        let file = parse("# mine\nadmin_key = \"abc\"\n[profile.a]\nurl = \"http://a\"\nadmin_key = \"def\"\n");
        let file = file.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.admin_key(), Some("abc"));
        let profile = file.profile("a").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((profile.url.as_str(), profile.admin_key.as_deref()), ("http://a", Some("def")));
        assert!(parse("").is_ok_and(|file| file.admin_key().is_none() && !file.holds_a_key()));
    }

    #[test]
    fn what_cannot_be_meant_is_told_by_its_line_alone() {
        for (text, line) in [
            ("admin_key = s3cret", 1),
            ("# a\nadmin_key = 5", 2),
            ("admin_key = \"s3cret\"\nother = 1", 2),
            ("[profile.a]\nadmin_key = \"s3cret\"", 1),
            ("[profile.a]\nurl = \"x\"\nadmin_kee = \"s3cret\"", 3),
        ] {
            let error = parse(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with(&format!("/c/credentials, line {line}: ")), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_key_is_one_and_has_characters() {
        let refusal = |text: &str| parse(text).err().map(|error| error.to_string());
        let empty = Some("/c/credentials: the admin key is empty".to_owned());
        assert_eq!(refusal("admin_key = \"\""), empty);
        assert_eq!(refusal("[profile.a]\nurl = \"x\"\nadmin_key = \"\""), empty);
        let both = "[profile.a]\nurl = \"x\"\nadmin_key = \"k\"\nadmin_key_file = \"f\"";
        assert_eq!(refusal(both).as_deref(), Some("/c/credentials: profile a has both admin_key and admin_key_file"));
    }

    #[test]
    fn a_wrong_name_lists_those_there_are() {
        let refusal =
            |text: &str| parse(text).and_then(|file| file.profile("prd")).err().map(|error| error.to_string());
        let two = "[profile.prod]\nurl = \"x\"\n[profile.dev]\nurl = \"x\"";
        let told = |there: &str| Some(format!("there is no profile prd in /c/credentials; there {there}"));
        assert_eq!(refusal(two), told("are dev, prod"));
        assert_eq!(refusal("[profile.prod]\nurl = \"x\""), told("is prod"));
        assert_eq!(refusal(""), told("is none"));
    }
}

//! Where the admin key comes from: the environment, else the credentials file, else the flag.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use crate::failure::Failure;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    admin_key: String,
}

/// The admin key, when there is one.
pub fn admin_key(flag: Option<&str>) -> Result<Option<String>, Failure> {
    if let Some(key) = std::env::var("MIROIR_ADMIN_API_KEY").ok().filter(|key| !key.is_empty()) {
        return Ok(Some(key));
    }
    let from_file = match file_path(std::env::var_os("HOME")) {
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => Some(parse(&text).map_err(|reason| Failure::Usage(format!("{}: {reason}", path.display())))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::Usage(format!("{}: {error}", path.display()))),
        },
        None => None,
    };
    Ok(from_file.or_else(|| flag.map(Into::into)))
}

fn file_path(home: Option<OsString>) -> Option<PathBuf> {
    home.filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".config/miroir/credentials"))
}

/// The message of a TOML error shows the offending line, which may hold the key: it is not passed on.
fn parse(text: &str) -> Result<String, &'static str> {
    let credentials: Credentials =
        toml::from_str(text).map_err(|_| "expected TOML with one line, admin_key = \"...\"")?;
    if credentials.admin_key.is_empty() { Err("admin_key is empty") } else { Ok(credentials.admin_key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_one_key() {
        assert_eq!(parse("# mine\nadmin_key = \"abc\"\n"), Ok("abc".into()));
        for text in ["", "admin_key = 5", "admin_key = \"a\"\nother = 1", "admin_key = \"", "admin_key = \"\""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_home_no_file() {
        assert_eq!(file_path(None), None);
        assert_eq!(file_path(Some("".into())), None);
        assert_eq!(file_path(Some("/h".into())), Some("/h/.config/miroir/credentials".into()));
    }
}

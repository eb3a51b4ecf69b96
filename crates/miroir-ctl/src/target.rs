//! Which cluster is meant, and with which key.
//!
//! Invariant: the key of a chosen profile is never replaced by one of the environment, which may be another cluster's.

use crate::cli::Common;
use crate::credentials::{self, Credentials, Profile};
use crate::failure::Failure;
use crate::tls::CaFile;

/// Where Miroir listens when nobody says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7700";

/// Who is spoken to. Not `Debug`: it holds a key.
pub struct Target {
    /// The address, without a slash at its end.
    pub url: String,
    /// The admin key; `None`: requests are sent without one.
    pub admin_key: Option<String>,
    /// Who vouches for an https server; `None`: the authorities of the system.
    pub ca_file: Option<CaFile>,
}

/// What the environment says; an empty variable says nothing.
#[derive(Default)]
struct Environment {
    profile: Option<String>,
    url: Option<String>,
    admin_key: Option<String>,
}

impl Target {
    /// From the options, the environment and the credentials file. The file is read only where something of it may count.
    pub fn resolve(common: &Common) -> Result<Self, Failure> {
        let environment = Environment {
            profile: variable("MIROIR_PROFILE")?,
            url: variable("MIROIR_URL")?,
            admin_key: variable("MIROIR_ADMIN_API_KEY")?,
        };
        let name = common.profile.as_ref().or(environment.profile.as_ref());
        let is_file_of_use = name.is_some() || environment.admin_key.is_none();
        let file = if is_file_of_use { Credentials::load()? } else { None };
        let profile = name.map(|name| credentials::chosen(name, file.as_ref())).transpose()?;
        let file_key = file.as_ref().and_then(Credentials::admin_key);
        Self::choose(common, environment, profile, file_key)
    }

    fn choose(
        common: &Common,
        environment: Environment,
        profile: Option<Profile>,
        file_key: Option<&str>,
    ) -> Result<Self, Failure> {
        let (profile_url, profile_key, profile_ca) = match profile {
            Some(Profile { url, admin_key, ca_file }) => (Some(url), admin_key, ca_file),
            None => (None, None, None),
        };
        let is_of_profile = common.url.is_none() && profile_url.is_some();
        let url = common.url.clone().or(profile_url).or(environment.url).unwrap_or_else(|| DEFAULT_URL.into());
        let admin_key = profile_key
            .or(environment.admin_key)
            .or_else(|| file_key.map(Into::into))
            .or_else(|| common.admin_key.clone());
        let flag_ca = common.ca_file.clone().map(|path| CaFile { path, named_by: "--ca-file" });
        let profile_ca = profile_ca.map(|path| CaFile { path, named_by: "ca_file" });
        let url = url.trim_end_matches('/');
        let ca_file = match scheme(url) {
            Some(Scheme::Https) => flag_ca.or(profile_ca),
            // Another address than the profile's, as of a tunnel, does not need what the profile says of its certificate.
            Some(Scheme::Http) => match flag_ca.or(profile_ca.filter(|_| is_of_profile)) {
                Some(file) => return Err(Failure::Usage(format!("{file} is for https, and {url} is not"))),
                None => None,
            },
            None => {
                let expected = "expected http://host:port or https://host:port";
                return Err(Failure::Usage(format!("--url {url}: {expected}")));
            }
        };
        Ok(Self { url: url.into(), admin_key, ca_file })
    }

    /// Whether the server has to show a certificate.
    pub fn is_https(&self) -> bool {
        scheme(&self.url) == Some(Scheme::Https)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// `None`: the address is of neither kind.
fn scheme(url: &str) -> Option<Scheme> {
    let (scheme, _) = url.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var_os(name).filter(|value| !value.is_empty()).map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(Failure::Usage(format!("the environment variable {name} is not UTF-8"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Output;

    fn options(url: Option<&str>, admin_key: Option<&str>) -> Common {
        let text = |text: Option<&str>| text.map(Into::into);
        Common { url: text(url), profile: None, ca_file: None, admin_key: text(admin_key), output: Output::Table }
    }

    fn environment() -> Environment {
        Environment { profile: None, url: Some("http://env".into()), admin_key: Some("env".into()) }
    }

    fn profile(admin_key: Option<&str>) -> Option<Profile> {
        Some(Profile { url: "http://profile/".into(), admin_key: admin_key.map(Into::into), ca_file: None })
    }

    fn chosen(target: Result<Target, Failure>) -> (String, Option<String>) {
        target.map(|target| (target.url, target.admin_key)).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn is(url: &str, key: &str) -> (String, Option<String>) {
        (url.into(), Some(key.into()))
    }

    #[test]
    fn without_a_profile_the_environment_goes_before_the_file_and_the_flag() {
        let flag = options(Some("http://flag"), Some("flag"));
        assert_eq!(chosen(Target::choose(&flag, environment(), None, Some("file"))), is("http://flag", "env"));
        let nothing = Environment::default;
        assert_eq!(chosen(Target::choose(&flag, nothing(), None, Some("file"))), is("http://flag", "file"));
        assert_eq!(chosen(Target::choose(&flag, nothing(), None, None)), is("http://flag", "flag"));
        let none = options(None, None);
        assert_eq!(chosen(Target::choose(&none, environment(), None, None)), is("http://env", "env"));
        assert_eq!(chosen(Target::choose(&none, nothing(), None, None)), (DEFAULT_URL.into(), None));
    }

    #[test]
    fn a_profile_goes_before_the_environment() {
        let none = options(None, None);
        let target = Target::choose(&none, environment(), profile(Some("its")), Some("file"));
        assert_eq!(chosen(target), is("http://profile", "its"));
        let target = Target::choose(&options(Some("http://flag"), None), environment(), profile(Some("its")), None);
        assert_eq!(chosen(target), is("http://flag", "its"));
        let target = Target::choose(&none, Environment::default(), profile(None), Some("file"));
        assert_eq!(chosen(target), is("http://profile", "file"));
    }

    #[test]
    fn authorities_are_for_https_alone() {
        let ca = |url: Option<&str>, flag: Option<&str>, profile: Option<(&str, &str)>| {
            let common = Common { ca_file: flag.map(Into::into), ..options(url, None) };
            let profile =
                profile.map(|(url, ca)| Profile { url: url.into(), admin_key: None, ca_file: Some(ca.into()) });
            let target = Target::choose(&common, Environment::default(), profile, None);
            target.map(|target| target.ca_file.map(|file| file.to_string())).map_err(|failure| failure.to_string())
        };
        let file = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(ca(Some("https://a"), None, None), Ok(None));
        assert_eq!(ca(Some("HTTPS://a"), Some("/c"), Some(("https://b", "/d"))), file("--ca-file /c"));
        assert_eq!(ca(None, None, Some(("https://b", "/d"))), file("ca_file /d"));
        assert_eq!(ca(Some("http://a"), None, Some(("https://b", "/d"))), Ok(None));
        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(ca(None, Some("/c"), None), refused("--ca-file /c is for https, and http://127.0.0.1:7700 is not"));
        assert_eq!(ca(None, None, Some(("http://b", "/d"))), refused("ca_file /d is for https, and http://b is not"));
        let expected = "--url a:7700: expected http://host:port or https://host:port";
        assert_eq!(ca(Some("a:7700"), None, None), refused(expected));
    }
}

//! Reading one setting from a tree of values, and describing it.

use serde_json::{Map, Value};

use crate::membership::placement::PlacementKind;

use super::error::{ConfigError, one_line};
use super::values::{
    BroadcastStrategy, DegradedWrites, Environment, LogFormat, LogLevel, PeerMode, SelectionStrategy, StoreBackend,
    UnavailableShardPolicy,
};

/// One line of the reference: a setting, or the head of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, for example `health.interval_ms`.
    pub path: String,
    /// What it is for.
    pub about: &'static str,
    /// What it holds; `None` for the head of a section.
    pub setting: Option<Setting>,
}

/// What a setting holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The default as YAML.
    pub default: String,
    /// The values it takes, in words.
    pub takes: String,
    /// Text is taken from the environment as it stands; anything else is read as YAML.
    pub is_text: bool,
}

/// Something that stands in a configuration file.
pub(super) trait Typed: Sized {
    /// Take the value that stands at `path`.
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError>;

    /// Describe it, with `self` as the default.
    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>);
}

/// The entry of a single setting.
pub(super) fn entry(path: &str, about: &'static str, default: Value, takes: &str, is_text: bool) -> Entry {
    let setting = Setting { default: default.to_string(), takes: takes.into(), is_text };
    Entry { path: path.into(), about, setting: Some(setting) }
}

/// `path` should have held `wanted`, but holds `found`.
pub(super) fn mismatch(path: &str, wanted: &str, found: &Value) -> ConfigError {
    let found = match found {
        Value::Null => "nothing (give it a value or remove the line)".into(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text: String = found.to_string().chars().take(60).collect();
            one_line(&text)
        }
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a section".into(),
    };
    ConfigError::invalid(path, format!("expected {wanted}, found {found}"))
}

/// The mapping at `path`; a section whose lines are all commented out is empty.
pub(super) fn section<'a>(path: &str, value: &'a Value) -> Result<Option<&'a Map<String, Value>>, ConfigError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(mismatch(path, "a section of keys", value))
        }
    }
}

/// `parent.name`, or `name` at the top.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.into() } else { format!("{parent}.{name}") }
}

impl Typed for String {
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        match value.as_str() {
            Some(text) => Ok(text.into()),
            // A key of digits is read as a number: it must not be echoed, it may be a secret.
            None if value.is_number() || value.is_boolean() => {
                Err(ConfigError::invalid(path, "expected text; put the value in quotes"))
            }
            None => Err(mismatch(path, "text", value)),
        }
    }

    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
        entries.push(entry(path, about, Value::from(self.as_str()), "text", true));
    }
}

impl Typed for u64 {
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        value.as_u64().ok_or_else(|| mismatch(path, "a whole number", value))
    }

    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
        entries.push(entry(path, about, Value::from(*self), "whole number", false));
    }
}

impl Typed for f64 {
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| mismatch(path, "a number", value))
    }

    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
        entries.push(entry(path, about, Value::from(*self), "number", false));
    }
}

impl Typed for bool {
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        value.as_bool().ok_or_else(|| mismatch(path, "true or false", value))
    }

    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
        entries.push(entry(path, about, Value::from(*self), "true, false", false));
    }
}

fn choice<T: Copy>(path: &str, value: &Value, all: &[T], word: impl Fn(T) -> &'static str) -> Result<T, ConfigError> {
    let words: Vec<&str> = all.iter().map(|one| word(*one)).collect();
    let found = value.as_str().and_then(|text| all.iter().copied().find(|one| word(*one) == text));
    found.ok_or_else(|| mismatch(path, &words.join(" or "), value))
}

macro_rules! typed_choices {
    ($($name:ident),*) => {$(
        impl Typed for $name {
            fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
                choice(path, value, Self::ALL, Self::word)
            }

            fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
                let words: Vec<&str> = Self::ALL.iter().map(|one| one.word()).collect();
                entries.push(entry(path, about, Value::from(self.word()), &words.join(", "), true));
            }
        }
    )*};
}

typed_choices!(
    Environment,
    UnavailableShardPolicy,
    DegradedWrites,
    SelectionStrategy,
    BroadcastStrategy,
    StoreBackend,
    PeerMode,
    LogLevel,
    LogFormat
);

const PLACEMENTS: &[PlacementKind] = &[PlacementKind::Balanced, PlacementKind::Rendezvous];

fn placement_word(kind: PlacementKind) -> &'static str {
    match kind {
        PlacementKind::Balanced => "balanced",
        PlacementKind::Rendezvous => "rendezvous",
    }
}

impl Typed for PlacementKind {
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        choice(path, value, PLACEMENTS, placement_word)
    }

    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
        entries.push(entry(path, about, Value::from(placement_word(*self)), "balanced, rendezvous", true));
    }
}

/// The most entries that a list may have.
const MAX_LIST: usize = 1024;

impl<T: Typed> Typed for Vec<T> {
    fn read(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let Value::Array(items) = value else {
            return Err(mismatch(path, "a list", value));
        };
        if items.len() > MAX_LIST {
            return Err(ConfigError::invalid(path, format!("has {} entries, at most {MAX_LIST} fit", items.len())));
        }
        items.iter().enumerate().map(|(i, item)| T::read(&format!("{path}[{i}]"), item)).collect()
    }

    fn describe(&self, path: &str, about: &'static str, entries: &mut Vec<Entry>) {
        entries.push(entry(path, about, Value::Array(Vec::new()), "list", false));
    }
}

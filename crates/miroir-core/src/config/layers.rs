//! The layers of a configuration: the file, over it the environment, over that the flags.

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::file::File;
use super::typed::{Entry, Typed, mismatch};

/// The environment variables with short names, and the settings they stand for.
pub const ENVIRONMENT_KEYS: &[(&str, &str)] = &[
    ("MIROIR_MASTER_KEY", "master_key"),
    ("MIROIR_NODE_MASTER_KEY", "node_master_key"),
    ("MIROIR_ADMIN_API_KEY", "admin.api_key"),
];

/// Any other setting: `MIROIR__SECTION__KEY`.
const ENVIRONMENT_PREFIX: &str = "MIROIR__";

/// Every setting and section, in the order of the file.
pub(super) fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    File::default().describe("", "", &mut entries);
    entries
}

/// Lay the three over one another and read the result.
pub(super) fn read(
    yaml: &str,
    environment: impl Iterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<File, ConfigError> {
    let mut tree = parse_file(yaml)?;
    let entries = entries();
    for (name, path, text) in environment_settings(environment) {
        let entry = find(&entries, &name, &path)?;
        set(&mut tree, &path, scalar(entry, &text)?)?;
    }
    for (path, text) in overrides {
        let entry = find(&entries, path, path)?;
        set(&mut tree, path, scalar(entry, text)?)?;
    }
    File::read("", &Value::Object(tree))
}

/// `None`: there is nothing but space and comments.
fn parse(yaml: &str) -> Result<Option<Value>, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(yaml, serde_saphyr::options! { strict_booleans: true })
}

fn parse_file(yaml: &str) -> Result<Map<String, Value>, ConfigError> {
    match parse(yaml).map_err(|error| ConfigError::yaml(&error.without_snippet().render()))? {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(ConfigError::yaml("expected keys and values at the top, as in `shards: 16`"))
        }
    }
}

/// The (variable, setting, text) of every variable that is for us, in a fixed order; an empty one counts as unset.
///
/// The short names come last: they win over their long forms.
fn environment_settings(environment: impl Iterator<Item = (String, String)>) -> Vec<(String, String, String)> {
    let mut long = Vec::new();
    let mut short = Vec::new();
    for (name, text) in environment.filter(|(_, text)| !text.is_empty()) {
        if let Some((_, path)) = ENVIRONMENT_KEYS.iter().find(|(key, _)| *key == name) {
            short.push((name, (*path).to_owned(), text));
        } else if let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) {
            let path = rest.to_ascii_lowercase().replace("__", ".");
            long.push((name, path, text));
        }
    }
    long.sort();
    short.sort();
    long.append(&mut short);
    long
}

/// The setting at `path`; `shown` is the name by which the operator knows it.
fn find<'a>(entries: &'a [Entry], shown: &str, path: &str) -> Result<&'a Entry, ConfigError> {
    if let Some(entry) = entries.iter().find(|entry| entry.path == path) {
        if entry.setting.is_some() {
            return Ok(entry);
        }
        return Err(ConfigError::invalid(shown, "is a section; set one of its keys"));
    }
    let known: Vec<&str> = entries.iter().filter(|entry| entry.setting.is_some()).map(|e| e.path.as_str()).collect();
    Err(ConfigError::unknown(shown, path, &known))
}

/// The value that `text` means for this setting: text as it stands, anything else as YAML.
fn scalar(entry: &Entry, text: &str) -> Result<Value, ConfigError> {
    if entry.setting.as_ref().is_some_and(|setting| setting.is_text) {
        return Ok(Value::from(text));
    }
    let value = parse(text).map_err(|_| mismatch(&entry.path, "a value in YAML", &Value::from(text)))?;
    Ok(value.unwrap_or(Value::Null))
}

fn set(tree: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), ConfigError> {
    let Some((section, key)) = path.split_once('.') else {
        tree.insert(path.into(), value);
        return Ok(());
    };
    let slot = tree.entry(section).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    match slot.as_object_mut() {
        Some(map) => {
            map.insert(key.into(), value);
            Ok(())
        }
        None => Err(mismatch(section, "a section of keys", slot)),
    }
}

//! Dynamic search rules: kept in a file, and which documents they pin for a query. Words of conditions are compared as
//! plain words in lower case, without the engine's tokenizer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ApiResult;

type Rule = Map<String, Value>;

/// All rules, in the order in which they were made.
pub struct Rules {
    file: PathBuf,
    all: Mutex<Vec<Rule>>,
}

/// A document and where it is to stand.
pub struct Pin {
    /// Its id.
    pub id: String,
    /// The place among the hits, from 0 on.
    pub position: usize,
}

impl Rules {
    /// The rules that the directory holds; a file that is not there holds none.
    pub fn open(data_dir: &Path) -> Self {
        let file = data_dir.join("rules.json");
        let all = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file, all: Mutex::new(all) }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, all: &[Rule]) -> ApiResult<()> {
        Ok(std::fs::write(&self.file, json!(all).to_string())?)
    }

    /// Makes or changes a rule, or, without fields, deletes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn change(&self, uid: &str, fields: Option<&Rule>) -> ApiResult<()> {
        let mut all = self.all();
        let known = all.iter().position(|rule| rule.get("uid").and_then(Value::as_str) == Some(uid));
        match (known, fields) {
            (Some(at), None) => drop(all.remove(at)),
            (None, None) => {}
            (known, Some(fields)) => {
                let at = known.unwrap_or_else(|| {
                    all.push(Map::from_iter([("uid".to_owned(), json!(uid))]));
                    all.len() - 1
                });
                if let Some(rule) = all.get_mut(at) {
                    rule.extend(fields.clone());
                }
            }
        }
        self.keep(&all)
    }

    /// Deletes all rules; how many there were.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn clear(&self) -> ApiResult<usize> {
        let gone = std::mem::take(&mut *self.all()).len();
        self.keep(&[])?;
        Ok(gone)
    }

    /// The rules whose description or condition has one of the words; all without words.
    pub fn list(&self, query: Option<&str>, active: Option<bool>) -> Vec<Value> {
        let asked = words(query.unwrap_or_default());
        let text = |rule: &Rule, at: &str| {
            let rule = Value::Object(rule.clone());
            words(rule.pointer(at).and_then(Value::as_str).unwrap_or_default())
        };
        let all = self.all();
        let found = all.iter().filter(|rule| {
            let known = &text(rule, "/description") | &text(rule, "/conditions/query/words");
            (asked.is_empty() || !known.is_disjoint(&asked)) && active.is_none_or(|wanted| is_active(rule) == wanted)
        });
        found.map(view).collect()
    }

    /// The pins for a query of the index `uid`, each document once, in the order of precedence.
    pub fn pins(&self, uid: &str, query: &str) -> Vec<Pin> {
        let all = self.all();
        let mut rules: Vec<&Rule> = all.iter().filter(|rule| is_active(rule) && holds(rule, query)).collect();
        let precedence = |rule: &Rule| rule.get("precedence").and_then(Value::as_u64);
        rules.sort_by_key(|rule| (precedence(rule).is_none(), precedence(rule)));
        let mut seen = BTreeSet::new();
        let actions = rules.iter().filter_map(|rule| rule.get("actions")?.as_array()).flatten();
        let pin = |action: &Value| {
            let id = action.pointer("/selector/id")?.as_str()?.to_owned();
            let index = action.pointer("/selector/indexUid").and_then(Value::as_str);
            let position = usize::try_from(action.pointer("/action/position")?.as_u64()?).ok()?;
            index.is_none_or(|index| index == uid).then_some(Pin { id, position })
        };
        actions.filter_map(pin).filter(|pin| seen.insert(pin.id.clone())).collect()
    }
}

fn view(rule: &Rule) -> Value {
    let mut shown = Map::new();
    for name in ["uid", "description", "precedence", "active", "conditions", "actions"] {
        let value = rule.get(name).filter(|value| !value.is_null()).cloned();
        let default = match name {
            "active" => Some(json!(true)),
            "conditions" => Some(json!({})),
            "actions" => Some(json!([])),
            _ => None,
        };
        if let Some(value) = value.or(default) {
            shown.insert(name.to_owned(), value);
        }
    }
    Value::Object(shown)
}

fn is_active(rule: &Rule) -> bool {
    rule.get("active").and_then(Value::as_bool).unwrap_or(true)
}

fn holds(rule: &Rule, query: &str) -> bool {
    let Some(conditions) = rule.get("conditions") else { return true };
    let now = OffsetDateTime::now_utc();
    let time = |at: &str| {
        let text = conditions.pointer(at).and_then(Value::as_str)?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    };
    let in_time =
        time("/time/start").is_none_or(|start| start <= now) && time("/time/end").is_none_or(|end| now <= end);
    let asked = words(query);
    let empty = conditions.pointer("/query/isEmpty").and_then(Value::as_bool);
    let wanted = conditions.pointer("/query/words").and_then(Value::as_str);
    in_time
        && empty.is_none_or(|empty| empty == asked.is_empty())
        && wanted.is_none_or(|wanted| words(wanted).is_subset(&asked))
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

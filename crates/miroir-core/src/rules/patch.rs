//! What clients send about rules, read as Meilisearch reads it and refused in its words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Action, Conditions, QueryCondition, RuleAction, Selector, TimeCondition};
use crate::base::error::{Code, ErrorBody};
use crate::base::id::IndexUid;
use crate::base::json::described;

/// What a client wants changed of a rule. The outer `None`: as it was; the inner: to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct RulePatch {
    pub(super) description: Option<Option<String>>,
    pub(super) precedence: Option<Option<u64>>,
    pub(super) active: Option<Option<bool>>,
    pub(super) conditions: Option<Option<Conditions>>,
    pub(super) actions: Option<Option<Vec<RuleAction>>>,
}

impl TryFrom<Value> for RulePatch {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Self::read(&value).map_err(|error| error.message)
    }
}

impl From<RulePatch> for Value {
    fn from(patch: RulePatch) -> Self {
        patch.view()
    }
}

/// Which rules a client wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleListing {
    /// Rules before the first.
    pub offset: usize,
    /// Rules at most.
    pub limit: usize,
    /// Words in the description, or in the conditions.
    pub query: Option<String>,
    /// Only active ones, or only others.
    pub active: Option<bool>,
}

impl RulePatch {
    /// The body of a request.
    ///
    /// # Errors
    /// Meilisearch's refusal of the first member that is wrong.
    pub fn read(body: &Value) -> Result<Self, ErrorBody> {
        use Code::{
            InvalidDynamicSearchRuleActions as InActions, InvalidDynamicSearchRuleActive as InActive,
            InvalidDynamicSearchRuleConditions as InConditions, InvalidDynamicSearchRuleDescription as InDescription,
            InvalidDynamicSearchRulePriority as InPrecedence,
        };
        let mut patch = Self::default();
        for (name, value) in At::root(Code::BadRequest).object(body)? {
            let at = |code| At::root(code).member(name);
            match name.as_str() {
                "description" => patch.description = Some(at(InDescription).nullable(value, At::text)?),
                "precedence" => patch.precedence = Some(at(InPrecedence).nullable(value, At::number)?),
                "active" => patch.active = Some(at(InActive).nullable(value, At::flag)?),
                "conditions" => patch.conditions = Some(at(InConditions).nullable(value, conditions)?),
                "actions" => patch.actions = Some(at(InActions).nullable(value, actions)?),
                unknown => {
                    let known = ["description", "precedence", "active", "conditions", "actions"];
                    return Err(At::root(Code::BadRequest).unknown(unknown, &known));
                }
            }
        }
        Ok(patch)
    }

    /// As tasks show it: what is to be changed, and nothing else.
    pub fn view(&self) -> Value {
        let mut view = Map::new();
        let mut show = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                view.insert(name.to_owned(), value);
            }
        };
        show("description", self.description.as_ref().map(|value| json!(value)));
        show("precedence", self.precedence.map(|value| json!(value)));
        show("active", self.active.map(|value| json!(value)));
        show("conditions", self.conditions.as_ref().map(|value| json!(value)));
        show("actions", self.actions.as_ref().map(|value| json!(value)));
        Value::Object(view)
    }

    /// Changes what was set before.
    pub(super) fn apply(self, fields: &mut Self) {
        fields.description = self.description.or(fields.description.take());
        fields.precedence = self.precedence.or(fields.precedence);
        fields.active = self.active.or(fields.active);
        fields.conditions = self.conditions.or(fields.conditions.take());
        fields.actions = self.actions.or(fields.actions.take());
    }
}

impl RuleListing {
    /// The body of a request.
    ///
    /// # Errors
    /// Meilisearch's refusal of the first member that is wrong.
    pub fn read(body: &Value) -> Result<Self, ErrorBody> {
        let mut listing = Self { offset: 0, limit: 20, query: None, active: None };
        let size = |at: &At, value: &Value| at.number(value).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        for (name, value) in At::root(Code::BadRequest).object(body)? {
            let at = |code| At::root(code).member(name);
            match name.as_str() {
                "offset" => listing.offset = size(&at(Code::InvalidDynamicSearchRuleOffset), value)?,
                "limit" => listing.limit = size(&at(Code::InvalidDynamicSearchRuleLimit), value)?,
                "filter" if value.is_null() => {}
                "filter" => listing.read_filter(&at(Code::InvalidDynamicSearchRuleFilter), value)?,
                unknown => {
                    return Err(At::root(Code::BadRequest).unknown(unknown, &["offset", "limit", "filter"]));
                }
            }
        }
        Ok(listing)
    }

    fn read_filter(&mut self, at: &At, value: &Value) -> Result<(), ErrorBody> {
        for (name, value) in at.object(value)? {
            let inside = |code| At { code, ..at.member(name) };
            match name.as_str() {
                "query" => {
                    self.query = inside(Code::InvalidDynamicSearchRuleFilterQuery).nullable(value, At::text)?;
                }
                "active" => {
                    self.active = inside(Code::InvalidDynamicSearchRuleFilterActive).nullable(value, At::flag)?;
                }
                unknown => return Err(at.unknown(unknown, &["query", "active"])),
            }
        }
        Ok(())
    }
}

fn conditions(at: &At, value: &Value) -> Result<Conditions, ErrorBody> {
    let mut conditions = Conditions::default();
    for (name, value) in at.object(value)? {
        let inside = at.member(name);
        match name.as_str() {
            "time" => conditions.time = inside.nullable(value, time_condition)?,
            "query" => conditions.query = inside.nullable(value, query_condition)?,
            unknown => return Err(at.unknown(unknown, &["time", "query"])),
        }
    }
    if let Some(query) = &conditions.query
        && query.is_empty == Some(true)
        && query.words.is_some()
    {
        let why = "either `isEmpty` or `words` can be used, not both at once";
        return Err(At { code: Code::BadRequest, ..at.member("query") }.invalid(why));
    }
    if let Some((start, end)) = conditions.time.as_ref().and_then(|time| time.start.zip(time.end))
        && start > end
    {
        let why = format!("`end` (`{end}`) should be later than `start` (`{start}`)");
        return Err(At { code: Code::BadRequest, ..at.member("time") }.invalid(&why));
    }
    Ok(conditions)
}

/// Members that are not known are not minded here, as by Meilisearch.
fn time_condition(at: &At, value: &Value) -> Result<TimeCondition, ErrorBody> {
    let mut time = TimeCondition::default();
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "start" => time.start = at.member(name).nullable(value, instant)?,
            "end" => time.end = at.member(name).nullable(value, instant)?,
            _ => {}
        }
    }
    Ok(time)
}

fn instant(at: &At, value: &Value) -> Result<OffsetDateTime, ErrorBody> {
    let text = at.text(value)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| {
        at.invalid(&format!("`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"))
    })
}

fn query_condition(at: &At, value: &Value) -> Result<QueryCondition, ErrorBody> {
    let mut query = QueryCondition::default();
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "isEmpty" => query.is_empty = at.member(name).nullable(value, At::flag)?,
            "words" => query.words = at.member(name).nullable(value, At::text)?,
            unknown => return Err(at.unknown(unknown, &["isEmpty", "words"])),
        }
    }
    Ok(query)
}

fn actions(at: &At, value: &Value) -> Result<Vec<RuleAction>, ErrorBody> {
    let Value::Array(values) = value else { return Err(at.wrong_type("an array", value)) };
    values.iter().enumerate().map(|(position, value)| rule_action(&at.element(position), value)).collect()
}

fn rule_action(at: &At, value: &Value) -> Result<RuleAction, ErrorBody> {
    let (mut target, mut done) = (None, None);
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "selector" => target = Some(selector(&at.member(name), value)?),
            "action" => done = Some(action(&at.member(name), value)?),
            unknown => return Err(at.unknown(unknown, &["selector", "action"])),
        }
    }
    let selector = target.ok_or_else(|| at.missing("selector"))?;
    Ok(RuleAction { selector, action: done.ok_or_else(|| at.missing("action"))? })
}

fn selector(at: &At, value: &Value) -> Result<Selector, ErrorBody> {
    let (mut index_uid, mut id) = (None, None);
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "indexUid" => index_uid = at.member(name).nullable(value, index)?,
            "id" => id = Some(at.member(name).text(value)?),
            unknown => return Err(at.unknown(unknown, &["indexUid", "id"])),
        }
    }
    Ok(Selector { index_uid, id: id.ok_or_else(|| at.missing("id"))? })
}

fn index(at: &At, value: &Value) -> Result<IndexUid, ErrorBody> {
    let text = at.text(value)?;
    text.parse().map_err(|error: crate::base::id::InvalidIndexUid| at.invalid(&error.to_string()))
}

/// The tag is read before what it tells.
fn action(at: &At, value: &Value) -> Result<Action, ErrorBody> {
    let members = at.object(value)?;
    let tag = members.get("type").ok_or_else(|| at.missing("type"))?;
    if at.member("type").text(tag)? != "pin" {
        return Err(at.invalid("Incorrect tag value"));
    }
    let mut position = None;
    for (name, value) in members.iter().filter(|(name, _)| *name != "type") {
        let inside = at.member(name);
        match name.as_str() {
            "position" => {
                let number = inside.number(value)?;
                let too_large = || {
                    let most = u32::MAX;
                    inside.invalid(&format!(
                        "value: `{number}` is too large to be deserialized, maximum value authorized is `{most}`"
                    ))
                };
                position = Some(u32::try_from(number).map_err(|_| too_large())?);
            }
            unknown => return Err(at.unknown(unknown, &["position"])),
        }
    }
    Ok(Action::Pin { position: position.ok_or_else(|| at.missing("position"))? })
}

/// A place in a body, and the code of what is wrong there.
struct At {
    path: String,
    code: Code,
}

impl At {
    fn root(code: Code) -> Self {
        Self { path: String::new(), code }
    }

    fn member(&self, name: &str) -> Self {
        Self { path: format!("{}.{name}", self.path), code: self.code }
    }

    fn element(&self, position: usize) -> Self {
        Self { path: format!("{}[{position}]", self.path), code: self.code }
    }

    fn refuse(&self, message: String) -> ErrorBody {
        ErrorBody::new(self.code, message)
    }

    fn wrong_type(&self, expected: &str, value: &Value) -> ErrorBody {
        let place = if self.path.is_empty() { String::new() } else { format!(" at `{}`", self.path) };
        self.refuse(format!("Invalid value type{place}: expected {expected}, but found {}", described(value)))
    }

    fn invalid(&self, why: &str) -> ErrorBody {
        self.refuse(format!("Invalid value at `{}`: {why}", self.path))
    }

    fn missing(&self, name: &str) -> ErrorBody {
        self.refuse(format!("Missing field `{name}` inside `{}`", self.path))
    }

    fn unknown(&self, name: &str, known: &[&str]) -> ErrorBody {
        let place = if self.path.is_empty() { String::new() } else { format!(" inside `{}`", self.path) };
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        self.refuse(format!("Unknown field `{name}`{place}: expected one of {}", known.join(", ")))
    }

    fn nullable<T>(
        &self,
        value: &Value,
        read: impl FnOnce(&Self, &Value) -> Result<T, ErrorBody>,
    ) -> Result<Option<T>, ErrorBody> {
        if value.is_null() { Ok(None) } else { read(self, value).map(Some) }
    }

    fn object<'a>(&self, value: &'a Value) -> Result<&'a Map<String, Value>, ErrorBody> {
        value.as_object().ok_or_else(|| self.wrong_type("an object", value))
    }

    fn text(&self, value: &Value) -> Result<String, ErrorBody> {
        value.as_str().map(str::to_owned).ok_or_else(|| self.wrong_type("a string", value))
    }

    fn number(&self, value: &Value) -> Result<u64, ErrorBody> {
        value.as_u64().ok_or_else(|| self.wrong_type("a positive integer", value))
    }

    fn flag(&self, value: &Value) -> Result<bool, ErrorBody> {
        value.as_bool().ok_or_else(|| self.wrong_type("a boolean", value))
    }
}

//! Which pin comes first: what one server knows, and nodes, which each hold some of the documents, do not.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use time::OffsetDateTime;

use super::{Action, Conditions, RuleSet, SearchRule};
use crate::base::id::IndexUid;

/// One server pins no more documents into an answer than these.
const MAX_PINS: usize = 100;

/// The actions of all active rules by the document they are about.
#[derive(Debug, Default)]
pub(super) struct PinOrder {
    by_id: HashMap<String, Vec<Entry>>,
    size: usize,
}

#[derive(Debug)]
struct Entry {
    /// Rules by precedence, then by number; the actions of a rule as they are written.
    order: usize,
    position: u32,
    index: Option<IndexUid>,
    rule: Arc<SearchRule>,
}

impl PinOrder {
    pub fn of<'a>(rules: impl Iterator<Item = &'a Arc<SearchRule>>) -> Self {
        let mut rules: Vec<&Arc<SearchRule>> = rules.filter(|rule| rule.is_active()).collect();
        rules.sort_by_key(|rule| (rule.precedence().is_none(), rule.precedence(), rule.number));
        let mut pin_order = Self::default();
        for rule in rules {
            for action in rule.actions() {
                let Action::Pin { position } = action.action;
                let index = action.selector.index_uid.clone();
                let entry = Entry { order: pin_order.size, position, index, rule: rule.clone() };
                pin_order.by_id.entry(action.selector.id.clone()).or_default().push(entry);
                pin_order.size += 1;
            }
        }
        pin_order
    }
}

/// The rules as one search sees them.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'a> {
    /// All rules.
    pub rules: &'a RuleSet,
    /// The attribute that documents are named by.
    pub primary_key: &'a str,
    /// The time of the search.
    pub now: OffsetDateTime,
}

impl Pins<'_> {
    /// How many hits of each node give the first `end` hits of all: its own pins push its other hits back.
    pub(crate) fn depth(&self, end: usize) -> usize {
        end.saturating_add(self.rules.pin_order.size.min(MAX_PINS))
    }

    /// The place in the order of pins of a document that a node says is pinned here. A document that several rules pin to
    /// one position is told apart by the conditions; whether words are the same only nodes can say for certain, so that a
    /// rule is preferred whose words are in the query, and any other taken when there is none.
    pub(crate) fn order(&self, index: &str, query: &str, id: &str, position: u32) -> usize {
        let entries = self.rules.pin_order.by_id.get(id).map(Vec::as_slice).unwrap_or_default();
        let of_index = |entry: &&Entry| entry.index.as_ref().is_none_or(|uid| uid.as_str() == index);
        let here = entries.iter().filter(of_index).filter(|entry| entry.position == position);
        let likely = here.clone().find(|entry| may_hold(entry.rule.conditions(), query, self.now));
        likely.or(here.clone().next()).map_or(usize::MAX, |entry| entry.order)
    }
}

fn may_hold(conditions: Option<&Conditions>, query: &str, now: OffsetDateTime) -> bool {
    let Some(conditions) = conditions else { return true };
    let in_time = conditions
        .time
        .as_ref()
        .is_none_or(|time| time.start.is_none_or(|start| start <= now) && time.end.is_none_or(|end| now <= end));
    let fits = conditions.query.as_ref().is_none_or(|condition| {
        let asked = words(query);
        condition.is_empty.is_none_or(|is_empty| is_empty == asked.is_empty())
            && condition.words.as_deref().is_none_or(|wanted| words(wanted).is_subset(&asked))
    });
    in_time && fits
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

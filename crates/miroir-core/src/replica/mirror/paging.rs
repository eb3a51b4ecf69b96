//! Paging through a shard while documents come and go.
//!
//! Nodes list documents in an order of their own in which a document keeps its place as long as it exists. A deletion
//! moves all that follow to the front, so that a page at the next offset may leave some out. Each page therefore begins
//! within the page before it and has to begin with documents that were seen there; if it does not, it is read again from
//! further back.
//!
//! Invariant: a document that exists from the first page to the last is on one of them. One that was deleted meanwhile
//! and written again need not be.

use serde::{Deserialize, Serialize};

/// How many documents of the page before are read again.
const OVERLAP: u64 = 8;
/// How many documents at its beginning have to be of the page before.
const SEEN: usize = 2;

/// A part of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Documents before it.
    pub offset: u64,
    /// The most documents in it.
    pub limit: u64,
}

/// Where a listing stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// Behind the last document seen, as far as that can be known.
    offset: u64,
    /// How far back the next page begins, because the last one did not begin where it should.
    back: u64,
    /// The ids of the last page, in order.
    last: Vec<String>,
    /// There is nothing behind the last page.
    ended: bool,
}

/// What became of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The positions in it that were not on the page before.
    New(Vec<usize>),
    /// It does not follow the page before: read the next window.
    Again,
    /// What was seen is nowhere to be found: begin from the start.
    Lost,
}

impl Paging {
    /// Whether everything was listed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Documents before the next page.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What to read next, about so many documents.
    pub fn window(&self, documents: u64) -> Window {
        let back = if self.last.is_empty() { 0 } else { OVERLAP + self.back };
        let offset = self.offset.saturating_sub(back);
        Window { offset, limit: documents.max(1) + (self.offset - offset) }
    }

    /// The window was read: these ids were in it, in this order.
    pub fn take(&mut self, window: Window, ids: &[&str]) -> Taken {
        let place = |id: &str| self.last.iter().position(|seen| seen == id);
        if window.offset > 0 || !self.last.is_empty() {
            let expected = SEEN.min(self.last.len());
            let first: Vec<Option<usize>> = ids.iter().take(expected).map(|id| place(id)).collect();
            let follows = first.len() == expected && first.iter().all(Option::is_some) && first.is_sorted();
            if !follows && window.offset > 0 {
                self.back = (self.back * 2).max(OVERLAP);
                // Nothing before the page before is known.
                let reach = self.last.len() as u64;
                return if self.back > reach.saturating_mul(2) { Taken::Lost } else { Taken::Again };
            }
        }
        let new = ids.iter().enumerate().filter(|(_, id)| place(id).is_none()).map(|(at, _)| at).collect();
        self.ended = (ids.len() as u64) < window.limit;
        self.offset = window.offset + ids.len() as u64;
        self.back = 0;
        self.last = ids.iter().map(|id| (*id).to_owned()).collect();
        Taken::New(new)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Documents come, go and are read page by page: those that stay are all seen.
        #[test]
        fn whoever_stays_is_seen(
            count in 0usize..120,
            page in 1u64..30,
            deleted in prop::collection::vec((0usize..40, any::<prop::sample::Index>()), 0..40),
            added in prop::collection::vec(0usize..40, 0..20),
        ) {
            let mut slots: Vec<Option<String>> = (0..count).map(|n| Some(format!("d{n}"))).collect();
            let mut staying: BTreeSet<String> = slots.iter().flatten().cloned().collect();
            let mut paging = Paging::default();
            let mut seen = BTreeSet::new();
            for step in 0..2000 {
                for (_, which) in deleted.iter().filter(|(at, _)| *at == step) {
                    if slots.is_empty() {
                        continue;
                    }
                    let slot = which.index(slots.len());
                    if let Some(gone) = slots[slot].take() {
                        staying.remove(&gone);
                    }
                }
                for at in added.iter().filter(|at| **at == step) {
                    let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
                    if free == slots.len() {
                        slots.push(None);
                    }
                    slots[free] = Some(format!("new{at}-{free}"));
                }
                let window = paging.window(page);
                let listed: Vec<&str> = slots.iter().flatten().map(String::as_str).collect();
                let from = (window.offset as usize).min(listed.len());
                let to = (from + window.limit as usize).min(listed.len());
                match paging.take(window, &listed[from..to]) {
                    Taken::New(new) => seen.extend(new.into_iter().map(|at| listed[from..to][at].to_owned())),
                    Taken::Again => {}
                    Taken::Lost => {
                        paging = Paging::default();
                        seen.clear();
                    }
                }
                if paging.has_ended() {
                    break;
                }
            }
            prop_assert!(paging.has_ended());
            prop_assert!(staying.is_subset(&seen), "{staying:?} {seen:?}");
        }
    }

    #[test]
    fn a_page_that_does_not_follow_is_read_from_further_back() {
        let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut paging = Paging::default();
        assert_eq!(paging.take(paging.window(40), &ids[..40]), Taken::New((0..40).collect()));
        let window = paging.window(40);
        assert_eq!(window, Window { offset: 32, limit: 48 });
        // Twelve documents in front of it are gone.
        assert_eq!(paging.take(window, &ids[44..92]), Taken::Again);
        let window = paging.window(40);
        assert_eq!(window, Window { offset: 24, limit: 56 });
        assert_eq!(paging.take(window, &ids[36..92]), Taken::New((4..56).collect()));
        assert!(!paging.has_ended());
    }
}

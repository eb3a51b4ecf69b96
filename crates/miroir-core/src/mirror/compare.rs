//! Comparing both sides: fold them into digests, then list the ids of what differs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::paging::{Paging, Taken};
use crate::digest::Version;
use crate::digest::{BUCKETS, Copied, Digest, Listing, TooMany, compare, in_groups};

/// Which replica is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

/// A side being listed.
#[derive(Clone, Debug)]
pub(super) struct Reading<T> {
    pub side: Side,
    pub paging: Paging,
    pub found: T,
}

impl<T> Reading<T> {
    pub fn of(side: Side, found: T) -> Self {
        Self { side, paging: Paging::default(), found }
    }

    /// The documents of a page that were not on the page before; none: what was found is to be forgotten.
    pub fn take(&mut self, window: super::Window, documents: &[Copied]) -> Option<Vec<usize>> {
        let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
        match self.paging.take(window, &ids) {
            Taken::New(new) => Some(new),
            Taken::Again => Some(Vec::new()),
            Taken::Lost => {
                self.paging = Paging::default();
                None
            }
        }
    }
}

/// Both sides are folded: the source first.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    pub reading: Reading<Digest>,
    pub source: Option<Digest>,
}

impl Fold {
    pub fn new() -> Self {
        Self { reading: Reading::of(Side::Source, Digest::default()), source: None }
    }

    pub fn page(&mut self, window: super::Window, documents: &[Copied]) {
        match self.reading.take(window, documents) {
            Some(new) => new.into_iter().filter_map(|at| documents.get(at)).for_each(|it| self.reading.found.add(it)),
            None => self.reading.found = Digest::default(),
        }
    }

    /// The groups of buckets to look into, once both sides were read.
    pub fn finished(&mut self, limit: usize) -> Option<VecDeque<Vec<u8>>> {
        if !self.reading.paging.has_ended() {
            return None;
        }
        let next = Reading::of(Side::Target, Digest::default());
        match &self.source {
            None => {
                self.source = Some(std::mem::replace(&mut self.reading, next).found);
                None
            }
            Some(source) => Some(in_groups(&source.differing(&self.reading.found), limit as u64).into()),
        }
    }
}

/// Every bucket at once.
pub(super) fn everything() -> VecDeque<Vec<u8>> {
    debug_assert_eq!(BUCKETS, usize::from(u8::MAX) + 1);
    VecDeque::from([(0..=u8::MAX).collect()])
}

/// The ids of one group of buckets after the other are listed on both sides.
#[derive(Clone, Debug)]
pub(super) struct Dig {
    /// The one at the front is listed.
    pub groups: VecDeque<Vec<u8>>,
    pub reading: Reading<Listing>,
    source: Option<BTreeMap<String, Version>>,
    limit: usize,
}

impl Dig {
    pub fn into(groups: VecDeque<Vec<u8>>, limit: usize) -> Self {
        let reading = Reading::of(Side::Source, Self::listing(&groups, limit));
        Self { groups, reading, source: None, limit }
    }

    fn listing(groups: &VecDeque<Vec<u8>>, limit: usize) -> Listing {
        // Twice the limit: buckets may have grown since they were counted.
        Listing::of(groups.front().into_iter().flatten().copied(), limit.saturating_mul(2))
    }

    /// # Errors
    /// [`TooMany`] when a single bucket cannot be held.
    pub fn page(&mut self, window: super::Window, documents: &[Copied]) -> Result<(), TooMany> {
        let Some(new) = self.reading.take(window, documents) else {
            self.reading.found = Self::listing(&self.groups, self.limit);
            return Ok(());
        };
        for document in new.into_iter().filter_map(|at| documents.get(at)) {
            if let Err(too_many) = self.reading.found.add(document) {
                return self.split(too_many);
            }
        }
        Ok(())
    }

    fn split(&mut self, too_many: TooMany) -> Result<(), TooMany> {
        match self.groups.pop_front() {
            Some(mut group) if group.len() > 1 => {
                let rest = group.split_off(group.len() / 2);
                self.groups.push_front(rest);
                self.groups.push_front(group);
                let groups = std::mem::take(&mut self.groups);
                *self = Self::into(groups, self.limit);
                Ok(())
            }
            Some(_) | None => Err(too_many),
        }
    }

    /// The documents of the group that are not alike, once both sides were listed; the next group follows.
    pub fn finished(&mut self) -> Option<BTreeSet<String>> {
        if !self.reading.paging.has_ended() {
            return None;
        }
        match self.source.take() {
            None => {
                let target = Reading::of(Side::Target, Self::listing(&self.groups, self.limit));
                self.source = Some(std::mem::replace(&mut self.reading, target).found.documents().clone());
                None
            }
            Some(source) => {
                let ids = compare(&source, self.reading.found.documents()).ids();
                self.groups.pop_front();
                let groups = std::mem::take(&mut self.groups);
                *self = Self::into(groups, self.limit);
                Some(ids)
            }
        }
    }
}

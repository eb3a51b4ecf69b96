//! Comparing both sides: fold them into digests, then list the ids of what differs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::paging::{Paging, Taken};
use super::verified::VerifiedVersions;
use crate::replica::digest::{BUCKETS, Copied, Digest, Listing, TooMany, Version, bucket_of, compare, in_groups};

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
    pub fn take<'d>(&mut self, window: super::Window, documents: &'d [Copied]) -> Option<Vec<&'d Copied>> {
        let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
        match self.paging.take(window, &ids) {
            Taken::New(new) => Some(new.into_iter().filter_map(|at| documents.get(at)).collect()),
            Taken::Again => Some(Vec::new()),
            Taken::Lost => {
                self.paging = Paging::default();
                None
            }
        }
    }
}

/// What a listing can show of documents that are the same in it on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Evidence {
    /// That their stamps are the same.
    #[default]
    Stamps,
    /// That their stamps are the same, and so they are if their version is in the verified-version cache.
    Verified,
    /// That they are the same.
    Content,
}

/// Both sides are folded: the source first.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    pub reading: Reading<Digest>,
    pub source: Option<Digest>,
    evidence: Evidence,
    /// What to remember of the source's documents if their bucket turns out to be equal.
    marks: Vec<(u8, u64)>,
    /// Buckets with documents whose versions are not in the cache.
    doubtful: BTreeSet<u8>,
}

/// What folding has shown.
pub(super) struct Folded {
    /// Buckets to look into, in groups.
    pub groups: VecDeque<Vec<u8>>,
    /// What to remember of the others.
    pub alike: Vec<u64>,
}

impl Fold {
    pub fn new(evidence: Evidence) -> Self {
        let reading = Reading::of(Side::Source, Digest::default());
        Self { reading, source: None, evidence, marks: Vec::new(), doubtful: BTreeSet::new() }
    }

    pub fn page(&mut self, window: super::Window, documents: &[Copied], verified: &VerifiedVersions) {
        let Some(new) = self.reading.take(window, documents) else {
            self.reading.found = Digest::default();
            if self.reading.side == Side::Source {
                self.marks.clear();
                self.doubtful.clear();
            }
            return;
        };
        for document in new {
            self.reading.found.add(document);
            let Copied { id, version } = document;
            match (self.reading.side, self.evidence) {
                (Side::Source, Evidence::Content) if self.marks.len() < verified.room() => {
                    self.marks.extend(verified.mark(id, version).map(|mark| (bucket_of(id), mark)));
                }
                (Side::Source, Evidence::Verified) if !verified.contains(id, version) => {
                    self.doubtful.insert(bucket_of(id));
                }
                (Side::Source | Side::Target, _) => {}
            }
        }
    }

    /// What to look into, once both sides were read.
    pub fn finished(&mut self, limit: usize) -> Option<Folded> {
        if !self.reading.paging.has_ended() {
            return None;
        }
        let next = Reading::of(Side::Target, Digest::default());
        match &self.source {
            None => {
                self.source = Some(std::mem::replace(&mut self.reading, next).found);
                None
            }
            Some(source) => {
                let wanted = source.differing(&self.reading.found, &self.doubtful);
                let unlike: BTreeSet<u8> = wanted.iter().map(|(bucket, _)| *bucket).collect();
                let marks = std::mem::take(&mut self.marks).into_iter();
                let alike = marks.filter(|(bucket, _)| !unlike.contains(bucket)).map(|(_, mark)| mark).collect();
                Some(Folded { groups: in_groups(&wanted, limit as u64).into(), alike })
            }
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
    evidence: Evidence,
}

impl Dig {
    pub fn into(groups: VecDeque<Vec<u8>>, limit: usize, evidence: Evidence) -> Self {
        let reading = Reading::of(Side::Source, Self::listing(&groups, limit));
        Self { groups, reading, source: None, limit, evidence }
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
        for document in new {
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
                *self = Self::into(groups, self.limit, self.evidence);
                Ok(())
            }
            Some(_) | None => Err(too_many),
        }
    }

    /// The documents of the group that are to be looked at one by one, once both sides were listed; the next group follows.
    pub fn finished(&mut self, verified: &mut VerifiedVersions) -> Option<BTreeSet<String>> {
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
                let mut ids = compare(&source, self.reading.found.documents()).ids();
                match self.evidence {
                    Evidence::Stamps => {}
                    Evidence::Verified => {
                        let doubtful = source.iter().filter(|(id, version)| !verified.contains(id, version));
                        ids.extend(doubtful.map(|(id, _)| id.clone()));
                    }
                    Evidence::Content => verified.alike(source.iter().filter(|(id, _)| !ids.contains(*id))),
                }
                self.groups.pop_front();
                let groups = std::mem::take(&mut self.groups);
                *self = Self::into(groups, self.limit, self.evidence);
                Some(ids)
            }
        }
    }
}

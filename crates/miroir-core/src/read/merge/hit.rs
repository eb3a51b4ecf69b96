//! One hit: what it is ranked by, and which of its bytes the client gets.

use std::borrow::Cow;
use std::ops::Range;

use crate::base::json::visit::{at_most, each_member, take_value};
use crate::base::json::{self, Scanner, SyntaxError};
use crate::base::strip;
use crate::read::rank::{self, Rank};
use crate::read::search::{IndexView, SearchRequest, attributes, covers};

/// What is done to every hit of one search.
pub(super) struct Edits<'a> {
    keep_score: bool,
    keep_details: bool,
    keep_vectors: bool,
    /// Similar documents are ranked by similarity alone; the search by which they are found has all the index's rules.
    is_similar: bool,
    /// Whether what a node says about a federation is written anew.
    is_federated: bool,
    displayed: Option<&'a [String]>,
    /// The distinct attribute, whether or not it is shown.
    pub distinct: Option<&'a str>,
    /// The primary key, when hits may be pinned.
    primary_key: Option<&'a str>,
    /// Set when an attribute was fetched only to be read.
    fetched: Option<Fetched<'a>>,
}

/// The top-level members that hold attributes the client did not ask for.
struct Fetched<'a> {
    roots: Vec<&'a str>,
    /// What the client did ask for, `None` for all of it.
    asked: Vec<Cow<'a, str>>,
    formatted: Option<Vec<Cow<'a, str>>>,
}

/// A part of a hit for the client, as a range of the node's answer.
#[derive(Clone, Debug, PartialEq)]
enum HitPart {
    /// Members to be copied with the commas between them.
    Copy(Range<usize>),
    /// Values to be written anew.
    Details(Range<usize>),
    Formatted(Range<usize>),
    Matches(Range<usize>),
    /// A member of which only what was asked for is kept.
    Project(Range<usize>),
}

/// The next hit of a node. Reused from hit to hit.
#[derive(Default)]
pub(super) struct Head<'a> {
    pub rank: Rank<'a>,
    parts: Vec<HitPart>,
    /// The raw values at the root of the distinct attribute.
    pub distinct: Vec<(&'a [u8], &'a [u8])>,
    /// The raw value at the root of the primary key, when hits may be pinned.
    key: Option<&'a [u8]>,
}

impl Head<'_> {
    /// The document's id, when hits may be pinned.
    pub fn id(&self, primary_key: &str) -> Option<String> {
        let mut raw = self.key?;
        for name in primary_key.split('.').skip(1) {
            raw = json::get(raw, name).ok().flatten()?;
        }
        match raw.first() {
            Some(b'"') => json::unquote(raw).map(Cow::into_owned),
            _ => std::str::from_utf8(raw).ok().map(str::to_owned),
        }
    }
}

fn root_of(attribute: &str) -> &str {
    attribute.split_once('.').map_or(attribute, |(root, _)| root)
}

impl<'a> Edits<'a> {
    pub fn new(request: &'a SearchRequest, index: &IndexView<'a>) -> Self {
        let roots: Vec<&str> = attributes::fetched(request, index).map(root_of).collect();
        let fetched = (!roots.is_empty()).then(|| {
            let asked = attributes::asked_for(request, index).unwrap_or_default();
            let formatted = attributes::formatted(request, index).map(|mut names| {
                names.extend(asked.iter().cloned());
                names
            });
            Fetched { roots, asked, formatted }
        });
        Self {
            keep_score: request.shows_score(),
            keep_details: request.shows_details(),
            is_similar: request.left_out().is_some(),
            keep_vectors: index.displayed.is_none_or(|names| names.iter().any(|name| name == "_vectors")),
            is_federated: false,
            displayed: index.displayed,
            distinct: request.distinct(index),
            primary_key: index.pins.map(|pins| pins.primary_key),
            fetched,
        }
    }

    /// Likewise for a query of a federation: `_federation` is left out.
    pub fn federated(request: &'a SearchRequest, index: &IndexView<'a>) -> Self {
        Self { is_federated: true, ..Self::new(request, index) }
    }

    /// Whether hits may be pinned.
    pub fn may_pin(&self) -> bool {
        self.primary_key.is_some()
    }

    /// Moves past a hit, remembering in `head` how it ranks and what of it is kept.
    pub fn read(&self, scanner: &mut Scanner<'a>, head: &mut Head<'a>) -> Result<(), SyntaxError> {
        head.rank.clear();
        head.parts.clear();
        head.distinct.clear();
        head.key = None;
        let start = scanner.pos;
        // Whether the member before this one is the end of the last part, so that both are copied as one.
        let mut adjoins = false;
        each_member(scanner, |scanner, key, from| {
            let part = if key.first() == Some(&b'_') || key.contains(&b'\\') {
                self.special(scanner, key, from, head)?
            } else {
                self.plain(scanner, key, from, head)?
            };
            match (part, head.parts.last_mut()) {
                (Some(HitPart::Copy(range)), Some(HitPart::Copy(before))) if adjoins => before.end = range.end,
                (Some(part), _) => {
                    adjoins = matches!(part, HitPart::Copy(_));
                    head.parts.push(part);
                }
                (None, _) => adjoins = false,
            }
            Ok(())
        })?;
        if std::str::from_utf8(at_most(scanner.text, start, scanner.pos)).is_err() {
            return scanner.error("a hit that is not UTF-8");
        }
        Ok(())
    }

    /// A member of the document.
    #[inline]
    fn plain(
        &self,
        scanner: &mut Scanner<'a>,
        key: &'a [u8],
        from: usize,
        head: &mut Head<'a>,
    ) -> Result<Option<HitPart>, SyntaxError> {
        let value = take_value(scanner)?;
        let span = from..scanner.pos;
        if self.distinct.is_none() && self.primary_key.is_none() {
            return Ok(Some(HitPart::Copy(span)));
        }
        if self.distinct.is_some_and(|distinct| distinct.as_bytes().starts_with(key)) {
            head.distinct.push((key, value));
        }
        if self.primary_key.is_some_and(|primary_key| root_of(primary_key).as_bytes() == key) {
            head.key = Some(value);
        }
        let fetched = self.fetched.as_ref();
        let root = fetched.and_then(|fetched| fetched.roots.iter().find(|root| root.as_bytes() == key));
        let Some((fetched, root)) = fetched.zip(root) else {
            return Ok(Some(HitPart::Copy(span)));
        };
        let shares = fetched.asked.iter().any(|name| covers(root, name));
        Ok(shares.then_some(HitPart::Project(span)))
    }

    /// A member that is, or could be, not of the document.
    fn special(
        &self,
        scanner: &mut Scanner<'a>,
        key: &'a [u8],
        from: usize,
        head: &mut Head<'a>,
    ) -> Result<Option<HitPart>, SyntaxError> {
        let at = scanner.pos;
        match key {
            b"_rankingScoreDetails" => {
                head.rank.read_details(scanner)?;
                let span = from..scanner.pos;
                return Ok(match self.displayed {
                    _ if !self.keep_details => None,
                    Some(_) => Some(HitPart::Details(at..scanner.pos)),
                    None if self.is_similar => Some(HitPart::Details(at..scanner.pos)),
                    None => Some(HitPart::Copy(span)),
                });
            }
            b"_rankingScore" => {
                head.rank.score = rank::number(take_value(scanner)?);
                return Ok(self.keep_score.then_some(HitPart::Copy(from..scanner.pos)));
            }
            b"_formatted" => {
                take_value(scanner)?;
                return Ok(Some(HitPart::Formatted(at..scanner.pos)));
            }
            b"_matchesPosition" => {
                take_value(scanner)?;
                return Ok(Some(HitPart::Matches(at..scanner.pos)));
            }
            b"_federation" if self.is_federated => {
                take_value(scanner)?;
                return Ok(None);
            }
            b"_vectors" if !self.keep_vectors => {
                take_value(scanner)?;
                return Ok(None);
            }
            _ => {}
        }
        if strip::is_ours(key) {
            if strip::is_our_member(key, take_value(scanner)?) {
                return Ok(None);
            }
            scanner.pos = at;
        }
        self.plain(scanner, key, from, head)
    }

    /// Appends the hit that `head` stands for.
    pub fn write(&self, body: &[u8], head: &Head<'_>, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        out.push(b'{');
        let start = out.len();
        for part in &head.parts {
            let before = out.len();
            if before > start {
                out.push(b',');
            }
            let written = out.len();
            match part {
                HitPart::Copy(range) => out.extend_from_slice(at_most(body, range.start, range.end)),
                HitPart::Details(range) => self.details_into(at_most(body, range.start, range.end), out)?,
                HitPart::Formatted(range) => self.formatted_into(at_most(body, range.start, range.end), out)?,
                HitPart::Matches(range) => self.matches_into(at_most(body, range.start, range.end), out)?,
                HitPart::Project(range) => {
                    let asked = self.fetched.as_ref().map(|fetched| fetched.asked.as_slice()).unwrap_or_default();
                    project_member(at_most(body, range.start, range.end), asked, out)?;
                }
            }
            if out.len() == written {
                out.truncate(before);
            }
        }
        out.push(b'}');
        Ok(())
    }

    fn is_displayed(&self, path: &str) -> bool {
        self.displayed.is_none_or(|names| names.iter().any(|name| covers(name, path)))
    }

    /// Ranking details as Meilisearch shows them: sort attributes that are not displayed are hidden.
    fn details_into(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        out.extend_from_slice(b"\"_rankingScoreDetails\":{");
        let mut first = true;
        for member in json::members(raw)? {
            let member = member?;
            if self.is_similar && member.key != b"vectorSort" {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            let name = member.key_text();
            let attribute = name.strip_suffix(":asc").or_else(|| name.strip_suffix(":desc"));
            let hidden = attribute.filter(|attribute| {
                !attribute.starts_with("_geoPoint(")
                    && self.displayed.is_some_and(|names| !names.iter().any(|known| known == attribute))
            });
            match hidden.and_then(|_| json::get(member.value, "order").ok().flatten()) {
                Some(order) => {
                    for part in [&b"\"<hidden-rule-"[..], order, b">\":{\"order\":", order, b",\"value\":\"<hidden>\"}"]
                    {
                        out.extend_from_slice(part);
                    }
                }
                None => out.extend_from_slice(at_most(raw, member.span.start, member.span.end)),
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// `_formatted` without our fields and without what was fetched only to be read; nothing when that leaves nothing.
    fn formatted_into(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let before = out.len();
        out.extend_from_slice(b"\"_formatted\":");
        let value = out.len();
        let fetched = self.fetched.as_ref();
        match fetched.and_then(|fetched| fetched.formatted.as_ref().map(|names| (&fetched.roots, names))) {
            None => {
                json::copy_without(raw, out, |member| strip::is_our_member(member.key, member.value))?;
            }
            Some((roots, names)) => {
                let mut kept = Vec::new();
                for member in json::members(raw)? {
                    let member = member?;
                    let span = at_most(raw, member.span.start, member.span.end);
                    let from = kept.len();
                    if from > 0 {
                        kept.push(b',');
                    }
                    let written = kept.len();
                    if roots.iter().any(|root| root.as_bytes() == member.key) {
                        project_member(span, names, &mut kept)?;
                    } else if !strip::is_our_member(member.key, member.value) {
                        kept.extend_from_slice(span);
                    }
                    if kept.len() == written {
                        kept.truncate(from);
                    }
                }
                out.push(b'{');
                out.extend_from_slice(&kept);
                out.push(b'}');
            }
        }
        if out.get(value..) == Some(b"{}") {
            out.truncate(before);
        }
        Ok(())
    }

    /// `_matchesPosition` of displayed attributes that are not ours.
    fn matches_into(&self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        out.extend_from_slice(b"\"_matchesPosition\":");
        json::copy_without(raw, out, |member| strip::is_ours(member.key) || !self.is_displayed(&member.key_text()))
            .map(drop)
    }
}

/// Appends the member `"key":value` with only those parts of its value that the attributes `asked` select; nothing when
/// they select none.
fn project_member(member: &[u8], asked: &[Cow<'_, str>], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
    let key = json::value_range(member, 0)?;
    let name = json::unquote(at_most(member, key.start, key.end)).unwrap_or_default();
    let value = json::value_range(member, key.end + 1)?;
    let raw = at_most(member, value.start, value.end);
    if asked.iter().any(|path| **path == *name) {
        out.extend_from_slice(member);
        return Ok(());
    }
    let below: Vec<&str> = asked.iter().filter_map(|path| path.strip_prefix(&*name)?.strip_prefix('.')).collect();
    if below.is_empty() || !matches!(raw.first(), Some(b'{' | b'[')) {
        return Ok(());
    }
    out.extend_from_slice(at_most(member, 0, value.start));
    project(raw, &below, out)
}

/// Appends what the paths select of an object, or of the objects in an array.
pub(crate) fn project(raw: &[u8], paths: &[&str], out: &mut Vec<u8>) -> Result<(), SyntaxError> {
    if raw.first() == Some(&b'[') {
        out.push(b'[');
        let start = out.len();
        for element in json::elements(raw)? {
            let element = element?;
            if !matches!(element.first(), Some(b'{' | b'[')) {
                continue;
            }
            let before = out.len();
            if before > start {
                out.push(b',');
            }
            let written = out.len();
            project(element, paths, out)?;
            if out.get(written..) == Some(b"{}") {
                out.truncate(before);
            }
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    let start = out.len();
    let owned: Vec<Cow<'_, str>> = paths.iter().map(|path| Cow::Borrowed(*path)).collect();
    for member in json::members(raw)? {
        let member = member?;
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        let written = out.len();
        project_member(at_most(raw, member.span.start, member.span.end), &owned, out)?;
        if out.len() == written {
            out.truncate(before);
        }
    }
    out.push(b'}');
    Ok(())
}

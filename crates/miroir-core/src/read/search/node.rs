//! What one node is asked.

use std::borrow::Cow;

use super::{IndexView, Name, Paging, SearchRequest, attributes};
use crate::base::json;
use crate::read::scope::Scope;

impl SearchRequest {
    /// The JSON body for a node, which is to return the head of its own ranking down to where the client's page ends.
    ///
    /// What confines the node is put into an array together with the client's filter; text is never pasted to text.
    pub fn node_body(&self, index: &IndexView<'_>, scope: &Scope<'_>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.text.len() + 256 + scope.shards.map_or(0, str::len));
        body.push(b'{');
        self.paging_into(index, &mut body);
        self.members_into(index, scope, self.merged_threshold(index).is_some(), &mut body);
        body.push(b'}');
        body
    }

    /// Likewise for a node that is asked for a federation of which this is one query: the page is not the query's, and
    /// the threshold is left to the nodes. `physical` is the node's name of the index, `options` are the query's own.
    pub fn federated_body(
        &self,
        index: &IndexView<'_>,
        scope: &Scope<'_>,
        physical: &str,
        options: Option<&[u8]>,
        body: &mut Vec<u8>,
    ) {
        body.extend_from_slice(b"{\"indexUid\":");
        json::quote_into(physical, body);
        if let Some(options) = options {
            body.extend_from_slice(b",\"federationOptions\":");
            body.extend_from_slice(options);
        }
        self.members_into(index, scope, false, body);
        body.push(b'}');
    }

    /// Appends all members but the paging ones, each after a comma.
    fn members_into(&self, index: &IndexView<'_>, scope: &Scope<'_>, without_threshold: bool, body: &mut Vec<u8>) {
        body.extend_from_slice(b",\"showRankingScore\":true,\"showRankingScoreDetails\":true");
        if !scope.is_open() {
            body.extend_from_slice(b",\"filter\":");
            scope.filter_into(self.filter(), body);
        }
        if let Some(attributes) = attributes::retrieved_from_nodes(self, index) {
            body.extend_from_slice(b",\"attributesToRetrieve\":");
            strings_into(&attributes, body);
        }
        for piece in &self.members {
            let narrowed = match (piece.name, index.displayed) {
                (Name::Paging | Name::Show | Name::Retrieve, _) => continue,
                (Name::Filter, _) if !scope.is_open() => continue,
                (Name::Threshold, _) if without_threshold => continue,
                (Name::Highlight, Some(displayed)) => {
                    self.highlight.as_deref().map(|asked| attributes::narrow(asked, displayed))
                }
                (Name::Crop, Some(displayed)) => {
                    self.crop.as_deref().map(|asked| attributes::narrow_crops(asked, displayed))
                }
                (Name::SearchOn, _) => {
                    scope.searched_on(self.bytes(&piece.value)).map(|names| names.into_iter().map(Cow::Owned).collect())
                }
                (Name::Filter | Name::Threshold | Name::Highlight | Name::Crop | Name::Other, _) => None,
            };
            body.extend_from_slice(b",\"");
            body.extend_from_slice(self.bytes(&piece.key));
            body.extend_from_slice(b"\":");
            match narrowed {
                Some(attributes) => strings_into(&attributes, body),
                None => body.extend_from_slice(self.bytes(&piece.value)),
            }
        }
    }

    /// How many hits are asked from the first: none for an empty page, unless the nodes' count of hits depends on how
    /// far they rank.
    fn depth(&self, index: &IndexView<'_>) -> usize {
        let window = self.paging.window(index.max_total_hits);
        let counts_what_it_ranks = self.threshold.is_some() || self.distinct(index).is_some();
        if window.is_empty() && !counts_what_it_ranks {
            return 0;
        }
        let end = window.end + usize::from(self.left_out.is_some());
        let end = end.saturating_mul(self.over_fetch).min(index.max_total_hits.max(end));
        index.pins.map_or(end, |pins| pins.depth(end))
    }

    fn paging_into(&self, index: &IndexView<'_>, body: &mut Vec<u8>) {
        let head = match self.paging {
            Paging::Offset { .. } => "\"offset\":0,\"limit\":",
            Paging::Page { .. } => "\"page\":1,\"hitsPerPage\":",
        };
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(self.depth(index).to_string().as_bytes());
    }
}

fn strings_into<S: AsRef<str>>(texts: &[S], body: &mut Vec<u8>) {
    body.push(b'[');
    for (position, text) in texts.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        json::quote_into(text.as_ref(), body);
    }
    body.push(b']');
}

//! What one node is asked.

use super::{IndexView, Name, Paging, SearchRequest, attributes};
use crate::auth::restrict;
use crate::json;

impl SearchRequest {
    /// The JSON body for a node, which is to return the head of its own ranking down to where the client's page ends.
    ///
    /// `shard_filter` restricts the node to the shards it is asked for, `None` when it holds no others. It is put into
    /// an array together with the client's filter; text is never pasted to text.
    pub fn node_body(&self, index: &IndexView<'_>, shard_filter: Option<&str>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.text.len() + 256 + shard_filter.map_or(0, str::len));
        body.push(b'{');
        self.paging_into(index, &mut body);
        body.extend_from_slice(b",\"showRankingScore\":true,\"showRankingScoreDetails\":true");
        if let Some(shards) = shard_filter {
            body.extend_from_slice(b",\"filter\":[");
            json::quote_into(shards, &mut body);
            self.filter_clauses_into(&mut body);
            body.push(b']');
        }
        if let Some(attributes) = attributes::retrieved_from_nodes(self, index) {
            body.extend_from_slice(b",\"attributesToRetrieve\":");
            strings_into(&attributes, &mut body);
        }
        for piece in &self.members {
            let narrowed = match (piece.name, index.displayed) {
                (Name::Paging | Name::Show | Name::Retrieve, _) => continue,
                (Name::Filter, _) if shard_filter.is_some() => continue,
                (Name::Threshold, _) if self.merged_threshold(index).is_some() => continue,
                (Name::Highlight, Some(displayed)) => {
                    self.highlight.as_deref().map(|asked| attributes::narrow(asked, displayed))
                }
                (Name::Crop, Some(displayed)) => {
                    self.crop.as_deref().map(|asked| attributes::narrow_crops(asked, displayed))
                }
                (Name::Filter | Name::Threshold | Name::Highlight | Name::Crop | Name::Other, _) => None,
            };
            body.extend_from_slice(b",\"");
            body.extend_from_slice(self.bytes(&piece.key));
            body.extend_from_slice(b"\":");
            match narrowed {
                Some(attributes) => strings_into(&attributes, &mut body),
                None => body.extend_from_slice(self.bytes(&piece.value)),
            }
        }
        body.push(b'}');
        body
    }

    /// The request with its filter restricted by another one: see [`restrict`].
    pub fn restricted(&self, rule: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.text.len() + rule.len() + 16);
        body.extend_from_slice(b"{\"filter\":");
        body.extend_from_slice(&restrict(self.filter(), rule));
        for piece in self.members.iter().filter(|piece| piece.name != Name::Filter) {
            body.extend_from_slice(b",\"");
            body.extend_from_slice(self.bytes(&piece.key));
            body.extend_from_slice(b"\":");
            body.extend_from_slice(self.bytes(&piece.value));
        }
        body.push(b'}');
        body
    }

    /// How many hits are asked from the first: none for an empty page, unless the nodes' count of hits depends on how
    /// far they rank.
    fn depth(&self, index: &IndexView<'_>) -> usize {
        let window = self.paging.window(index.max_total_hits);
        let counts_what_it_ranks = self.threshold.is_some() || self.distinct(index).is_some();
        if window.is_empty() && !counts_what_it_ranks { 0 } else { window.end }
    }

    fn paging_into(&self, index: &IndexView<'_>, body: &mut Vec<u8>) {
        let head = match self.paging {
            Paging::Offset { .. } => "\"offset\":0,\"limit\":",
            Paging::Page { .. } => "\"page\":1,\"hitsPerPage\":",
        };
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(self.depth(index).to_string().as_bytes());
    }

    /// The client's filter as further elements of an array that is ANDed.
    fn filter_clauses_into(&self, body: &mut Vec<u8>) {
        let Some(raw) = self.filter() else { return };
        match json::elements(raw) {
            Ok(clauses) => {
                for clause in clauses.flatten() {
                    body.push(b',');
                    body.extend_from_slice(clause);
                }
            }
            // Not an array, hence, as checked when it was read, a string.
            Err(_) => {
                body.push(b',');
                body.extend_from_slice(raw);
            }
        }
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

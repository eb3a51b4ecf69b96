//! Pages of documents on their way to a client.
//!
//! Invariant: of a page no more is in memory than one answer of each node, however large it is, and no node is asked for
//! more once the client has left. A page that has begun is whole or breaks off: what would be missing from it is never
//! passed over.

use std::collections::VecDeque;
use std::future::Future;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, unfold};

use crate::{Answer, Degraded, Error};

/// Bytes that are handed on together.
const TOGETHER: usize = 64 * 1024;

/// A page of documents.
pub enum Pages {
    /// All of it.
    Whole(Answer),
    /// The text of an answer, piece by piece.
    InPieces {
        /// What was missing when it began.
        degraded: Degraded,
        /// Ends with an error when the page cannot be had in whole.
        text: BoxStream<'static, Result<Bytes, Error>>,
    },
}

/// Where the documents of a page come from, in order.
pub(crate) trait Source: Send + 'static {
    /// The next documents, at least one; none: there are no more.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Bytes>>, Error>> + Send;

    /// Whether it is known that there are no more.
    fn is_done(&self) -> bool;
}

/// The page that `source` has behind its `first` documents; `tail` is what stands behind the documents.
pub(crate) fn pages(first: Vec<Bytes>, source: impl Source, tail: String, degraded: Degraded) -> Pages {
    if source.is_done() {
        let mut body = Text::default();
        body.documents(first);
        let body = body.ended(&tail);
        return Pages::Whole(Answer { body: body.into(), degraded });
    }
    let state = State { source, waiting: first.into(), text: Text::default(), tail, ended: false };
    Pages::InPieces { degraded, text: unfold(state, State::piece).boxed() }
}

struct State<S> {
    source: S,
    waiting: VecDeque<Bytes>,
    text: Text,
    tail: String,
    ended: bool,
}

impl<S: Source> State<S> {
    async fn piece(mut self) -> Option<(Result<Bytes, Error>, Self)> {
        while !self.ended {
            match self.waiting.pop_front() {
                Some(document) => self.text.documents([document]),
                None => match self.source.next().await {
                    Ok(Some(documents)) => self.waiting = documents.into(),
                    Ok(None) => {
                        self.ended = true;
                        let text = std::mem::take(&mut self.text).ended(&self.tail);
                        return Some((Ok(text.into()), self));
                    }
                    Err(error) => {
                        // Who reads sees the connection break: half a page is never taken for a whole one.
                        tracing::warn!(%error, "a page of documents breaks off");
                        self.ended = true;
                        return Some((Err(error), self));
                    }
                },
            }
            if self.text.bytes.len() >= TOGETHER {
                let bytes = std::mem::take(&mut self.text.bytes);
                return Some((Ok(bytes.into()), self));
            }
        }
        None
    }
}

/// The text of a page as far as it is written.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    begun: bool,
    has_documents: bool,
}

impl Text {
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.bytes.extend_from_slice(b"{\"results\":[");
        }
    }

    fn documents(&mut self, documents: impl IntoIterator<Item = Bytes>) {
        self.begin();
        for document in documents {
            if std::mem::replace(&mut self.has_documents, true) {
                self.bytes.push(b',');
            }
            self.bytes.extend_from_slice(&document);
        }
    }

    fn ended(mut self, tail: &str) -> Vec<u8> {
        self.begin();
        self.bytes.extend_from_slice(tail.as_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use miroir_core::base::id::ShardId;

    use super::*;

    /// Hands out what it has, then fails if it is to.
    struct Given(VecDeque<Vec<Bytes>>, bool);

    impl Source for Given {
        async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
            match self.0.pop_front() {
                None if self.1 => Err(Error::ShardUnavailable { shards: BTreeSet::from([ShardId(1)]) }),
                next => Ok(next),
            }
        }

        fn is_done(&self) -> bool {
            self.0.is_empty() && !self.1
        }
    }

    fn documents(count: usize, bytes: usize) -> Vec<Bytes> {
        (0..count).map(|number| Bytes::from(format!("{{\"n\":{number},\"x\":\"{}\"}}", "y".repeat(bytes)))).collect()
    }

    async fn text(pages: Pages) -> (Vec<usize>, String, bool) {
        let mut pieces = match pages {
            Pages::Whole(answer) => return (vec![1], String::from_utf8_lossy(&answer.body).into_owned(), true),
            Pages::InPieces { text, .. } => text,
        };
        let (mut sizes, mut whole) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => {
                    sizes.push(piece.len());
                    whole.extend_from_slice(&piece);
                }
                Err(_) => return (sizes, String::from_utf8_lossy(&whole).into_owned(), false),
            }
        }
        (sizes, String::from_utf8_lossy(&whole).into_owned(), true)
    }

    #[tokio::test]
    async fn a_page_in_pieces_is_the_page() {
        let tail = || "],\"total\":7}".to_owned();
        for (first, later) in [(0, vec![]), (1, vec![]), (1, vec![2]), (2, vec![1, 3]), (40, vec![40, 40])] {
            let all: Vec<Vec<Bytes>> = later.iter().map(|count| documents(*count, 3000)).collect();
            let mut expected: Vec<Bytes> = documents(first, 3000);
            expected.extend(all.iter().flatten().cloned());
            let texts: Vec<String> = expected.iter().map(|raw| String::from_utf8_lossy(raw).into_owned()).collect();
            let page = pages(documents(first, 3000), Given(all.into(), false), tail(), Degraded::default());
            let (sizes, found, whole) = text(page).await;
            assert!(whole && sizes.iter().all(|size| *size < TOGETHER + 4000), "{sizes:?}");
            assert_eq!(found, format!("{{\"results\":[{}],\"total\":7}}", texts.join(",")));
        }
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_had_in_whole_breaks_off() {
        let given = Given([documents(50, 3000)].into(), true);
        let (sizes, found, whole) = text(pages(documents(1, 10), given, "]}".into(), Degraded::default())).await;
        assert!(!whole && !sizes.is_empty() && !found.ends_with("]}"), "{sizes:?}");
    }
}

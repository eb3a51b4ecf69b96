//! A request body made of shared pieces.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

/// The body was to be sent earlier. What has left of the request is not the whole of it, and nobody acts on it.
#[derive(Debug, Error)]
#[error("it was to be sent earlier")]
pub struct TooLate;

/// Something that has to last while a body is sent.
pub trait Lasts: fmt::Debug + Send + Sync {
    /// Whether it still does.
    fn lasts(&self) -> bool;
}

/// Pieces sent one after the other, of known total length. Cloning shares the bytes.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    pieces: VecDeque<Bytes>,
    length: u64,
    send_by: Option<Instant>,
    while_lasts: Option<Arc<dyn Lasts>>,
}

impl Chunks {
    /// Append a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len() as u64;
        self.pieces.push_back(piece);
    }

    /// Not to be sent to its end after this instant.
    pub fn send_by(&mut self, instant: Instant) {
        self.send_by = Some(instant);
    }

    /// Not to be sent to its end when this lasts no more.
    pub fn send_while(&mut self, lasts: Arc<dyn Lasts>) {
        self.while_lasts = Some(lasts);
    }

    /// Too late to be sent.
    pub fn is_late(&self) -> bool {
        let has_ended = self.while_lasts.as_ref().is_some_and(|it| !it.lasts());
        has_ended || self.send_by.is_some_and(|by| Instant::now() > by)
    }

    /// Total bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// There are no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl From<Bytes> for Chunks {
    fn from(piece: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(piece);
        chunks
    }
}

impl From<Vec<u8>> for Chunks {
    fn from(piece: Vec<u8>) -> Self {
        Bytes::from(piece).into()
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        if self.is_late() {
            return Poll::Ready(Some(Err(TooLate)));
        }
        let piece = self.pieces.pop_front();
        self.length -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    #[derive(Debug)]
    struct Flag(AtomicBool);

    impl Lasts for Flag {
        fn lasts(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }
    }

    #[tokio::test]
    async fn what_is_to_be_sent_by_then_is_not_sent_later() {
        let body = || Chunks::from(b"all of it".to_vec());
        let whole = body().collect().await.expect("in time").to_bytes();
        assert_eq!(whole.as_ref(), b"all of it");
        let mut in_time = body();
        in_time.send_by(Instant::now() + Duration::from_secs(60));
        assert!(!in_time.is_late() && in_time.collect().await.is_ok());
        let mut late = body();
        late.send_by(Instant::now());
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(late.is_late() && late.collect().await.is_err());
        let mut guarded = body();
        let lasts = Arc::new(Flag(true.into()));
        guarded.send_while(lasts.clone());
        assert!(!guarded.is_late());
        lasts.0.store(false, Ordering::Release);
        assert!(guarded.is_late() && guarded.collect().await.is_err());
    }
}

//! A body that arrives in pieces, joined: one piece is kept as it is, several are copied once.

use bytes::{Bytes, BytesMut};

/// What has arrived.
#[derive(Default)]
pub struct Joined {
    first: Bytes,
    rest: BytesMut,
}

impl Joined {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// Nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One piece more; `expected`: how many bytes there will be altogether, as far as that is known.
    pub fn push(&mut self, piece: Bytes, expected: usize) {
        if self.is_empty() {
            self.first = piece;
            return;
        }
        if self.rest.is_empty() {
            self.rest.reserve(expected.max(self.len() + piece.len()));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&piece);
    }

    /// All of it.
    pub fn whole(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_order() {
        let mut joined = Joined::default();
        let mut lengths = Vec::new();
        for piece in ["", "a", "", "bc", "d"] {
            joined.push(Bytes::from_static(piece.as_bytes()), 0);
            lengths.push(joined.len());
        }
        assert_eq!((lengths, joined.whole()), (vec![0, 1, 1, 3, 4], Bytes::from_static(b"abcd")));
        assert_eq!(Joined::default().whole(), Bytes::new());
    }
}

//! Compressed request bodies, on every route that takes a body.
//!
//! Invariant: no more than the bound of a body is ever held of one, however small it came: a bomb is noticed at the bound and
//! not after it.

use std::io::Read;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;

use miroir_cluster::Error;
use miroir_node::budget::{Reserved, Spent};

/// Held beside the body while it is decompressed.
const PIECE_BYTES: usize = 64 * 1024;

/// How a body was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    /// With the wrapping of zlib.
    Deflate,
    Brotli,
    Zstd,
}

impl Encoding {
    /// What `Content-Encoding` says. `None` means that the body is not compressed; unknown encodings are taken for
    /// that, as Meilisearch does.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let name = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
        match name.as_str() {
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn reader<'a>(self, compressed: &'a [u8]) -> std::io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(compressed)),
            Self::Deflate => Box::new(flate2::read::ZlibDecoder::new(compressed)),
            Self::Brotli => Box::new(brotli::Decompressor::new(compressed, PIECE_BYTES)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(compressed)?),
        })
    }
}

/// Decompress, counting what comes of it against the budget, apart from the threads that answer requests.
///
/// # Errors
/// [`Error::Encoding`] when it cannot be decompressed; [`Error::TooLarge`] beyond the limit; [`Error::Overloaded`] when the
/// budget is spent.
pub async fn inflate(
    encoding: Encoding,
    compressed: Bytes,
    limit: u64,
    mut reserved: Reserved,
) -> Result<(Bytes, Reserved), Error> {
    let work = move || {
        let decoded = decode(encoding, &compressed, limit, |bytes| reserved.grow(bytes))?;
        // What it came from is not held any more.
        reserved.shrink(compressed.len() as u64);
        Ok((decoded, reserved))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))?
}

fn decode(
    encoding: Encoding,
    compressed: &[u8],
    limit: u64,
    mut account: impl FnMut(u64) -> Result<(), Spent>,
) -> Result<Bytes, Error> {
    let broken = |source| Error::Encoding { encoding: encoding.name(), source };
    let mut reader = encoding.reader(compressed).map_err(broken)?;
    let mut decoded = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = reader.read(&mut piece).map_err(broken)?;
        if read == 0 {
            return Ok(decoded.into());
        }
        if decoded.len() as u64 + read as u64 > limit {
            return Err(Error::TooLarge { limit });
        }
        account(read as u64)?;
        decoded.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;

    use super::*;

    fn of(text: &str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_str(text).expect("a value"));
        Encoding::of(&headers)
    }

    fn zeros(count: usize) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; count]).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn known_encodings_go_by_one_name_each_and_all_others_are_none() {
        assert_eq!(
            (of("gzip"), of(" GZip "), of("br")),
            (Some(Encoding::Gzip), Some(Encoding::Gzip), Some(Encoding::Brotli))
        );
        for none in ["identity", "x-gzip", "gzip, br", "compress", ""] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(Encoding::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_bomb_is_noticed_at_the_bound() {
        let bomb = zeros(64 << 20);
        let mut held = 0;
        let count = |bytes| {
            held += bytes;
            Ok(())
        };
        let refused = decode(Encoding::Gzip, &bomb, 1 << 20, count);
        assert!(matches!(refused, Err(Error::TooLarge { limit: 0x10_0000 })), "{refused:?}");
        assert!(held <= 1 << 20, "{held} bytes were held");
        let whole = decode(Encoding::Gzip, &zeros(1000), 1000, |_| Ok(()));
        assert_eq!(whole.map(|body| body.len()).ok(), Some(1000));
    }
}

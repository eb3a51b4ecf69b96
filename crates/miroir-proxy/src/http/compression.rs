//! Answers are compressed as one server compresses them: in the encoding that the client likes best, of those that it likes
//! equally well in `br` before `gzip` before `deflate`. A client that takes nothing but `zstd` gets that, which one server
//! has not.
//!
//! Invariant: what a client has not said to accept it does not get.

use std::convert::Infallible;
use std::future::ready;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use axum::http::{self, StatusCode};
use axum::response::{IntoResponse, Response};
use tower::{ServiceExt, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::SizeAbove;

use miroir_cluster::Cluster;

/// Bytes of the smallest answer that is compressed: that of `/health`, as with one server.
const SMALLEST: u64 = 22;

/// An encoding of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Zstd,
    Deflate,
    Gzip,
    Brotli,
}

impl Encoding {
    fn named(name: &str) -> Option<Self> {
        let known = [Self::Identity, Self::Zstd, Self::Deflate, Self::Gzip, Self::Brotli];
        known.into_iter().find(|encoding| encoding.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }

    /// Of two that a client likes equally well the later is taken.
    fn rank(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Zstd => 1,
            Self::Deflate => 2,
            Self::Gzip => 3,
            Self::Brotli => 4,
        }
    }

    /// Fast rather than small: what one server does.
    fn level(self) -> CompressionLevel {
        match self {
            Self::Brotli | Self::Zstd => CompressionLevel::Precise(3),
            Self::Gzip | Self::Deflate | Self::Identity => CompressionLevel::Fastest,
        }
    }
}

/// What an `Accept-Encoding` header says of one name, `*` among them, and how much it is liked, in thousandths.
struct Liking<'a> {
    name: &'a str,
    thousandths: u16,
}

impl<'a> Liking<'a> {
    fn read(item: &'a str) -> Option<Self> {
        let (name, parameter) = item.split_once(';').unwrap_or((item, ""));
        let name = name.trim();
        let thousandths = match parameter.trim() {
            "" => 1000,
            parameter => {
                let (q, value) = parameter.split_once('=')?;
                let value: f32 = value.trim().parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
                if !q.trim().eq_ignore_ascii_case("q") {
                    return None;
                }
                (value * 1000.0).round() as u16
            }
        };
        (!name.is_empty()).then_some(Self { name, thousandths })
    }
}

/// The encoding to answer in; `None`: there is none that the client would take.
fn negotiate(headers: &HeaderMap) -> Option<Encoding> {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let likings: Vec<Liking<'_>> = values.flat_map(|value| value.split(',')).filter_map(Liking::read).collect();
    let named = |liking: &Liking<'_>| Encoding::named(liking.name).map(|encoding| (encoding, liking.thousandths));
    let liked = || likings.iter().filter_map(named).filter(|(_, thousandths)| *thousandths > 0);
    // One server does not know it: whoever takes anything else gets that.
    let compressed = liked().any(|(encoding, _)| !matches!(encoding, Encoding::Zstd | Encoding::Identity));
    let usable = liked().filter(|(encoding, _)| *encoding != Encoding::Zstd || !compressed);
    if let Some((best, _)) = usable.max_by_key(|(encoding, thousandths)| (*thousandths, encoding.rank())) {
        return Some(best);
    }
    let of_identity = |liking: &&Liking<'_>| liking.name.eq_ignore_ascii_case("identity") || liking.name == "*";
    // The most telling first: what is liked, then what is named.
    let said = likings.iter().filter(of_identity).max_by_key(|liking| (liking.thousandths, liking.name != "*"));
    said.is_none_or(|liking| liking.thousandths > 0).then_some(Encoding::Identity)
}

/// Compresses the answer, if the client takes that and the operator wants it.
pub async fn compressed<Fut: Future<Output = Response>>(
    cluster: &Cluster,
    request: Request,
    next: impl FnOnce(Request) -> Fut,
) -> Response {
    if !cluster.state.config.server.compress_responses {
        return next(request).await;
    }
    let Some(encoding) = negotiate(request.headers()) else { return not_acceptable() };
    let response = next(request).await;
    let bytes = response.body().size_hint();
    if encoding == Encoding::Identity || bytes.upper().is_some_and(|most| most < SMALLEST) {
        return response;
    }
    in_encoding(encoding, response).await
}

async fn in_encoding(encoding: Encoding, response: Response) -> Response {
    let mut answer = Some(response);
    let answer = service_fn(move |_: http::Request<()>| ready(Ok::<_, Infallible>(answer.take().unwrap_or_default())));
    let service = Compression::new(answer).quality(encoding.level()).compress_when(SizeAbove::new(0));
    let asked = http::Request::builder().header(ACCEPT_ENCODING, encoding.name()).body(()).unwrap_or_default();
    let Ok(response) = service.oneshot(asked).await;
    response.map(Body::new)
}

fn not_acceptable() -> Response {
    let mut response = (StatusCode::NOT_ACCEPTABLE, "br, gzip, deflate, zstd").into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(header: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(header).expect("a value"));
        negotiate(&headers).map(Encoding::name)
    }

    #[test]
    fn the_best_liked_encoding_is_taken_as_one_server_takes_it() {
        assert_eq!(negotiate(&HeaderMap::new()), Some(Encoding::Identity));
        for (header, expected) in [
            ("", Some("identity")),
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("deflate", Some("deflate")),
            ("gzip, deflate, br", Some("br")),
            // As browsers send it.
            ("gzip, deflate, br, zstd", Some("br")),
            ("br;q=0.5, gzip;q=0.8", Some("gzip")),
            ("br;q=0.5, gzip;q=0.5", Some("br")),
            ("identity;q=1, gzip;q=0.9", Some("identity")),
            ("gzip;q=0", Some("identity")),
            ("compress", Some("identity")),
            ("*", Some("identity")),
            ("*;q=0, gzip", Some("gzip")),
            ("*;q=0", None),
            ("identity;q=0", None),
            ("identity;q=0, br;q=0.001", Some("br")),
            ("identity, *;q=0", Some("identity")),
            // Who takes nothing else, and who does.
            ("zstd", Some("zstd")),
            ("zstd, identity", Some("zstd")),
            ("zstd;q=0.5, identity", Some("identity")),
            ("zstd, gzip;q=0.1", Some("gzip")),
            // What cannot be read says nothing.
            ("gzip;q=2", Some("identity")),
            ("gzip;level=9", Some("identity")),
            (", ,gzip", Some("gzip")),
        ] {
            assert_eq!(chosen(header), expected, "{header}");
        }
    }
}

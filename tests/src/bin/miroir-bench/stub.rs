//! A node that costs nothing: canned answers over HTTP, so that the CPU time of what stands before it can be told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};

/// Hits in an answer.
pub const HITS: usize = 20;

/// A search answer of about `bytes` bytes, as a client sees it; `details` adds what the merge compares by. Different
/// `stub` numbers give answers whose hits interleave.
pub fn answer(stub: usize, bytes: usize, details: bool) -> Vec<u8> {
    let room = (bytes.saturating_sub(150) / HITS).saturating_sub(40).max(8);
    let hits: Vec<Value> = (0..HITS).map(|i| hit(stub, i, room, details)).collect();
    json!({ "hits": hits, "query": "word", "processingTimeMs": 1, "limit": HITS, "offset": 0, "estimatedTotalHits": 1000, "requestUid": "019a0000-0000-7000-8000-000000000000" })
        .to_string()
        .into_bytes()
}

fn hit(stub: usize, i: usize, room: usize, details: bool) -> Value {
    let text: String = "lorem ipsum dolor sit amet ".chars().cycle().take(room).collect();
    let mut hit = json!({ "id": i * 10 + stub, "title": text });
    if details {
        let score = 1.0 - (i * 3 + stub) as f64 / 97.0;
        hit["_rankingScore"] = json!(score);
        hit["_rankingScoreDetails"] = json!({
            "words": { "order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0 },
            "typo": { "order": 1, "typoCount": 0, "maxTypoCount": 2, "score": 1.0 },
            "proximity": { "order": 2, "score": 1.0 },
            "attributeRank": { "order": 3, "score": 0.8888888888888888 },
            "wordPosition": { "order": 4, "score": score },
            "exactness": { "order": 5, "matchType": "noExactMatch", "matchingWords": 2, "maxMatchingWords": 2, "score": 0.3333333333333333 },
        });
    }
    hit
}

/// The answer to a multi-search whose every query is answered by `search`.
pub fn multi(index: &str, search: &[u8], queries: usize) -> Vec<u8> {
    let result = format!("{{\"indexUid\":\"{index}\",{}", String::from_utf8_lossy(search.get(1..).unwrap_or_default()));
    format!("{{\"results\":[{}]}}", vec![result; queries].join(",")).into_bytes()
}

/// Serves on `port` until the process ends: `search` to every search, `multi` to every multi-search, `version` to `/version`, health to the rest.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, search: &[u8], multi: &[u8], version: &[u8]) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let answers =
        Arc::new([response(search), response(multi), response(version), response(br#"{"status":"available"}"#)]);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // A connection that breaks is the other side's affair.
            std::thread::spawn(move || converse(stream, &answers));
        }
    });
    Ok(())
}

fn response(body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn converse(stream: TcpStream, answers: &[Vec<u8>; 4]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("").to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        let [search, multi, version, health] = answers;
        writer.write_all(match () {
            () if path.contains("/multi-search") => multi,
            () if path.contains("/search") => search,
            () if path.starts_with("/version") => version,
            () => health,
        })?;
    }
}

//! HTTP at the level of bytes: for requests that no well-behaved client sends, and for measuring without a client's own
//! cost.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer, unparsed.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// A header's value; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Connection {
    /// Connects to `address` (`host:port`).
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn open(address: &str) -> io::Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self { reader: BufReader::with_capacity(64 << 10, writer.try_clone()?), writer })
    }

    /// Sends a whole request and reads the answer.
    ///
    /// # Errors
    /// When the connection breaks or what comes is not HTTP.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<RawAnswer> {
        self.writer.write_all(request)?;
        self.read()
    }

    /// Sends bytes from another thread while the answer is awaited here: a server may answer, and stop reading, long
    /// before it has seen the whole body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn exchange_large(&mut self, head: &[u8], body: impl Iterator<Item = Vec<u8>> + Send) -> io::Result<RawAnswer> {
        let mut writer = self.writer.try_clone()?;
        std::thread::scope(|scope| {
            scope.spawn(move || -> io::Result<()> {
                writer.write_all(head)?;
                for piece in body {
                    writer.write_all(&piece)?;
                }
                Ok(())
            });
            self.read()
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn read(&mut self) -> io::Result<RawAnswer> {
        let status = loop {
            let line = self.line()?;
            let status = line.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
            match status.ok_or_else(|| io::Error::other(format!("not a status line: {line}")))? {
                100 => while !self.line()?.is_empty() {},
                status => break status,
            }
        };
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = RawAnswer { status, headers, body: Vec::new() };
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            self.chunks(&mut answer.body)?;
        } else if let Some(length) = answer.header("content-length").and_then(|length| length.parse().ok()) {
            answer.body.resize(length, 0);
            self.reader.read_exact(&mut answer.body)?;
        } else if status != 204 {
            self.reader.read_to_end(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.reader.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

/// The bytes of a request with a body.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(method, path, headers, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// The bytes of a request's head; `length` is that of the body to follow.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

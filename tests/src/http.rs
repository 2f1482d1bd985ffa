//! Fetches one body over HTTP/1.0: enough to hold a web server to its files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The body of `path`; nothing unless the answer is a whole 200.
pub fn get(addr: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split_ascii_whitespace().nth(1)?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let body = answer.split_off(end + 4);
    (status == "200" && length.trim().parse() == Ok(body.len())).then_some(body)
}

//! A tiny RESP2 client, so that tests can play the honest user and the stranger on a node.
//!
//! Blocking, one request at a time, no reuse of the project's own codec: a bug there must not hide
//! itself here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A reply of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR ...`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// `$3`, or nothing for `$-1`.
    Bulk(Option<Vec<u8>>),
    /// `*2`.
    Array(Vec<Reply>),
}

/// A connection to a node.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects; replies that never come are errors after a generous time.
    pub fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Client {
            stream: BufReader::new(stream),
        })
    }

    /// Sends one request and reads its reply.
    pub fn ask(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        self.stream.get_mut().write_all(&encode(words))?;
        self.read_reply()
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that no more will be sent.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.get_mut().shutdown(Shutdown::Write);
    }

    /// Reads one reply.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        let line = self.read_line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| bad("empty line"))?;
        match kind {
            "+" => Ok(Reply::Simple(rest.into())),
            "-" => Ok(Reply::Error(rest.into())),
            ":" => Ok(Reply::Integer(number(rest)?)),
            "$" => self.read_bulk(number(rest)?),
            "*" => (0..number(rest)?)
                .map(|_| self.read_reply())
                .collect::<io::Result<_>>()
                .map(Reply::Array),
            _ => Err(bad(&line)),
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_string())
    }

    fn read_bulk(&mut self, length: i64) -> io::Result<Reply> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(Reply::Bulk(None));
        };
        let mut value = vec![0; length + 2];
        self.stream.read_exact(&mut value)?;
        value.truncate(length);
        Ok(Reply::Bulk(Some(value)))
    }

    /// PING.
    pub fn ping(&mut self) -> io::Result<()> {
        match self.ask(&[b"PING"])? {
            Reply::Simple(pong) if pong == "PONG" => Ok(()),
            other => Err(bad(&format!("{other:?}"))),
        }
    }

    /// GET.
    pub fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.ask(&[b"GET", key])? {
            Reply::Bulk(value) => Ok(value),
            other => Err(bad(&format!("{other:?}"))),
        }
    }

    /// SET.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match self.ask(&[b"SET", key, value])? {
            Reply::Simple(ok) if ok == "OK" => Ok(()),
            other => Err(bad(&format!("{other:?}"))),
        }
    }

    /// INFO, as text.
    pub fn info(&mut self) -> io::Result<String> {
        match self.ask(&[b"INFO"])? {
            Reply::Bulk(Some(text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
            other => Err(bad(&format!("{other:?}"))),
        }
    }
}

/// A request on the wire.
pub fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        wire.extend_from_slice(word);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| bad(text))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_in_bytes() {
        assert_eq!(
            encode(&[b"GET", b"k\0"]),
            b"*2\r\n$3\r\nGET\r\n$2\r\nk\0\r\n"
        );
    }
}

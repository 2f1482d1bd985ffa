//! A listening ear between a session and its node.
//!
//! Forwards every byte both ways and remembers the keys of SET requests, so that a test can play a
//! stranger who knows the keys, on nodes that do not list them. Threads and blocking sockets; gone
//! with the test's process.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Requests longer than this are a bug of the test, not something to buffer.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A proxy in front of one node.
pub struct Ear {
    /// Where sessions connect.
    pub addr: SocketAddr,
    keys: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Ear {
    /// Listens on a free port and forwards to `node`.
    pub fn on(node: SocketAddr) -> Ear {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the proxy");
        let addr = listener.local_addr().expect("bound");
        let keys = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&keys);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                // A node that is down closes the client, as it would without the proxy.
                if let Ok(server) = TcpStream::connect(node) {
                    forward(client, server, heard);
                }
            }
        });
        Ear { addr, keys }
    }

    /// The keys stored so far, in order, each once.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let mut seen = std::collections::HashSet::new();
        let all = self.keys.lock().expect("not poisoned");
        all.iter()
            .filter(|key| seen.insert((*key).clone()))
            .cloned()
            .collect()
    }
}

fn forward(client: TcpStream, server: TcpStream, heard: Arc<Mutex<Vec<Vec<u8>>>>) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_out, server_out) = (
        client.try_clone().expect("dup"),
        server.try_clone().expect("dup"),
    );
    thread::spawn(move || {
        pump(client, server_out, |bytes, pending| {
            pending.extend_from_slice(bytes);
            assert!(pending.len() < REQUEST_BYTES_MAX, "an endless request");
            while let Some((words, used)) = parse_request(pending) {
                if words
                    .first()
                    .is_some_and(|verb| verb.eq_ignore_ascii_case(b"SET"))
                {
                    heard.lock().expect("not poisoned").push(words[1].clone());
                }
                pending.drain(..used);
            }
        })
    });
    thread::spawn(move || pump(server, client_out, |_, _| ()));
}

pub(crate) fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    mut look: impl FnMut(&[u8], &mut Vec<u8>),
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut pending = Vec::new();
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        look(&buffer[..count], &mut pending);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// The first whole request in `bytes` and its length; nothing while it is not whole.
fn parse_request(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = parse_head(bytes, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, used) = parse_head(&bytes[at..], b'$')?;
        at += used;
        words.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

fn parse_head(bytes: &[u8], kind: u8) -> Option<(usize, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let digits = bytes[..end].strip_prefix(&[kind])?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    #[test]
    fn a_request_is_parsed_only_when_whole() {
        let wire = encode(&[b"SET", b"key", b"value"]);
        assert!(parse_request(&wire[..wire.len() - 1]).is_none());
        let (words, used) = parse_request(&wire).expect("whole");
        assert_eq!((words[1].as_slice(), used), (b"key".as_slice(), wire.len()));
    }
}

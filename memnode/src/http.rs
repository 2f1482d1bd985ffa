//! `--metrics`: two pages over HTTP, `/metrics` for Prometheus and `/healthz` for load balancers.
//!
//! Called by `main`, beside the node. One request a connection, few connections at a time, little
//! patience: whoever misuses it gets nothing, and the node does not notice.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use memnode::Node;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 8;

/// Longest request in bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A request and its answer take no longer.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Said to what is not HTTP at all.
const NO_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

/// How long accepting pauses when the process has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever.
///
/// # Errors
/// The socket is not one to listen on.
pub async fn serve(listener: StdListener, node: Node) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(()); // never closed
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept for --metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let node = node.clone();
        tokio::spawn(async move {
            let _ = timeout(TIME_MAX, answer(stream, &node)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, node: &Node) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let got = stream.read(&mut piece).await?;
        if got == 0 || request.len() + got > REQUEST_BYTES_MAX {
            return Ok(());
        }
        request.extend_from_slice(&piece[..got]);
        if !request[0].is_ascii_uppercase() {
            // Somebody took this port for the node's.
            return stream.write_all(NO_HTTP).await;
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or(b"");
    let page = page(&String::from_utf8_lossy(line), node);
    stream.write_all(page.as_bytes()).await?;
    stream.shutdown().await
}

/// The answer to a request line.
fn page(line: &str, node: &Node) -> String {
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = path.split('?').next().unwrap_or("");
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", memnode::metrics::text(&node.stats())),
        ("GET" | "HEAD", "/healthz") if node.is_draining() => {
            ("503 Service Unavailable", "draining\n".to_string())
        }
        ("GET" | "HEAD", "/healthz") => ("200 OK", "ok\n".to_string()),
        ("GET" | "HEAD", _) => ("404 Not Found", "/metrics or /healthz\n".to_string()),
        _ => ("405 Method Not Allowed", "GET\n".to_string()),
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

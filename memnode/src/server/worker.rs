//! A worker: one thread, one runtime, its share of the connections, nothing handed over.
//!
//! Called by `server`. Connections stay with the worker they were given to, so a request never
//! crosses a thread, and what a worker needs for a burst (input, parser, output) it has once.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::connection::Connection;
use super::transport::Transport;
use super::{Client, Shared, spin};
use crate::tls::Tls;

/// A socket that was let in.
pub struct Admitted {
    /// The socket, not blocking.
    pub stream: StdStream,
    /// Its entry in the list of clients.
    pub client: Client,
    /// Its place among the connections that may be open.
    pub place: OwnedSemaphorePermit,
}

/// The server's end of a worker.
pub struct Worker {
    admitted: mpsc::UnboundedSender<Admitted>,
    /// How many connections it has; it counts down itself.
    connections: Arc<AtomicUsize>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts a worker that ends when `stopped` turns true.
    ///
    /// # Errors
    /// No thread or no runtime to be had.
    pub fn start(
        index: usize,
        shared: Arc<Shared>,
        mut stopped: watch::Receiver<bool>,
    ) -> io::Result<Worker> {
        // Unbounded, yet bounded: every socket in it holds one of a fixed number of places.
        let (admitted, mut arrivals) = mpsc::unbounded_channel::<Admitted>();
        let (end, ended) = oneshot::channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name(format!("memnode-{index}"))
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped.wait_for(|stopped| *stopped) => {}
                        () = spin::run(shared.clone()) => {}
                        () = async {
                            while let Some(admitted) = arrivals.recv().await {
                                let facts = admitted.client.facts.clone();
                                let count = Count(count.clone());
                                let task = tokio::spawn(serve(admitted, shared.clone(), count));
                                facts.runs_as(task.abort_handle());
                            }
                        } => {}
                    }
                });
                drop(runtime); // closes every connection before the end is reported
                let _ = end.send(());
            })?;
        Ok(Worker {
            admitted,
            connections,
            ended,
        })
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Gives it one more.
    pub fn hand_over(&self, admitted: Admitted) {
        self.connections.fetch_add(1, Relaxed);
        let _ = self.admitted.send(admitted);
    }

    /// Waits for its end.
    pub async fn join(self) {
        drop(self.admitted);
        let _ = self.ended.await;
    }
}

/// Counts a connection out, however it ends.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

async fn serve(admitted: Admitted, shared: Arc<Shared>, count: Count) {
    let Admitted {
        stream,
        client,
        place,
    } = admitted;
    let peer = client.facts.peer;
    match TcpStream::from_std(stream) {
        Err(error) => tracing::warn!(%error, "cannot serve a connection"),
        Ok(stream) => match shake_hands(stream, &shared).await {
            Ok(transport) => Connection::new(transport, shared, client).serve().await,
            Err(error) => {
                if shared.handshake_failed() {
                    tracing::warn!(%peer, %error, "a TLS handshake failed");
                }
            }
        },
    }
    drop((place, count));
}

/// Nothing to do without TLS; with it, a stranger has as long as to say a password.
async fn shake_hands(stream: TcpStream, shared: &Shared) -> io::Result<Transport> {
    let Some(acceptor) = shared.tls.read().as_ref().map(Tls::acceptor) else {
        return Ok(Transport::Plain(stream));
    };
    let limit = shared.config.stranger_time_max;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took too long");
    timeout(limit, Transport::secure(stream, acceptor))
        .await
        .map_err(late)?
}

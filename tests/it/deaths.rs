//! Whatever dies, the target does not notice: hook server, node, and hooktool as init.
//!
//! Everything is killed, stopped and continued for real, under load. The target may get slower, for
//! a moment; it may not lose a connection, fail a transaction, or log a recovery.

#[path = "deaths/cluster.rs"]
mod cluster;
#[path = "deaths/hook_server.rs"]
mod hook_server;
#[path = "deaths/init.rs"]
mod init;
#[path = "deaths/liar.rs"]
mod liar;
#[path = "deaths/node.rs"]
mod node;
#[path = "deaths/pool.rs"]
mod pool;
#[path = "deaths/rounds.rs"]
mod rounds;
#[path = "deaths/shuffle.rs"]
mod shuffle;
#[path = "deaths/tls.rs"]
mod tls;

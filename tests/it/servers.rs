//! Real servers on a hooked disk: PostgreSQL, MariaDB, SQLite, Redis, LMDB, RocksDB, nginx, Apache,
//! lighttpd; and the two exercisers, fio and fsx. Every byte right.
//!
//! PostgreSQL brings its own oracles: page checksums, `pg_amcheck --heapallindexed`, and the books
//! of pgbench, which balance or do not. SQLite is compared with a model after each step.

#[path = "servers/daemons.rs"]
mod daemons;
#[path = "servers/fio.rs"]
mod fio;
#[path = "servers/fsx.rs"]
mod fsx;
#[path = "servers/mariadb.rs"]
mod mariadb;
#[path = "servers/postgresql.rs"]
mod postgresql;
#[path = "servers/restarts.rs"]
mod restarts;
#[path = "servers/sqlite3.rs"]
mod sqlite3;
#[path = "servers/stores.rs"]
mod stores;
#[path = "servers/web.rs"]
mod web;

//! Real servers on a hooked disk: PostgreSQL 15, SQLite, fio and fsx, every byte right.
//!
//! PostgreSQL brings its own oracles: page checksums, `pg_amcheck --heapallindexed`, and the books
//! of pgbench, which balance or do not. SQLite is compared with a model after each step.

#[path = "servers/fio.rs"]
mod fio;
#[path = "servers/fsx.rs"]
mod fsx;
#[path = "servers/postgresql.rs"]
mod postgresql;
#[path = "servers/sqlite3.rs"]
mod sqlite3;

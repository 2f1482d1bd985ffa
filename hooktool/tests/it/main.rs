//! hooktool from outside: exit statuses, messages, settings, verdicts, and what a target inherits.
//!
//! The hook driver here is an empty shared object: these tests are about the command line and the
//! launch, not about what is served. Whole sessions with the real driver are tested elsewhere.

mod house;

mod bus;
mod bus_troubles;
mod certificates;
mod check;
mod inherit;
mod init;
mod limits;
mod refuse;
mod relay;
mod session;
mod settings;
mod units;

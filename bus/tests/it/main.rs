//! Channels in real files, used from this process: what a user of the crate relies on. The deaths
//! of processes are in `tests/crash`, the schedules in `tests/model`.
#![cfg(not(feature = "model"))]

mod allocation;
mod batch;
mod damage;
mod endpoint;
mod files;
mod fork;
mod queue;
mod support;
mod waiting;

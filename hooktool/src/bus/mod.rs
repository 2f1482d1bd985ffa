//! `hooktool bus`: everything an operator does with a bus.
//!
//! One file per command or pair of commands; `table` reads what `apply` is given. Nothing here is
//! needed by the programs that use the bus: it makes, shows and removes channel files, and binds an
//! address where it sends or receives itself.

pub mod cli;

mod apply;
mod bench;
mod clean;
mod dump;
mod exchange;
mod list;
mod record;
mod relay;
mod routes;
mod see;
mod table;
mod top;
mod trace;
mod xml;

use std::path::PathBuf;
use std::time::Duration;

use bus::channel::{Access, File};
use bus::{Address, Bus, Error, Wait};

use self::cli::{BusArgs, BusCommand};
use crate::failure::{self, Failure};

/// Runs `hooktool bus`.
///
/// # Errors
///
/// What the user is to be told.
pub fn dispatch(arguments: &BusArgs) -> Result<u8, Failure> {
    let name = named(arguments.name.as_deref())?;
    let open = || Bus::open(name.unwrap_or("default")).map_err(told);
    match &arguments.command {
        BusCommand::Apply(apply) => apply::apply(name, apply),
        BusCommand::Ls(ls) => list::list(&open()?, ls),
        BusCommand::See(see) => see::see(&open()?, see),
        BusCommand::Dump(dump) => dump::dump(&open()?, dump),
        BusCommand::Test(test) => exchange::test(&open()?, test),
        BusCommand::Send(send) => exchange::send(&open()?, send),
        BusCommand::Recv(recv) => exchange::receive(&open()?, recv),
        BusCommand::Clean(clean) => clean::clean(&open()?, clean),
        BusCommand::Rm(rm) => clean::remove(&open()?, rm),
        BusCommand::Routes(routes) => routes::dispatch(&open()?, routes),
        BusCommand::Relay(relay) => relay::relay(&open()?, relay),
        BusCommand::Top(top) => top::top(&open()?, top),
        BusCommand::Trace(trace) => trace::trace(&open()?, trace),
        BusCommand::Record(record) => record::record(&open()?, record),
        BusCommand::Replay(replay) => record::replay(&open()?, replay),
        BusCommand::Bench(bench) => bench::bench(bench),
    }
}

/// The bus that was named; an empty variable counts as none, and is told.
fn named(name: Option<&str>) -> Result<Option<&str>, Failure> {
    match name {
        Some("") if std::env::var_os("HOOKTOOL_BUS").is_some_and(|value| value.is_empty()) => {
            failure::note("HOOKTOOL_BUS is empty: it counts as not set");
            Ok(None)
        }
        Some("") => Err(Failure::usage(
            "--bus: '' is no name of a bus",
            "a bus is a name, or (with a slash) a directory",
            "write:  --bus orders, or --bus /dev/shm/orders, or leave it out",
        )),
        name => Ok(name),
    }
}

/// An error of the bus as the user reads it.
fn told(error: Error) -> Failure {
    let text = error.to_string();
    let (means, fix) = match &error {
        Error::BadAddress { .. } | Error::BadTemplate { .. } => {
            return Failure::usage(
                text,
                "nothing was sent, received or changed",
                "the addresses there are:  hooktool bus ls",
            );
        }
        Error::Bound { owner, .. } => held(bus::owner::pid_of(owner.word)),
        Error::NoChannel { .. } => (
            "nobody has made it on this bus; an address alone is none".to_string(),
            "see what there is:  hooktool bus ls   on another bus:  --bus NAME".to_string(),
        ),
        Error::System { errno, .. } if errno.kind() == std::io::ErrorKind::PermissionDenied => (
            "channels are open to their user and group only".to_string(),
            "look at them:  ls -l, id; or use sudo".to_string(),
        ),
        Error::System { path, errno, .. } if errno.kind() == std::io::ErrorKind::NotFound => (
            "there is nothing of that name".to_string(),
            format!("look:  ls -ld {}", path.display()),
        ),
        Error::Full => (
            "the receiver is behind, stopped or not there".to_string(),
            "look who:  hooktool bus see --all".to_string(),
        ),
        Error::Empty => (
            "without --wait, recv takes what is there".to_string(),
            "wait for one:  --wait 60   look what is queued:  hooktool bus see --all".to_string(),
        ),
        _ => (
            "nothing was changed by this call".to_string(),
            "see what there is:  hooktool bus ls".to_string(),
        ),
    };
    Failure::command(text, means, fix)
}

/// What it means that process `pid` holds an end, and what to type.
fn held(pid: u32) -> (String, String) {
    if is_relay(pid) {
        return (
            "the relay carries what is sent to that address to another host".to_string(),
            "receive it there; where that is:  hooktool bus routes ls".to_string(),
        );
    }
    (
        "an end belongs to one process at a time, and this one is not proved dead".to_string(),
        format!("see what it is:  ps -fp {pid}   if nobody needs it:  kill {pid}"),
    )
}

/// Whether a process is `hooktool bus relay`.
fn is_relay(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.any(|word| word == b"bus") && words.any(|word| word == b"relay")
}

/// Every channel that can be opened; the others are told on standard error.
fn channels(bus: &Bus) -> Result<Vec<File>, Failure> {
    let mut found = Vec::new();
    for file in bus.files(Access::View).map_err(told)? {
        match file {
            Ok(file) => found.push(file),
            Err(error) => eprintln!("hooktool: {error}"),
        }
    }
    Ok(found)
}

/// An address as the bus writes it.
fn address(bus: &Bus, text: &str) -> Result<Address, Failure> {
    bus.template()
        .and_then(|template| template.address(text))
        .map_err(told)
}

/// The channel file that two addresses, or the number in `ls`, name.
fn channel(bus: &Bus, words: &[String]) -> Result<PathBuf, Failure> {
    if let [number] = words {
        let nth = number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        let files = bus.files(Access::View).map_err(told)?;
        let found = nth.and_then(|nth| files.into_iter().nth(nth));
        let found = found.map(|file| match file {
            Ok(file) => file.path().to_path_buf(),
            Err(error) => error.path().map(PathBuf::from).unwrap_or_default(),
        });
        return found.ok_or_else(|| {
            Failure::usage(
                match number.contains('.') {
                    true => format!("{number} is one end, of which there may be many channels"),
                    false => format!("no channel number {number}"),
                },
                "a channel is named by its two ends, or by its number in the list",
                "see the list:  hooktool bus ls",
            )
        });
    }
    let template = bus.template().map_err(told)?;
    let ends = [address(bus, &words[0])?, address(bus, &words[1])?];
    let path = bus.path_of(template, ends);
    match path.exists() {
        true => Ok(path),
        false => Err(told(Error::no_pair(
            template.show(ends[0]),
            template.show(ends[1]),
        ))),
    }
}

/// Seconds to wait; none: not at all.
fn wait(seconds: u64) -> Wait {
    match seconds {
        0 => Wait::No,
        seconds => Wait::For(Duration::from_secs(seconds)),
    }
}

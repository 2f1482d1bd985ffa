//! What the viewers of running sessions share, and the orders `on`, `off`, `flush`.
//!
//! Data go to standard output, in columns or as JSON lines; what was done is said on standard
//! error.

use std::io::Write;

use crate::cli::SelectArgs;
use crate::control::{Request, Response, ServiceState, SessionInfo};
use crate::failure::{self, Failure};
use crate::sessions;

/// Writes one line and lets it be seen at once.
///
/// # Errors
///
/// Nobody reads any more.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| {
            Failure::command(
                format!("cannot write the output: {error}"),
                "what follows would be lost",
                "look at the device or pipe it goes to",
            )
        })
}

/// A value as one line of JSON.
///
/// # Errors
///
/// As `line`.
pub fn json_line(value: &impl serde::Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).unwrap_or_default())
}

/// A state in words: `serving`, `bypass: node unreachable`.
pub fn state_words(state: ServiceState, reason: Option<&str>) -> String {
    let word = match state {
        ServiceState::Serving => "serving",
        ServiceState::Observing => "observing",
        ServiceState::Off => "off",
        ServiceState::Bypass => "bypass",
        ServiceState::Gone => "hook server gone",
        ServiceState::Silent => "hook server silent",
    };
    match reason {
        Some(reason) => format!("{word}: {reason}"),
        None => word.to_string(),
    }
}

/// A share in percent, one digit; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".into(),
        _ => format!("{:.1}", part as f64 * 100.0 / whole as f64),
    }
}

/// `hooktool on`, `off`, `flush`: carries the order out in every session that is meant, and says
/// so.
///
/// # Errors
///
/// No such session, or one of them refuses.
pub fn order(arguments: &SelectArgs, request: &Request) -> Result<u8, Failure> {
    let mut outcome = Ok(0);
    for mut found in sessions::select(arguments.name.as_deref(), verb(request))? {
        let who = sessions::who(&found.info);
        match found.link.ask(request).and_then(done) {
            Ok(()) => failure::note(&format!(
                "session {} {who} {}",
                found.info.name,
                done_words(request, &found.info)
            )),
            Err(failure) => outcome = outcome.and(Err(failure)),
        }
    }
    outcome
}

fn done(answer: Response) -> Result<(), Failure> {
    match answer {
        Response::Done => Ok(()),
        other => Err(refused(other)),
    }
}

fn done_words(request: &Request, info: &SessionInfo) -> &'static str {
    let lingers = info.processes.is_empty() && sessions::awaited(info).is_none();
    match request {
        Request::Service { on: true } => "is on: hot blocks are served",
        Request::Service { on: false } if lingers => "is ended: nobody was in it",
        Request::Service { on: false } => "is off: every read goes to the kernel",
        _ => "is flushed: no block held so far is read again; nodes evict them in time",
    }
}

/// The command that makes an order.
fn verb(request: &Request) -> &'static str {
    match request {
        Request::Service { on: true } => "on",
        Request::Service { on: false } => "off",
        _ => "flush",
    }
}

/// An answer that was not the one hoped for.
pub fn refused(answer: Response) -> Failure {
    match answer {
        Response::Refused { what, means, fix } => Failure::command(what, means, fix),
        _ => Failure::command(
            "the hook server gave an answer to another question",
            "it was started by another version of hooktool",
            "use that version to look at it, or start its program again",
        ),
    }
}

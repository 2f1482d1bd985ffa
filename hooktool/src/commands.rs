//! From the command line to the command: parses, dispatches, words the parser's complaints.
//!
//! The only caller is `main`. A command returns the exit status of its success; `Failure` carries
//! that of everything else.

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{self, Cli, Command};
use crate::control::Request;
use crate::failure::{Failure, Kind};
use crate::{bus, check, doctor, launch, pool, ps, spawn, stats, trace, viewer};

/// Runs the command line.
///
/// # Errors
///
/// What the user is to be told.
pub fn dispatch(arguments: Vec<OsString>) -> Result<u8, Failure> {
    let arguments = cli::with_default_command(arguments);
    let launches = arguments.get(1).is_some_and(|word| word == "run");
    execute(arguments).map_err(|failure| match failure.kind {
        // Whatever `run` itself fails at is 125, so that no script takes it for the target's
        // status.
        Kind::Usage if launches => Failure {
            kind: Kind::Launch,
            ..failure
        },
        _ => failure,
    })
}

fn execute(arguments: Vec<OsString>) -> Result<u8, Failure> {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) => return complain(&error),
    };
    match command {
        Command::Run(arguments) => launch::run(*arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Ps(arguments) => ps::ps(&arguments),
        Command::Stats(arguments) => stats::stats(&arguments),
        Command::On(arguments) => viewer::order(&arguments, &Request::Service { on: true }),
        Command::Off(arguments) => viewer::order(&arguments, &Request::Service { on: false }),
        Command::Flush(arguments) => viewer::order(&arguments, &Request::Flush),
        Command::Node(arguments) => pool::node(&arguments.command),
        Command::Trace(arguments) => trace::trace(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Bus(arguments) => bus::dispatch(&arguments),
        Command::SessionServer { .. } => spawn::session_server().map(|()| 0),
    }
}

/// Help and version are data; anything else is a usage failure in three lines.
fn complain(error: &clap::Error) -> Result<u8, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return viewer::line(error.render().to_string().trim_end()).map(|()| 0);
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(std::io::stderr(), "{}", error.render());
            return Err(Failure::usage(
                "no command given",
                "hooktool does one thing at a time",
                "start with:  hooktool check CMD",
            ));
        }
        _ => {}
    }
    let text = error.render().to_string();
    let (what, means) = split(&text);
    let fix = format!("see what can be written:  {} --help", misused(&text));
    Err(Failure::usage(what, means, fix))
}

/// The command that was misused, by the parser's usage line: `hooktool bus send`.
fn misused(text: &str) -> String {
    let usage = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Usage: "));
    let words = usage.unwrap_or("hooktool").split_whitespace();
    let words = words.take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    words.collect::<Vec<_>>().join(" ")
}

/// The parser's message and its tip, or its usage line where it has none.
fn split(text: &str) -> (String, String) {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines
        .next()
        .unwrap_or("")
        .trim_start_matches("error: ")
        .to_string();
    let rest: Vec<_> = lines.filter(|line| !line.starts_with("For more")).collect();
    let tip = rest.iter().find_map(|line| line.strip_prefix("tip: "));
    // How to pass such a word to the target is not what somebody who misspelt a flag looks for.
    let tip = tip.filter(|tip| !tip.starts_with("to pass"));
    let named = rest.iter().take_while(|line| !line.starts_with("Usage:"));
    let named = named
        .filter(|line| !line.starts_with("tip:"))
        .copied()
        .collect::<Vec<_>>();
    match tip {
        Some(tip) => (what, tip.to_string()),
        None if !named.is_empty() => (what, format!("namely {}", named.join(" "))),
        None => (
            what,
            rest.last()
                .unwrap_or(&"the command line cannot be read")
                .to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let words = text.split_whitespace().map(OsString::from).collect();
        dispatch(words).unwrap_err().to_string()
    }

    #[test]
    fn wrong_words_get_three_lines() {
        for text in [
            "hooktool run --nod x -- ls",
            "hooktool frob",
            "hooktool run",
            "hooktool stats a b c d",
        ] {
            let text = complaint(text);
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.lines().all(|line| line.len() > 10), "{text}");
        }
    }

    #[test]
    fn the_help_of_the_command_that_was_misused_is_named() {
        for (text, help) in [
            ("hooktool run --nod x -- ls", "  hooktool run --help"),
            ("hooktool frob", "  hooktool --help"),
            ("hooktool bus frob", "  hooktool bus --help"),
            ("hooktool bus send 1.2.3.4", "  hooktool bus send --help"),
            ("hooktool bus routes rm", "  hooktool bus routes rm --help"),
            ("hooktool bus top 0", "  hooktool --help"),
        ] {
            let text = complaint(text);
            assert!(text.ends_with(help), "{text}");
        }
    }

    #[test]
    fn a_near_miss_is_suggested() {
        assert!(complaint("hooktool run --nod x -- ls").contains("--node"));
    }
}

//! Puppets: processes that do file calls on command, one at a time.
//!
//! A test pulls the strings of several puppets (`scripts/puppets.py`), hooked in one session,
//! hooked in another, or not at all, and keeps the model of the files itself. Because one call ends
//! before the next begins, anywhere, every read has exactly one right answer.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::run::wait;

/// A row of puppets in one session, or in none.
pub struct Puppets {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    errors: Option<thread::JoinHandle<String>>,
}

/// The words that start `count` puppets.
pub fn puppet_words(bed: &Bed, count: usize) -> [PathBuf; 3] {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/puppets.py");
    let script = bed.write(
        "puppets.py",
        &std::fs::read(script).expect("the script is there"),
    );
    ["/usr/bin/python3".into(), script, count.to_string().into()]
}

impl Puppets {
    /// Starts the row by `command`, hooked or not.
    pub fn start(mut command: Command) -> Puppets {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the puppets");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let errors = child.stderr.take().expect("piped");
        let errors = thread::spawn(move || std::io::read_to_string(errors).unwrap_or_default());
        let orders = child.stdin.take();
        Puppets {
            child,
            orders,
            answers,
            errors: Some(errors),
        }
    }

    /// Has puppet `who` do something; an answer, or nothing when it died instead.
    pub fn try_ask(&mut self, who: usize, operation: &str, arguments: &Value) -> Option<Value> {
        let mut order = vec![json!(who), json!(operation)];
        order.extend(
            arguments
                .as_array()
                .expect("arguments are a list")
                .iter()
                .cloned(),
        );
        let orders = self.orders.as_mut().expect("not ended");
        writeln!(orders, "{}", Value::Array(order)).ok()?;
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Has puppet `who` do something.
    #[track_caller]
    pub fn ask(&mut self, who: usize, operation: &str, arguments: &Value) -> Value {
        match self.try_ask(who, operation, arguments) {
            Some(answer) => answer,
            None => panic!(
                "no answer to {operation} {arguments}: {}",
                self.last_words()
            ),
        }
    }

    /// Has puppet `who` do something that must succeed.
    #[track_caller]
    pub fn done(&mut self, who: usize, operation: &str, arguments: &Value) -> Value {
        let answer = self.ask(who, operation, arguments);
        assert!(
            answer.get("errno").is_none(),
            "{operation} {arguments}: {answer}"
        );
        answer
    }

    /// Has puppet `who` read, by `pread`, `preadv` or `sweep`.
    #[track_caller]
    pub fn read(&mut self, who: usize, operation: &str, arguments: &Value) -> Vec<u8> {
        let answer = self.done(who, operation, arguments);
        from_hex(answer.as_str().expect("hex"))
    }

    /// Ends the row; its status and what it said on standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        drop(self.orders.take());
        let status = wait(&mut self.child, "the puppets");
        (
            status,
            self.errors.take().expect("once").join().expect("reader"),
        )
    }

    fn last_words(&mut self) -> String {
        drop(self.orders.take());
        let status = wait(&mut self.child, "the puppets");
        let errors = self
            .errors
            .take()
            .map(|errors| errors.join().expect("reader"));
        format!("{status}\n{}", errors.unwrap_or_default())
    }
}

impl Drop for Puppets {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes as the puppets want them.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Bytes as the puppets send them.
pub fn from_hex(text: &str) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).expect("a hex digit");
    let pair = |pair: &[u8]| u8::try_from(value(pair[0]) * 16 + value(pair[1])).expect("a byte");
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&all)), all);
    }
}

//! SQLite point reads by primary key: an unmodified Python with its `sqlite3` module on a database
//! larger than the cage. Libraries and page cache are SQLite's defaults.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::workers::{Rounds, Start, Workers};
use crate::child;
use crate::error::{Because, Result, advice};
use crate::files;
use crate::report::Row;
use crate::run::Lab;
use crate::run::rounds::{compare, side_dir};
use crate::side::SIDES;
use crate::size;

/// The program.
const READER: &str = include_str!("sqlite_reader.py");

/// Bytes of a row's body.
const BODY: u64 = 400;

/// Bytes of database per row, about.
const PER_ROW: u64 = 440;

/// One variant.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let python = python()?;
    let template = template(lab)?;
    for side in SIDES {
        files::copy(&template, &side_dir(lab, side)?.join("db"), None)?;
    }
    let reader = lab.run_dir.path().join("sqlite_reader.py");
    fs::write(&reader, READER).because(|| reader.display().to_string())?;
    let start = Start {
        limits: lab.limits(),
        node: &lab.node,
        options: &[],
        files: &[],
    };
    let pair = Workers::start(lab, &start, |dir| {
        let words = [python.clone(), reader.clone(), dir.join("db")];
        Ok(words
            .iter()
            .map(|word| word.display().to_string())
            .collect())
    })?;
    let bytes = files::total_bytes(&template);
    let variant = format!("point reads of {}", size::show(bytes));
    let mut row = Row::new("sqlite", variant, "queries/s");
    let mut subject = Rounds { pair, lab };
    subject.pair.warm(lab, bytes, &mut row)?;
    compare(lab, &mut subject, &mut row, None)?;
    row.notes.push(format!("unmodified {}", python.display()));
    emit(row);
    Ok(())
}

/// The interpreter itself: version managers put shell scripts in the way.
fn python() -> Result<PathBuf> {
    let script = "import sqlite3, sys; print(sys.executable)";
    for name in ["/usr/bin/python3", "python3"] {
        if let Ok(path) = child::run(Command::new(name).args(["-c", script])) {
            return Ok(path.trim().into());
        }
    }
    Err(advice(
        "no python3 with the sqlite3 module",
        "apt-get install python3",
    ))
}

/// Makes the database once and keeps it.
fn template(lab: &Lab) -> Result<PathBuf> {
    let rows = lab.args.data / PER_ROW;
    let kept = lab.dir.join(format!("sqlite-{rows}.db"));
    if kept.is_file() {
        return Ok(kept);
    }
    let partial = lab.run_dir.path().join("sqlite.partial");
    let script = format!(
        "import sqlite3\n\
         c = sqlite3.connect({partial:?})\n\
         c.execute('PRAGMA journal_mode=OFF'); c.execute('PRAGMA synchronous=OFF')\n\
         c.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)')\n\
         c.execute('INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n \
         LIMIT {rows}) SELECT i, randomblob({BODY}) FROM n')\n\
         c.commit()\n"
    );
    child::run(Command::new(python()?).args(["-c", &script]))?;
    fs::rename(&partial, &kept).because(|| kept.display().to_string())?;
    Ok(kept)
}

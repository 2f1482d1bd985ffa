//! SQLite: hooked and unhooked processes write one database in turn.
//!
//! A hooked driver (`scripts/sqlite_driver.py`) holds connections open over the whole test, with a
//! page cache so small that most reads reach the file. Between its steps, unhooked `sqlite3` shells
//! write, too. The content is compared with a model after every step, read by both sides.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::{LOOK_EVERY, run_with_input, wait, wait_until};
use harness::session::Hooked;
use harness::sqlite::Model;
use harness::stage::tool;

both_modes!(rollback_journal, write_ahead_log);

fn rollback_journal(mode: Mode) {
    turns("delete", mode);
}

fn write_ahead_log(mode: Mode) {
    turns("wal", mode);
}

/// The hooked process with its open connections.
struct Driver {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Driver {
    fn start(mut command: Command) -> Driver {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start the driver");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Driver { child, answers }
    }

    /// Sends one order, `write` or `read`, and returns the answer.
    fn ask(&mut self, order: &str, script: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{}", serde_json::json!([order, script])).expect("the driver listens");
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the driver answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(wait(&mut self.child, "the driver").success());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn unhooked(bed: &Bed, script: &str) -> String {
    let words = [tool("sqlite3").display().to_string(), "db".into()];
    run_with_input(&mut bed.native(bed.path(), &words), script.as_bytes())
        .must_pass()
        .text()
}

fn turns(journal_mode: &str, mode: Mode) {
    let bed = Bed::new("sqlite", mode);
    let mut model = Model::new(11);
    unhooked(&bed, &Model::schema(journal_mode));
    for _ in 0..10 {
        unhooked(&bed, &model.step());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sqlite_driver.py");
    let script = bed.write(
        "driver.py",
        &std::fs::read(script).expect("the script is there"),
    );
    let hooked = bed.hooked();
    let words = [Path::new("/usr/bin/python3"), &script, Path::new("db")];
    let mut driver = Driver::start(hooked.command(bed.path(), &words));

    for round in 0..4 {
        read_until_served(&mut driver, &hooked, &model);
        for step in 0..5 {
            driver.ask("write", &model.step());
            assert_eq!(
                driver.ask("read", ""),
                model.expected(),
                "round {round}, step {step}"
            );
            assert_eq!(unhooked(&bed, Model::read_script()), model.expected());
        }
        unhooked(&bed, &model.step());
        assert_eq!(
            driver.ask("read", ""),
            model.expected(),
            "round {round}, after an outsider"
        );
        driver.ask("write", &model.step());
        unhooked(&bed, &model.step());
        driver.ask("write", &model.step());
        assert_eq!(
            driver.ask("read", ""),
            model.expected(),
            "round {round}, after turns"
        );
    }
    driver.end();
    assert_eq!(unhooked(&bed, Model::read_script()), model.expected());
    hooked.final_stats().must_have_hits();
}

/// Reads, comparing each time, until reads are served again.
fn read_until_served(driver: &mut Driver, hooked: &Hooked<'_>, model: &Model) {
    let mut before = None;
    wait_until("reads of the database are served", || {
        assert_eq!(driver.ask("read", ""), model.expected());
        std::thread::sleep(LOOK_EVERY);
        let now = hooked.stats().map(|stats| stats.hits());
        before = before.or(now);
        matches!((before, now), (Some(before), Some(now)) if now > before + 20)
    });
}

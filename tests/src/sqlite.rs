//! SQLite from outside: scripts for the `sqlite3` shell and a model of what they did.
//!
//! One table of numbered rows; every step inserts, updates or deletes by a seeded choice, in the
//! model and in the script alike, so that the content can be compared after each step whoever ran
//! it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::files::Dice;

/// Rows the table may have.
const ROWS_MAX: u64 = 4000;
/// Statements of one step, in one transaction.
const STATEMENTS: usize = 60;

/// What the table should hold.
pub struct Model {
    rows: BTreeMap<u64, String>,
    dice: Dice,
}

impl Model {
    /// An empty table.
    pub fn new(seed: u64) -> Model {
        Model {
            rows: BTreeMap::new(),
            dice: Dice::new(seed),
        }
    }

    /// The script that makes the table, in the given journal mode.
    pub fn schema(journal_mode: &str) -> String {
        format!(
            ".timeout 60000\npragma journal_mode={journal_mode};\npragma page_size=4096;\n\
             create table t(id integer primary key, body text);\n\
             create index by_body on t(body);\n"
        )
    }

    /// A step: changes the model and returns the script that changes the database likewise.
    pub fn step(&mut self) -> String {
        let mut script = String::from(".timeout 60000\n.bail on\nbegin immediate;\n");
        for _ in 0..STATEMENTS {
            let id = self.dice.below(ROWS_MAX);
            if self.dice.below(5) == 0 {
                self.rows.remove(&id);
                let _ = writeln!(script, "delete from t where id={id};");
            } else {
                let times = usize::try_from(self.dice.below(60)).expect("small");
                let body = format!("{:016x}", self.dice.roll()).repeat(times);
                let _ = writeln!(script, "insert or replace into t values({id},'{body}');");
                self.rows.insert(id, body);
            }
        }
        script.push_str("commit;\n");
        script
    }

    /// The script that reads everything twice, by table and by index, and checks the file.
    pub fn read_script() -> &'static str {
        ".timeout 60000\n.bail on\npragma integrity_check;\n\
         select id, body from t order by id;\n\
         select count(*) from (select body from t indexed by by_body order by body);\n"
    }

    /// What [`Model::read_script`] must print.
    pub fn expected(&self) -> String {
        let mut text = String::from("ok\n");
        for (id, body) in &self.rows {
            let _ = writeln!(text, "{id}|{body}");
        }
        let _ = writeln!(text, "{}", self.rows.len());
        text
    }
}

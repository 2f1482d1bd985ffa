//! PostgreSQL, stopped and started again in a session that lingers: what nobody touched is warm;
//! what rsync, a restored backup or pg_rewind changed meanwhile is seen, every row.

use std::path::Path;
use std::process::Command;

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::postgres::{Postgres, as_server_user};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::stage::tool;

both_modes!(by_stamps, owned);

/// Every row, in an order of its own.
const ROWS: &str = "select md5(string_agg(md5(t::text), '' order by aid)) from pgbench_accounts t";

fn by_stamps(mode: Mode) {
    turns(mode, false);
}

fn owned(mode: Mode) {
    turns(mode, true);
}

/// One cluster, the session in which it runs turn by turn, and where it runs natively.
struct Stage<'a> {
    bed: &'a Bed,
    hooked: Hooked<'a>,
    postgres: Postgres,
    session: String,
}

impl Stage<'_> {
    /// A turn: starts the server hooked, and fails unless it tells `rows`, before and after load
    /// that changes nothing.
    fn begin(&mut self, rows: &str) {
        let words = self.postgres.server_words();
        let command = self.hooked.command(self.bed.path(), &words);
        self.postgres.start(command);
        assert_eq!(self.hooked.session_id(), self.session, "another session");
        assert_eq!(self.postgres.sql(ROWS), rows);
        self.postgres.must_be_clean();
        assert_eq!(self.postgres.sql(ROWS), rows, "read again");
    }

    /// Changes rows until the end of the turn.
    fn change_and_end(&mut self) {
        let words = ["-n", "-c", "4", "-j", "2", "-t", "200"];
        self.postgres.pgbench(&words);
        self.end();
    }

    fn end(&mut self) {
        assert!(self.postgres.stop().success());
        wait_until("the turn is over", || {
            let stats = self.hooked.stats();
            stats.is_some_and(|stats| stats.count("processes") == 0)
        });
        self.postgres.check_sums_offline();
    }

    /// Natively, as the server's user.
    fn do_natively(&self, program: &Path, words: &[&Path]) {
        let mut all = vec![program];
        all.extend(words);
        let mut command: Command = self.bed.native(self.bed.path(), &all);
        as_server_user(&mut command);
        run(&mut command).must_pass();
    }

    /// The rows that the cluster at `dir` has natively, on a new timeline if it is to be promoted.
    fn rows_of(&mut self, dir: &Path, is_promoted: bool) -> String {
        let postgres = tool("postgres");
        let words = [postgres.as_os_str(), "-D".as_ref(), dir.as_os_str()];
        let command = self.bed.native(self.bed.path(), &words);
        self.postgres.start(command);
        if is_promoted {
            self.postgres.sql("select pg_promote()");
            self.postgres.pgbench(&["-n", "-t", "150"]);
        }
        let rows = self.postgres.sql(ROWS);
        assert!(self.postgres.stop().success());
        rows
    }
}

fn turns(mode: Mode, own: bool) {
    let bed = Bed::new("restarts", mode);
    let postgres = Postgres::init(&bed, true);
    let data = postgres.dir().to_path_buf();
    let hooked = match own {
        true => bed.hooked().flag("--own", data.join("**")),
        false => bed.hooked(),
    };
    let hooked = hooked.linger("40s");
    let mut stage = Stage {
        bed: &bed,
        hooked,
        postgres,
        session: String::new(),
    };
    let words = stage.postgres.server_words();
    let command = stage.hooked.command(bed.path(), &words);
    stage.postgres.start(command);
    stage.session = stage.hooked.session_id();
    stage.postgres.pgbench(&["-i", "-q"]);
    stage.postgres.pgbench(&["-n", "-t", "50"]);
    stage.postgres.sql("vacuum freeze");
    stage.postgres.sql("checkpoint");
    let first = stage.postgres.sql(ROWS);
    stage.hooked.wait_stats("reads are served", |stats| {
        assert_eq!(stage.postgres.sql(ROWS), first);
        stats.hits() > 3000
    });
    stage.end();
    let backup = data.with_file_name("backup");
    stage.do_natively(&tool("cp"), &["-a".as_ref(), &data, &backup]);

    // Nobody touches anything: each block is read once, and most come from memory.
    let before = stage.hooked.stats().expect("it lingers").hits();
    let command = stage.hooked.command(bed.path(), &words);
    stage.postgres.start(command);
    assert_eq!(stage.hooked.session_id(), stage.session, "another session");
    assert_eq!(stage.postgres.sql(ROWS), first);
    let warm = stage.hooked.stats().expect("live").hits() - before;
    assert!(warm > 300, "{warm} blocks were warm");
    stage.change_and_end();

    meddle(&mut stage, &data, &backup, &first);
    stage.hooked.end();
}

/// Turns between which the data directory is changed behind the back of the session.
fn meddle(stage: &mut Stage<'_>, data: &Path, backup: &Path, first: &str) {
    let slash = |dir: &Path| dir.join("");
    // In place: the same inodes, other blocks.
    let flags = ["-a", "--inplace", "--checksum", "--delete"].map(Path::new);
    let (from, to) = (slash(backup), slash(data));
    let words = [&flags[..], &[&from, &to]].concat();
    stage.do_natively(&tool("rsync"), &words);
    stage.begin(first);
    stage.change_and_end();

    // A backup restored: other inodes, some with numbers used before.
    stage.do_natively(&tool("rm"), &["-rf".as_ref(), data]);
    stage.do_natively(&tool("cp"), &["-a".as_ref(), backup, data]);
    stage.begin(first);
    stage.change_and_end();

    // Diverged from a cluster of another timeline, and rewound to it, block by block.
    let source = data.with_file_name("source");
    stage.do_natively(&tool("cp"), &["-a".as_ref(), backup, &source]);
    stage.do_natively(&tool("touch"), &[&source.join("standby.signal")]);
    let rows = stage.rows_of(&source, true);
    assert_ne!(rows, first, "the source has not diverged");
    let target = format!("--target-pgdata={}", data.display());
    let origin = format!("--source-pgdata={}", source.display());
    let words = [target.as_ref(), origin.as_ref(), "--no-sync".as_ref()];
    stage.do_natively(&tool("pg_rewind"), &words);
    stage.begin(&rows);
    stage.change_and_end();
}

//! MariaDB under sysbench, killed and restarted: InnoDB's page checksums are the oracle.
//!
//! By default it opens its files with `O_DIRECT`, and writes through io_uring where the kernel has
//! it: such files are not served, unless the session answers ENOSYS to the ring.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::bed::Bed;
use harness::daemon::Daemon;
use harness::mode::Mode;
use harness::run::{Outcome, run};
use harness::session::Hooked;
use harness::stage::{is_root, tool};
use harness::tree::read_tree;
use rustix::process::Signal;

/// As it comes: a ring, and nothing of what it writes is served.
#[test]
fn with_a_ring() {
    life(Mode::Normal, "1", &[], false);
}

/// The switch that `hooktool check` proposes: MariaDB falls back to threads of its own.
#[test]
fn without_a_ring() {
    life(Mode::Normal, "1", &["--no-io-uring"], true);
}

#[test]
fn without_native_aio() {
    life(Mode::Oracle, "0", &[], true);
}

struct Database<'a> {
    bed: &'a Bed,
    data: PathBuf,
    socket: PathBuf,
    native_aio: &'static str,
}

impl Database<'_> {
    fn install(&self) {
        let data = format!("--datadir={}", self.data.display());
        let auth = "--auth-root-authentication-method=normal";
        let program = tool("mariadb-install-db").display().to_string();
        let words = [
            program.as_str(),
            "--no-defaults",
            &data,
            auth,
            "--skip-test-db",
            user(),
        ];
        run(&mut self.bed.native(self.bed.path(), &words)).must_pass();
    }

    fn words(&self) -> Vec<String> {
        let bed = self.bed.path().display();
        let mut words = vec![
            tool("mariadbd").display().to_string(),
            "--no-defaults".into(),
        ];
        words.push(user().into());
        words.extend([
            format!("--datadir={}", self.data.display()),
            format!("--socket={}", self.socket.display()),
            format!("--tmpdir={bed}"),
            format!("--pid-file={bed}/pid"),
            format!("--innodb-use-native-aio={}", self.native_aio),
        ]);
        let rest = [
            "skip-networking",
            "innodb-buffer-pool-size=6M",
            "innodb-log-file-size=8M",
            "innodb-flush-log-at-trx-commit=2",
        ];
        words.extend(rest.map(|word| format!("--{word}")));
        words
    }

    fn start(&self, hooked: &Hooked<'_>) -> Daemon {
        let command = hooked.command(self.bed.path(), &self.words());
        Daemon::start(self.bed, command, || self.sql("select 1").status.success())
    }

    fn client(&self, program: &str, words: &[&str]) -> Command {
        let socket = format!("--socket={}", self.socket.display());
        let program = tool(program).display().to_string();
        let start = [program.as_str(), "--no-defaults", &socket, "-uroot"];
        self.bed.native(self.bed.path(), &[&start, words].concat())
    }

    fn sql(&self, statement: &str) -> Outcome {
        run(&mut self.client("mariadb", &["-BNe", statement]))
    }

    fn sysbench(&self, script: &str, order: &[&str]) {
        let socket = format!("--mysql-socket={}", self.socket.display());
        let program = tool("sysbench").display().to_string();
        let start = [
            program.as_str(),
            script,
            "--db-driver=mysql",
            &socket,
            "--mysql-user=root",
        ];
        let size = [
            "--mysql-db=sb",
            "--tables=2",
            "--table-size=30000",
            "--threads=4",
        ];
        let words = [&start[..], &size, order].concat();
        run(&mut self.bed.native(self.bed.path(), &words)).must_pass();
    }

    /// The server reads all pages and checks all indexes.
    fn check(&self, daemon: &Daemon) {
        let words = ["--check", "--extended", "sb"];
        let said = run(&mut self.client("mariadb-check", &words))
            .must_pass()
            .text();
        assert_eq!(said.matches("OK").count(), 2, "{said}");
        let log = daemon.log_text();
        for word in ["corrupt", "checksum mismatch", "[ERROR]"] {
            assert!(!log.contains(word), "{word}:\n{log}");
        }
    }

    /// What lies on the disk is right without any server.
    fn check_offline(&self) {
        let sb = self.data.join("sb");
        let tables: Vec<String> = read_tree(&sb).into_keys().collect();
        let tables = tables.iter().filter(|name| name.ends_with(".ibd"));
        let mut words = vec![tool("innochecksum").display().to_string()];
        words.extend(tables.map(|name| sb.join(name).display().to_string()));
        assert_eq!(words.len(), 3, "two tables");
        run(&mut self.bed.native(Path::new("/"), &words)).must_pass();
    }
}

/// The server refuses to run as root unless it is told to.
fn user() -> &'static str {
    if is_root() {
        "--user=root"
    } else {
        "--skip-symbolic-links"
    }
}

fn line<'a>(bed: &'a Bed, switches: &[&str]) -> Hooked<'a> {
    let start = bed.hooked();
    switches
        .iter()
        .fold(start, |hooked, switch| hooked.switch(switch))
}

fn life(mode: Mode, native_aio: &'static str, switches: &[&str], served: bool) {
    let bed = Bed::new("maria", mode);
    let (data, socket) = (bed.join("data"), bed.join("sock"));
    let database = Database {
        bed: &bed,
        data,
        socket,
        native_aio,
    };
    database.install();

    let first = line(&bed, switches);
    let daemon = database.start(&first);
    assert!(database.sql("create database sb").status.success());
    database.sysbench("oltp_read_write", &["prepare"]);
    database.sysbench("oltp_read_write", &["--events=400", "--time=0", "run"]);
    database.sysbench("oltp_point_select", &["--events=8000", "--time=0", "run"]);
    database.check(&daemon);
    if served {
        first.wait_stats("reads are served", |stats| {
            database.sysbench("oltp_point_select", &["--events=2000", "--time=0", "run"]);
            stats.hits() > 200
        });
    }
    database.sysbench("oltp_read_write", &["--events=300", "--time=0", "run"]);
    daemon.crash();

    let second = line(&bed, switches);
    let daemon = database.start(&second);
    database.check(&daemon);
    database.sysbench("oltp_read_write", &["--events=300", "--time=0", "run"]);
    database.check(&daemon);
    assert!(daemon.stop(Signal::TERM).success());
    database.check_offline();
}

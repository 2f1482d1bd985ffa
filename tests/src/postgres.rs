//! A PostgreSQL 15 cluster of the test's own, in its bed.
//!
//! Listens on a Unix socket only, as the user `postgres` where the tests run as root (the server
//! refuses root). Tiny shared buffers, so that reads really reach the file calls. The server itself
//! is started by a command the test gives, natively or hooked; clients always run natively.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::bed::{Bed, small_environment};
use crate::run::{self, Outcome, all_pids, group_of, run, stat_field, wait_until};
use crate::session::open_to_all;
use crate::stage::tool;
use crate::users::as_user;

/// Settings that make a small cluster read, write and checkpoint as a large one does.
const SETTINGS: &str = "
listen_addresses = ''
shared_buffers = 1MB
max_connections = 30
autovacuum_naptime = 1s
checkpoint_timeout = 30s
max_wal_size = 64MB
min_wal_size = 32MB
wal_keep_size = 256MB
log_checkpoints = off
log_min_messages = warning
huge_pages = off
";

/// Words in the server's log that mean that a byte was wrong.
const CORRUPTION_WORDS: [&str; 6] = [
    "invalid page",
    "checksum",
    "could not read block",
    "missing chunk",
    "unexpected data beyond EOF",
    "PANIC",
];

/// A cluster and, while it runs, its server.
pub struct Postgres {
    dir: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    server: Option<Child>,
    shown: String,
}

impl Postgres {
    /// Makes a cluster in the bed.
    pub fn init(bed: &Bed, checksums: bool) -> Postgres {
        let home = bed.dir_of("pg");
        open_to_all(&home);
        let sockets = bed.dir_of("s");
        open_to_all(&sockets);
        let (dir, log) = (home.join("data"), home.join("log"));
        let mut initdb = client(bed.path(), "initdb");
        initdb.args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        initdb.arg("-D").arg(&dir);
        if checksums {
            initdb.arg("--data-checksums");
        }
        run(&mut initdb).must_pass();
        let conf = dir.join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).expect("initdb wrote it");
        text.push_str(SETTINGS);
        text.push_str(&format!(
            "unix_socket_directories = '{}'\n",
            sockets.display()
        ));
        fs::write(&conf, text).expect("write postgresql.conf");
        Postgres {
            dir,
            sockets,
            log,
            server: None,
            shown: String::new(),
        }
    }

    /// The words that start the server in the foreground.
    pub fn server_words(&self) -> [String; 3] {
        let postgres = tool("postgres").display().to_string();
        [postgres, "-D".into(), self.dir.display().to_string()]
    }

    /// The cluster's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the server by `command` (native or hooked) and waits until it takes connections.
    pub fn start(&mut self, mut command: Command) {
        as_server_user(&mut command);
        self.start_as_given(command);
    }

    /// The same by a command that itself becomes the server's user.
    pub fn start_as_given(&mut self, mut command: Command) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("open the log");
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("dup")).stderr(log);
        self.shown = format!("{command:?}");
        self.server = Some(command.spawn().expect("start the server"));
        self.wait_ready();
    }

    /// Waits until the server answers a query; fails when it ends instead.
    pub fn wait_ready(&mut self) {
        wait_until("PostgreSQL answers", || {
            let server = self.server.as_mut().expect("started");
            if let Some(status) = server.try_wait().expect("wait") {
                panic!(
                    "the server ended early: {status}\n{}\n{}",
                    self.shown,
                    self.log_text()
                );
            }
            run(&mut self.client("psql", &["-Atc", "select 1", "postgres"])).text() == "1\n"
        });
    }

    /// A client program connected to this cluster.
    pub fn client(&self, program: &str, words: &[&str]) -> Command {
        let mut command = client(self.dir.parent().expect("pg/"), program);
        command
            .arg("-h")
            .arg(&self.sockets)
            .args(["-U", "postgres"])
            .args(words);
        command
    }

    /// Runs one statement, unaligned output.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let words = ["-v", "ON_ERROR_STOP=1", "-Atc", statement, "postgres"];
        run(&mut self.client("psql", &words)).must_pass().text()
    }

    /// pgbench with the given words; its failures are the test's.
    #[track_caller]
    pub fn pgbench(&self, words: &[&str]) -> Outcome {
        let outcome = run(&mut self.client("pgbench", &[words, &["postgres"]].concat()));
        outcome.must_pass()
    }

    /// Fails unless every table and index is whole, by pg_amcheck and by the log.
    #[track_caller]
    pub fn must_be_clean(&self) {
        let words = ["--install-missing", "--heapallindexed", "--all"];
        let checked = run(&mut self.client("pg_amcheck", &words)).must_pass();
        assert!(checked.text().is_empty(), "{}", checked.story());
        let sums = "select (select sum(abalance) from pgbench_accounts) \
                    = (select sum(delta) from pgbench_history) \
                    and (select sum(tbalance) from pgbench_tellers) \
                    = (select sum(bbalance) from pgbench_branches)";
        assert_eq!(self.sql(sums), "t\n", "the books of pgbench do not balance");
        self.log_must_be_clean();
    }

    /// Checks every page's checksum in the stopped cluster.
    #[track_caller]
    pub fn check_sums_offline(&self) {
        assert!(self.server.is_none(), "pg_checksums wants a stopped server");
        let mut command = client(self.dir.parent().expect("pg/"), "pg_checksums");
        run(command.arg("--check").arg("-D").arg(&self.dir)).must_pass();
    }

    /// Fails when the log speaks of corruption.
    #[track_caller]
    pub fn log_must_be_clean(&self) {
        let log = self.log_text();
        for word in CORRUPTION_WORDS {
            assert!(
                !log.contains(word),
                "the server's log says `{word}`:\n{log}"
            );
        }
    }

    /// Fails if the server's log says any of these words.
    #[track_caller]
    pub fn log_must_lack(&self, words: &[&str]) {
        let log = self.log_text();
        let said = words.iter().find(|word| log.contains(**word));
        assert!(said.is_none(), "the log says {said:?}:\n{log}");
    }

    /// Everything the server logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process the test started.
    pub fn pid(&self) -> Pid {
        group_of(self.server.as_ref().expect("started"))
    }

    /// The postmaster, as the cluster itself names it.
    pub fn postmaster(&self) -> Pid {
        let text = fs::read_to_string(self.dir.join("postmaster.pid")).expect("running");
        let first = text.lines().next().and_then(|line| line.parse().ok());
        Pid::from_raw(first.expect("a pid")).expect("not zero")
    }

    /// A fast shutdown, as `systemctl stop` asks for it.
    pub fn stop(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::INT).expect("signal the server");
        self.wait_end()
    }

    /// Waits for the end of a server that was asked to end.
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("started");
        run::wait(&mut server, &self.shown)
    }

    /// Kills the postmaster as a crash would, and waits until its children noticed.
    pub fn crash(&mut self) {
        let mut server = self.server.take().expect("started");
        let family = family_of(group_of(&server).as_raw_pid());
        server.kill().expect("kill the postmaster");
        server.wait().expect("reap the postmaster");
        wait_until("the orphaned backends are gone", || {
            family.iter().all(|&pid| stat_field(pid, 2).is_none())
        });
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}", self.log_text());
        }
        for pid in family_of(group_of(&server).as_raw_pid()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        let _ = kill_process_group(group_of(&server), Signal::KILL);
        let _ = server.kill();
        let _ = server.wait();
    }
}

/// The process and all its descendants that are alive.
fn family_of(root: i32) -> Vec<i32> {
    let mut family = vec![root];
    loop {
        let more: Vec<i32> = all_pids()
            .into_iter()
            .filter(|pid| !family.contains(pid))
            .filter(|&pid| stat_field(pid, 1).is_some_and(|parent| family.contains(&parent)))
            .collect();
        if more.is_empty() {
            return family;
        }
        family.extend(more);
    }
}

fn client(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(tool(program));
    small_environment(&mut command);
    command.current_dir(dir);
    as_server_user(&mut command);
    command
}

/// Switches a command to the user that may run the server.
pub fn as_server_user(command: &mut Command) {
    as_user(command, "postgres");
}

//! nginx, Apache and lighttpd: every byte of every body, through rewriting, renaming, reloading and
//! the rotation of their logs.
//!
//! The files are changed by the test, which is an outsider to the session. Between its requests
//! nothing else moves, so each body has one right answer.

use std::net::SocketAddr;
use std::path::Path;

use harness::bed::Bed;
use harness::both_modes;
use harness::daemon::Daemon;
use harness::files::noise;
use harness::http::get;
use harness::mode::Mode;
use harness::node::free_port;
use harness::run::wait_until;
use harness::session::Hooked;
use harness::stage::{root_or_say, tool};
use harness::users::{as_user, give_to};
use rustix::process::Signal;

both_modes!(
    nginx_sendfile,
    nginx_as_it_comes,
    nginx_read,
    nginx_threads,
    nginx_directio,
    nginx_of_root,
    apache_sendfile,
    apache_of_root
);

/// Sizes of the files in bytes: one block, a few, more than one piece of a send.
const SIZES: [usize; 8] = [700, 4096, 12_288, 40_000, 65_536, 100_000, 131_072, 300_000];
/// Whom the servers run as, and the session with them; or their workers alone.
const USER: &str = "www-data";
/// So many reads must be served before the files change.
const HITS_MIN: u64 = 100;

/// A web server's way of being told things.
struct Kind {
    words: fn(&Path) -> Vec<String>,
    /// The directory, the address, what is set there, and what comes first.
    config: fn(&Path, SocketAddr, &str, &str) -> String,
    /// What makes a master that is root change the rights of its workers.
    user_line: &'static str,
    /// Takes its configuration again; opens its logs again.
    reload: Signal,
    reopen: Signal,
    stop: Signal,
}

const NGINX: Kind = Kind {
    words: |config| words(&["nginx", "-c"], config),
    config: nginx_config,
    user_line: "user www-data;",
    reload: Signal::HUP,
    reopen: Signal::USR1,
    stop: Signal::QUIT,
};
const APACHE: Kind = Kind {
    words: |config| words(&["apache2", "-D", "FOREGROUND", "-f"], config),
    config: apache_config,
    user_line: "User www-data\nGroup www-data",
    reload: Signal::USR1,
    reopen: Signal::USR1,
    stop: Signal::TERM,
};
const LIGHTTPD: Kind = Kind {
    words: |config| words(&["lighttpd", "-D", "-m", "/usr/lib/lighttpd", "-f"], config),
    config: lighttpd_config,
    user_line: "server.username = \"www-data\"",
    reload: Signal::USR1,
    reopen: Signal::HUP,
    stop: Signal::TERM,
};

fn words(start: &[&str], config: &Path) -> Vec<String> {
    let program = tool(start[0]).display().to_string();
    let rest = start[1..].iter().map(|word| (*word).to_string());
    [program]
        .into_iter()
        .chain(rest)
        .chain([config.display().to_string()])
        .collect()
}

fn nginx_sendfile(mode: Mode) {
    life(&NGINX, "sendfile on;", mode, true);
}

/// Opens and closes the file for each answer: it is gone when the hook server comes to look.
fn nginx_as_it_comes(mode: Mode) {
    life(&NGINX, "sendfile on; open_file_cache off;", mode, true);
}

fn nginx_read(mode: Mode) {
    life(&NGINX, "sendfile off;", mode, true);
}

fn nginx_threads(mode: Mode) {
    life(&NGINX, "sendfile off; aio threads;", mode, true);
}

fn nginx_directio(mode: Mode) {
    life(
        &NGINX,
        "sendfile on; aio threads; directio 512;",
        mode,
        true,
    );
}

fn nginx_of_root(mode: Mode) {
    life_under_root(&NGINX, "sendfile on;", mode);
}

fn apache_of_root(mode: Mode) {
    life_under_root(&APACHE, "EnableSendfile On\nEnableMMAP Off", mode);
}

fn apache_sendfile(mode: Mode) {
    life(&APACHE, "EnableSendfile On\nEnableMMAP Off", mode, true);
}

/// Reads at the file offset.
#[test]
fn apache_read() {
    life(
        &APACHE,
        "EnableSendfile Off\nEnableMMAP Off",
        Mode::Normal,
        false,
    );
}

/// Keeps small files in its own memory and closes the others after each answer.
#[test]
fn lighttpd_sendfile() {
    life(&LIGHTTPD, "sendfile", Mode::Oracle, true);
}

#[test]
fn lighttpd_writev() {
    life(&LIGHTTPD, "writev", Mode::Normal, false);
}

fn nginx_config(dir: &Path, addr: SocketAddr, options: &str, first: &str) -> String {
    let dir = dir.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/tmp;"))
        .concat();
    let kept_open = match options.contains("open_file_cache") {
        true => "",
        false => "open_file_cache max=100; open_file_cache_valid 1s;",
    };
    format!(
        "{first} daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{ access_log {dir}/access.log; {temporary} {options}
  {kept_open}
  server {{ listen {addr}; root {dir}/docs; }} }}"
    )
}

fn apache_config(dir: &Path, addr: SocketAddr, options: &str, first: &str) -> String {
    let dir = dir.display();
    let modules = ["mpm_event", "authz_core"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let modules = modules.concat();
    format!(
        "{first}\nServerRoot {dir}\nListen {addr}\nServerName localhost\n{modules}
PidFile {dir}/pid\nErrorLog {dir}/error.log\nCustomLog {dir}/access.log %r\nDefaultRuntimeDir {dir}
DocumentRoot {dir}/docs\n<Directory {dir}/docs>\nRequire all granted\n</Directory>
GracefulShutdownTimeout 5\n{options}\n"
    )
}

fn lighttpd_config(dir: &Path, addr: SocketAddr, backend: &str, first: &str) -> String {
    let (dir, port) = (dir.display(), addr.port());
    format!(
        "{first}\nserver.document-root = \"{dir}/docs\"\nserver.bind = \"127.0.0.1\"
server.port = {port}\nserver.errorlog = \"{dir}/error.log\"\nserver.modules = (\"mod_accesslog\")
accesslog.filename = \"{dir}/access.log\"\nserver.network-backend = \"{backend}\"\n"
    )
}

/// The files a server shows, and what they hold.
struct Docs<'a> {
    bed: &'a Bed,
    addr: SocketAddr,
    contents: Vec<Vec<u8>>,
    requests: usize,
}

impl Docs<'_> {
    /// Gets every file; each must be right.
    fn all_right(&mut self, when: &str) {
        for (number, content) in self.contents.iter().enumerate() {
            let body = get(self.addr, &format!("/{number}.bin"));
            let body = body.unwrap_or_else(|| panic!("{when}: no body of file {number}"));
            let wrong = body.iter().zip(content).position(|(a, b)| a != b);
            assert!(
                body == *content,
                "{when}: file {number}, first at {wrong:?}"
            );
        }
        self.requests += self.contents.len();
    }

    /// New bytes in the same files.
    fn rewrite(&mut self, seed: u64) {
        for (number, content) in self.contents.iter_mut().enumerate() {
            *content = noise(seed + number as u64, content.len());
            let path = self.bed.join(format!("docs/{number}.bin"));
            let file = std::fs::File::options()
                .write(true)
                .open(path)
                .expect("open a file");
            rustix::io::pwrite(&file, content, 0).expect("rewrite a file");
        }
    }

    /// New files under the same names, of other sizes.
    fn replace(&mut self, seed: u64) {
        for (number, content) in self.contents.iter_mut().enumerate() {
            *content = noise(seed + number as u64, content.len() + 333);
            let new = self.bed.write("docs/new", content);
            give_to(&new, USER);
            std::fs::rename(new, self.bed.join(format!("docs/{number}.bin"))).expect("rename");
        }
    }

    /// A server may keep a name's file for a while, as nginx does; not for long.
    fn wait_replaced(&mut self) {
        for number in 0..self.contents.len() {
            wait_until(&format!("file {number} is the new one"), || {
                self.requests += 1;
                get(self.addr, &format!("/{number}.bin")).as_ref() == Some(&self.contents[number])
            });
        }
    }
}

fn life(kind: &Kind, options: &str, mode: Mode, served: bool) {
    life_of(kind, options, mode, served, false);
}

/// A master that stays root, and workers that give their rights up.
fn life_under_root(kind: &Kind, options: &str, mode: Mode) {
    if root_or_say("a server that gives up its rights") {
        life_of(kind, options, mode, true, true);
    }
}

fn life_of(kind: &Kind, options: &str, mode: Mode, served: bool, by_root: bool) {
    let bed = Bed::new("web", mode);
    bed.dir_of("docs");
    give_to(bed.path(), USER);
    give_to(&bed.dir_of("tmp"), USER);
    let addr = free_port();
    let first = if by_root { kind.user_line } else { "" };
    let config = (kind.config)(bed.path(), addr, options, first);
    let config = bed.write("conf", config.as_bytes());
    for log in ["error.log", "access.log"] {
        give_to(&bed.write(log, b""), USER);
    }
    let contents = SIZES.map(|size| vec![0; size]).to_vec();
    let mut docs = Docs {
        bed: &bed,
        addr,
        contents,
        requests: 0,
    };
    docs.replace(1);
    let hooked = bed.hooked();
    let mut command = hooked.command(bed.path(), &(kind.words)(&config));
    if !by_root {
        as_user(&mut command, USER);
    }
    let mut tries = 0;
    let daemon = Daemon::start(&bed, command, || {
        tries += 1;
        get(addr, "/0.bin").is_some()
    });
    let turn = |docs: &mut Docs<'_>, when: &str| {
        docs.all_right(when);
        if served {
            let before = hooked.stats().expect("live").hits();
            wait_until(&format!("{when}: served"), || {
                docs.all_right(when);
                hooked
                    .stats()
                    .is_some_and(|stats| stats.hits() > before + HITS_MIN)
            });
        }
    };
    turn(&mut docs, "at first");
    docs.rewrite(100);
    turn(&mut docs, "rewritten");
    daemon.signal(kind.reload);
    turn(&mut docs, "reloaded");
    docs.replace(200);
    docs.wait_replaced();
    turn(&mut docs, "replaced");
    std::fs::rename(bed.join("access.log"), bed.join("access.log.1")).expect("rotate");
    daemon.signal(kind.reopen);
    wait_until("the log is opened again", || {
        docs.all_right("rotated");
        bed.join("access.log").exists()
    });
    docs.all_right("at last");
    if by_root {
        served_without_rights(&hooked);
    }
    daemon.stop(kind.stop);
    every_request_logged(&docs, tries);
    let stats = hooked.final_stats();
    assert!(stats.hits() > 0 || !served, "{}", stats.all);
}

/// The hits are those of processes that are not root.
fn served_without_rights(hooked: &Hooked<'_>) {
    let info = hooked.info().expect("live");
    let processes = info["processes"].as_array().expect("a list");
    let hits_of = |process: &serde_json::Value| {
        let hits = |key: &str| process[key].as_u64().expect("a number");
        hits("hits_local") + hits("hits_remote")
    };
    let user_of = |process: &serde_json::Value| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process["pid"]));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("Uid:"));
        line.and_then(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok())
    };
    let serving = || processes.iter().filter(|process| hits_of(process) > 0);
    assert!(serving().count() > 0, "{info}");
    assert!(
        serving().all(|process| user_of(process) != Some(0)),
        "{info}"
    );
}

/// The logs, the rotated one included, have a line for each request, those of the start at most.
fn every_request_logged(docs: &Docs<'_>, tries: usize) {
    let lines = |name| {
        std::fs::read_to_string(docs.bed.join(name))
            .expect("a log")
            .lines()
            .count()
    };
    let logged = lines("access.log") + lines("access.log.1");
    assert!(
        (docs.requests + 1..=docs.requests + tries).contains(&logged),
        "{logged} lines of {} requests",
        docs.requests
    );
}

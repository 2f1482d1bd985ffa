//! nginx as the lab uses it: a server per side in its cage, a tree of equal files, and a load of
//! keep-alive connections outside of the cage.
//!
//! The distribution's program with its defaults, except: no access log (it would write on both
//! sides), connections that are kept for the whole round, and descriptors for all files. With
//! `open_file_cache` files stay open; without, as it comes, each is closed after each answer, and
//! seldom open when the hook server looks at it. The server is started as the user of the lab's
//! servers: workers that change their user leave the region of their master.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::cage::Cage;
use crate::child;
use crate::error::{Because, Result, advice};
use crate::node;
use crate::run::Lab;
use crate::side::{self, Side, Spec, Target};
use crate::stop;
use crate::users;

mod load;

pub use load::Load;

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(30);

/// Where Debian puts the program.
const NGINX: &str = "/usr/sbin/nginx";

/// How a server hands its files out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// File to socket inside the kernel; else read into a buffer, written to the socket.
    pub sendfile: bool,
    /// `open_file_cache`.
    pub keeps_open: bool,
}

impl std::fmt::Display for Way {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sendfile = if self.sendfile { "on" } else { "off" };
        let cache = if self.keeps_open { "" } else { "no " };
        write!(to, "sendfile {sendfile}, {cache}open_file_cache")
    }
}

/// A running server; asked to end when dropped.
pub struct Server {
    /// The master process.
    pub target: Target,
    /// Where it listens.
    pub at: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts it over `docs` and waits until it answers.
    pub fn start(lab: &Lab, side: Side, cage: &Cage, docs: &Path, way: Way) -> Result<Self> {
        if !Path::new(NGINX).is_file() {
            return Err(advice(
                "nginx is not installed",
                "apt-get install nginx-light",
            ));
        }
        let at = node::free_address()?;
        let dir = lab.run_dir.path().join(format!("nginx-{}", side.word()));
        fs::create_dir_all(dir.join("tmp")).because(|| dir.display().to_string())?;
        let user = lab.server_user.as_ref();
        for own in [&dir, &dir.join("tmp")] {
            users::give(own, user)?;
        }
        let conf = dir.join("conf");
        fs::write(&conf, config(&dir, docs, at, way)).because(|| conf.display().to_string())?;
        let log = dir.join("error.log");
        let spec = Spec {
            command: vec![NGINX.into(), "-c".into(), conf.display().to_string()],
            user,
            own: Vec::new(),
            options: Vec::new(),
            log: dir.join("output.log"),
            pipes: false,
            end_by: Signal::TERM,
            cwd: &dir,
        };
        let target = side::launch(side, cage, &lab.hooks(), spec)?;
        let mut server = Self { target, at, log };
        let reached = stop::until(START, || {
            if let Err(error) = server.target.child.check_alive() {
                eprint!("{}", server.log_tail());
                return Err(error);
            }
            Ok(std::net::TcpStream::connect(at).ok())
        })?;
        match reached {
            Some(_) => Ok(server),
            None => Err(advice("nginx did not answer", server.log_tail())),
        }
    }

    fn log_tail(&self) -> String {
        child::tail(&fs::read_to_string(&self.log).unwrap_or_default())
    }
}

fn config(dir: &Path, docs: &Path, at: SocketAddr, way: Way) -> String {
    let (dir, docs) = (dir.display(), docs.display());
    let sendfile = if way.sendfile { "on" } else { "off" };
    let cache = match way.keeps_open {
        true => "open_file_cache max=8192 inactive=1h; open_file_cache_valid 1h;",
        false => "",
    };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/tmp;"))
        .concat();
    format!(
        "daemon off; worker_processes auto; worker_rlimit_nofile 16384;
pid {dir}/pid; error_log {dir}/error.log;
events {{ }}
http {{ access_log off; {temporary} sendfile {sendfile}; keepalive_requests 1000000000; {cache}
  server {{ listen {at}; root {docs}; }} }}\n"
    )
}

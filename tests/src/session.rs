//! `hooktool run` lines, and the sessions they make.
//!
//! A test asks its bed for a [`Hooked`], adds what it needs, and gets a command that runs hooked
//! and otherwise equals the native one. Each line has a session name of its own and `--fill
//! always`, so that small programs really exercise the grid, and leaves its statistics in a file
//! when its last process is gone.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bed::Bed;
use crate::run::{run, wait_until};
use crate::stats::Stats;

static SESSIONS_MADE: AtomicU32 = AtomicU32::new(0);

/// A `hooktool run` line in the making.
pub struct Hooked<'a> {
    bed: &'a Bed,
    flags: Vec<OsString>,
    /// The session's name, for `stats`, `on`, `off`.
    pub name: String,
    /// Where `--stats-at-exit` leaves the session's statistics.
    pub stats_path: PathBuf,
}

impl<'a> Hooked<'a> {
    pub(crate) fn new(bed: &'a Bed) -> Hooked<'a> {
        let nth = SESSIONS_MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{nth}", std::process::id());
        let stats_path = bed.dir_of("stats").join(format!("{name}.json"));
        open_to_all(stats_path.parent().expect("has a parent"));
        let hooked = Hooked {
            bed,
            flags: Vec::new(),
            name,
            stats_path,
        };
        let name = hooked.name.clone();
        let path = hooked.stats_path.clone();
        hooked
            .flag("--name", name)
            .flag("--linger", "0")
            .flag("--fill", "always")
            .flag("--stats-at-exit", path)
    }

    /// Adds a flag and its value.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: impl AsRef<OsStr>) -> Hooked<'a> {
        self.flags.push(flag.into());
        self.flags.push(value.as_ref().to_owned());
        self
    }

    /// Adds a flag without value.
    #[must_use]
    pub fn switch(mut self, flag: &str) -> Hooked<'a> {
        self.flags.push(flag.into());
        self
    }

    /// Encrypts what goes to the nodes, with a key file of the bed's own, the same for all of its
    /// sessions; `owner` starts them, where that is not who runs the tests.
    #[must_use]
    pub fn sealed(self, owner: Option<&str>) -> Hooked<'a> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.bed.join("seal.key");
        if !path.exists() {
            let mut key = [0; 32];
            let mut random = std::fs::File::open("/dev/urandom").expect("open /dev/urandom");
            std::io::Read::read_exact(&mut random, &mut key).expect("32 random bytes");
            self.bed.write("seal.key", &key);
            let closed = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, closed).expect("chmod");
            if let Some(owner) = owner {
                crate::users::give_to(&path, owner);
            }
        }
        self.flag("--seal", path)
    }

    /// Keeps the session this long after its last process; without this it ends at once.
    #[must_use]
    pub fn linger(mut self, time: &str) -> Hooked<'a> {
        let at = self.flags.iter().position(|flag| flag == "--linger");
        self.flags[at.expect("every line says it") + 1] = time.into();
        self
    }

    /// Leaves it to judgement what is filled, as users have it.
    #[must_use]
    pub fn fill_auto(mut self) -> Hooked<'a> {
        let at = self.flags.iter().position(|flag| flag == "--fill");
        self.flags[at.expect("every line says it") + 1] = "auto".into();
        self
    }

    /// The finished line, working in `dir`.
    pub fn command<S: AsRef<OsStr>>(&self, dir: &Path, words: &[S]) -> Command {
        let mut command = self.bed.hooktool(&["run"]);
        command
            .args(&self.flags)
            .arg("--")
            .args(words)
            .current_dir(dir);
        self.bed.mode.apply(&mut command);
        command
    }

    /// The statistics the session left, once its last process is gone.
    pub fn final_stats(&self) -> Stats {
        let mut found = None;
        wait_until(&format!("{} is written", self.stats_path.display()), || {
            found = Stats::from_file(&self.stats_path);
            found.is_some()
        });
        found.expect("wait_until returned")
    }

    /// The statistics of the live session; nothing while it cannot be asked.
    pub fn stats(&self) -> Option<Stats> {
        let asked = run(&mut self.bed.hooktool(&["stats", "-j", self.name.as_str()]));
        asked
            .status
            .success()
            .then(|| Stats::parse(&asked.text()))
            .flatten()
    }

    /// What the hook server says of the session itself; nothing while there is none.
    pub fn info(&self) -> Option<serde_json::Value> {
        let listed = run(&mut self.bed.hooktool(&["ps", "-j"])).text();
        let mut lines = listed.lines().map(serde_json::from_str);
        lines.find_map(|line: serde_json::Result<serde_json::Value>| {
            line.ok().filter(|info| info["name"] == self.name.as_str())
        })
    }

    /// The number of the live session.
    pub fn session_id(&self) -> String {
        let info = self.info().expect("the session lives");
        info["session"].as_str().expect("text").to_string()
    }

    /// Ends a lingering session by its hook server, and waits until it is gone.
    pub fn end(&self) {
        let info = self.info().expect("the session lives");
        let pid = info["server_pid"]
            .as_i64()
            .and_then(|pid| pid.try_into().ok());
        let pid = rustix::process::Pid::from_raw(pid.expect("a number")).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        wait_until("the session has ended", || self.info().is_none());
    }

    /// Waits until the live session's statistics satisfy `enough`.
    #[track_caller]
    pub fn wait_stats(&self, what: &str, enough: impl Fn(&Stats) -> bool) -> Stats {
        let mut last = None;
        wait_until(&format!("session {}: {what}", self.name), || {
            last = self.stats();
            last.as_ref().is_some_and(&enough)
        });
        last.expect("wait_until returned")
    }
}

/// Lets servers that run as another user write here.
pub fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o1777));
}

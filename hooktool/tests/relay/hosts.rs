//! Hosts: a bus and a relay each, and the links between them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::certificates;

const HOOKTOOL: &str = env!("CARGO_BIN_EXE_hooktool");
const PORT: u16 = 7527;
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What the hosts are to be.
pub struct Plan {
    /// The addresses of each host.
    pub homes: &'static [&'static [&'static str]],
    /// The channels between them.
    pub channels: &'static [[&'static str; 2]],
    /// What the certificate of each names; none: no TLS.
    pub certificates: &'static [&'static [&'static str]],
}

/// The hosts.
pub struct Hosts {
    base: PathBuf,
    plan: Plan,
    /// Network namespaces; none: all are this host.
    names: Vec<String>,
    ports: Vec<u16>,
}

/// Runs a tool of the system; it must succeed.
fn tool(words: &str) {
    let mut parts = words.split(' ');
    let mut command = Command::new(parts.next().expect("a tool"));
    let status = command.args(parts).env("PATH", PATH).status();
    assert!(status.expect("it runs").success(), "{words}");
}

impl Hosts {
    /// Makes them, with their channels and the routes to them; no relay runs yet.
    pub fn new(plan: Plan) -> Hosts {
        let pid = std::process::id();
        let base = std::env::temp_dir().join(format!("hooktool-relay-{pid}"));
        let count = plan.homes.len();
        let is_root = rustix::process::geteuid().is_root();
        let hosts = Hosts {
            base,
            plan,
            names: match is_root {
                true => (0..count).map(|host| format!("rg{host}n{pid}")).collect(),
                false => Vec::new(),
            },
            ports: match is_root {
                true => vec![PORT; count],
                false => (0..count).map(|_| free_port()).collect(),
            },
        };
        if !is_root {
            println!(
                "relay: NOT root: no network namespaces, so no link is cut; relays are stopped \
                 instead. Run it as root for the whole test."
            );
        }
        link(&hosts.names);
        std::fs::create_dir_all(&hosts.base).expect("a directory");
        if !hosts.plan.certificates.is_empty() {
            certificates::authority(&hosts.base);
        }
        for (host, names) in hosts.plan.certificates.iter().enumerate() {
            certificates::certificate(&hosts.base, &host.to_string(), names);
        }
        (0..count).for_each(|host| hosts.furnish(host));
        hosts
    }

    /// Where an address is at home.
    fn home(&self, address: &str) -> usize {
        let is_it = |home: &&[&str]| home.contains(&address);
        self.plan.homes.iter().position(is_it).expect("a home")
    }

    fn furnish(&self, host: usize) {
        let bus = self.bus(host);
        std::fs::create_dir_all(&bus).expect("a directory");
        let scheme = match self.plan.certificates.is_empty() {
            true => "tcp",
            false => "tls",
        };
        let (mut channels, mut far) = (String::new(), Vec::new());
        for ends in self.plan.channels {
            let here: Vec<bool> = ends.iter().map(|end| self.home(end) == host).collect();
            if !here.contains(&true) {
                continue;
            }
            channels += &format!(
                "[[channel]]\nbetween = {ends:?}\nsend = \"64KiB\"\nreceive = \"64KiB\"\n\
                 message_max = \"8KiB\"\n"
            );
            far.extend(ends.iter().filter(|end| self.home(end) != host));
        }
        far.sort_unstable();
        far.dedup();
        let route = |end: &&str| {
            let to = self.address(host, self.home(end));
            format!("[[route]]\naddress = \"{end}\"\nto = \"{scheme}://{to}\"\n")
        };
        let routes: String = far.into_iter().map(route).collect();
        self.apply(host, "channels.toml", &channels, &["apply"]);
        self.apply(host, "wanted.toml", &routes, &["routes", "apply"]);
    }

    fn apply(&self, host: usize, name: &str, text: &str, words: &[&str]) {
        let path = format!("{}/{name}", self.bus(host));
        std::fs::write(&path, text).expect("written");
        let mut command = self.hooktool(host, &[words, &[&path]].concat());
        let done = command.stdout(Stdio::null()).status();
        assert!(done.expect("it runs").success(), "{words:?}");
    }

    /// The directory of a host's bus.
    pub fn bus(&self, host: usize) -> String {
        self.base.join(host.to_string()).display().to_string()
    }

    /// Where a host finds another's relay. Each two hosts have a link of their own.
    fn address(&self, from: usize, to: usize) -> String {
        let ip = match self.names.is_empty() {
            true => "127.0.0.1".to_string(),
            false => ip(from, to),
        };
        format!("{ip}:{}", self.ports[to])
    }

    fn within(&self, host: usize, program: &str) -> Command {
        match self.names.get(host) {
            None => Command::new(program),
            Some(name) => {
                let mut command = Command::new("ip");
                command.env("PATH", PATH);
                command.args(["netns", "exec", name, program]);
                command
            }
        }
    }

    /// hooktool on the bus of a host.
    pub fn hooktool(&self, host: usize, words: &[&str]) -> Command {
        let mut command = self.within(host, HOOKTOOL);
        command.args(["bus", "--bus", &self.bus(host)]).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the relay of a host.
    pub fn relay(&self, host: usize) -> Child {
        let mut command = self.hooktool(host, &["relay", "--dead-after", "2"]);
        let others = (0..self.plan.homes.len()).filter(|other| *other != host);
        let mut places: Vec<String> = others.map(|other| self.address(other, host)).collect();
        places.dedup();
        places.iter().for_each(|place| {
            command.args(["--listen", place]);
        });
        match (self.plan.certificates.is_empty(), self.names.is_empty()) {
            (false, _) => command.args(certificates::flags(&self.base, &host.to_string())),
            (true, false) => command.arg("--insecure"),
            (true, true) => &mut command,
        };
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(host));
        command.stderr(log.expect("a log"));
        command.spawn().expect("a relay")
    }

    /// What the relays of a host have said so far.
    pub fn log(&self, host: usize) -> PathBuf {
        Path::new(&self.bus(host)).join("relay.log")
    }

    /// Starts a program of a host.
    pub fn program(&self, host: usize, role: &str, ends: [&str; 2], last: u64) -> Child {
        let me = std::env::current_exe().expect("this program");
        let mut command = self.within(host, me.to_str().expect("a path"));
        command.args([role, &self.bus(host), ends[0], ends[1], &last.to_string()]);
        command.stdin(Stdio::null()).spawn().expect("a program")
    }

    /// Can links be cut?
    pub fn has_link(&self) -> bool {
        !self.names.is_empty()
    }

    /// Cuts or restores the link between the first two hosts.
    pub fn set_link(&self, is_up: bool) {
        if let Some(name) = self.names.first() {
            let state = ["down", "up"][usize::from(is_up)];
            tool(&format!("ip -n {name} link set to1 {state}"));
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            tool(&format!("ip netns del {name}"));
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.base);
        }
    }
}

/// The number of `to` on its link with `from`.
fn ip(from: usize, to: usize) -> String {
    let link = from.min(to) * 10 + from.max(to);
    format!("10.77.{link}.{}", to + 1)
}

fn link(names: &[String]) {
    for name in names {
        tool(&format!("ip netns add {name}"));
        tool(&format!("ip -n {name} link set lo up"));
    }
    for (b, b_name) in names.iter().enumerate() {
        for (a, a_name) in names.iter().enumerate().take(b) {
            tool(&format!(
                "ip -n {a_name} link add to{b} type veth peer name to{a} netns {b_name}"
            ));
            for (name, from, to) in [(a_name, b, a), (b_name, a, b)] {
                tool(&format!(
                    "ip -n {name} addr add {}/24 dev to{from}",
                    ip(from, to)
                ));
                tool(&format!("ip -n {name} link set to{from} up"));
            }
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Sends a signal to a child. (`ip netns exec` becomes the program it starts: it has its number.)
pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    let _ = kill_process(pid, signal);
}

//! Two hosts: a bus, a relay and programs each, and the link between them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const HOOKTOOL: &str = env!("CARGO_BIN_EXE_hooktool");
const PORT: u16 = 7527;

/// The two hosts.
pub struct Hosts {
    base: PathBuf,
    /// Network namespaces; none: both are this host.
    names: Option<[String; 2]>,
    ports: [u16; 2],
}

/// Runs a tool of the system; it must succeed.
fn tool(words: &str) {
    let mut parts = words.split(' ');
    let mut command = Command::new(parts.next().expect("a tool"));
    let status = command
        .args(parts)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .status();
    assert!(status.expect("it runs").success(), "{words}");
}

impl Hosts {
    /// Makes them, with one channel between 0.0.1.1 and 0.0.2.1 on each and the routes to it.
    pub fn new() -> Hosts {
        let pid = std::process::id();
        let base = std::env::temp_dir().join(format!("hooktool-relay-{pid}"));
        let is_root = rustix::process::geteuid().is_root();
        let names = is_root.then(|| ["a", "b"].map(|side| format!("rg{side}{pid}")));
        let hosts = Hosts {
            base,
            ports: match is_root {
                true => [PORT, PORT],
                false => [free_port(), free_port()],
            },
            names,
        };
        match &hosts.names {
            Some(names) => link(names),
            None => println!(
                "relay: NOT root: no network namespaces, so no link is cut; relays are stopped \
                 instead. Run it as root for the whole test."
            ),
        }
        for host in 0..2 {
            hosts.furnish(host);
        }
        hosts
    }

    fn furnish(&self, host: usize) {
        let bus = self.bus(host);
        std::fs::create_dir_all(&bus).expect("a directory");
        let file = |name: &str, text: String| {
            let path = format!("{bus}/{name}");
            std::fs::write(&path, text).expect("written");
            path
        };
        let channel = "[[channel]]\nbetween = [\"0.0.1.1\", \"0.0.2.1\"]\nsend = \"64KiB\"\n\
            receive = \"64KiB\"\nmessage_max = \"8KiB\"\n";
        let far = ["0.0.2.1", "0.0.1.1"][host];
        let to = self.address(1 - host);
        let route = format!("[[route]]\naddress = \"{far}\"\nto = \"tcp://{to}\"\n");
        for words in [
            vec!["apply".into(), file("channels.toml", channel.into())],
            vec!["routes".into(), "apply".into(), file("wanted.toml", route)],
        ] {
            let done = self.hooktool(host, &words).stdout(Stdio::null()).status();
            assert!(done.expect("it runs").success(), "{words:?}");
        }
    }

    /// The directory of a host's bus.
    pub fn bus(&self, host: usize) -> String {
        self.base.join(["a", "b"][host]).display().to_string()
    }

    fn address(&self, host: usize) -> String {
        let ip = match self.names {
            Some(_) => ["10.77.7.1", "10.77.7.2"][host],
            None => "127.0.0.1",
        };
        format!("{ip}:{}", self.ports[host])
    }

    fn within(&self, host: usize, program: &str) -> Command {
        match &self.names {
            None => Command::new(program),
            Some(names) => {
                let mut command = Command::new("ip");
                command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
                command.args(["netns", "exec", &names[host], program]);
                command
            }
        }
    }

    fn hooktool(&self, host: usize, words: &[String]) -> Command {
        let mut command = self.within(host, HOOKTOOL);
        command.args(["bus", "--bus", &self.bus(host)]).args(words);
        command
    }

    /// Starts the relay of a host.
    pub fn relay(&self, host: usize) -> Child {
        let words = [
            "relay",
            "--dead-after",
            "2",
            "--listen",
            &self.address(host),
        ];
        let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
        words.extend(self.names.is_some().then(|| "--insecure".to_string()));
        let log = format!("{}/relay.log", self.bus(host));
        let log = std::fs::File::options().create(true).append(true).open(log);
        let mut command = self.hooktool(host, &words);
        command.stdin(Stdio::null()).stderr(log.expect("a log"));
        command.spawn().expect("a relay")
    }

    /// Starts a program of a host.
    pub fn program(&self, host: usize, role: &str, ends: [&str; 2], last: u64) -> Child {
        let me = std::env::current_exe().expect("this program");
        let mut command = self.within(host, me.to_str().expect("a path"));
        command.args([role, &self.bus(host), ends[0], ends[1], &last.to_string()]);
        command.stdin(Stdio::null()).spawn().expect("a program")
    }

    /// Can the link be cut?
    pub fn has_link(&self) -> bool {
        self.names.is_some()
    }

    /// Cuts or restores the link.
    pub fn set_link(&self, is_up: bool) {
        if let Some([name, _]) = &self.names {
            let state = ["down", "up"][usize::from(is_up)];
            tool(&format!("ip -n {name} link set veth0 {state}"));
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.names.iter().flatten() {
            tool(&format!("ip netns del {name}"));
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.base);
        }
    }
}

fn link(names: &[String; 2]) {
    for name in names {
        tool(&format!("ip netns add {name}"));
    }
    let [a, b] = names;
    tool(&format!(
        "ip -n {a} link add veth0 type veth peer name veth0 netns {b}"
    ));
    for (name, ip) in [(a, "10.77.7.1/24"), (b, "10.77.7.2/24")] {
        tool(&format!("ip -n {name} addr add {ip} dev veth0"));
        tool(&format!("ip -n {name} link set veth0 up"));
        tool(&format!("ip -n {name} link set lo up"));
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

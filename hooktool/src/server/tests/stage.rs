//! The stage of a test: a session served by a thread of this process, and processes that join it.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grid::attach::{ATTACH_VERSION, Hello, MESSAGE_BYTES_MAX, Verdict, Want, Welcome};
use grid::header::LAYOUT_VERSION;
use grid::process::ProcessRecord;
use grid::region::Region;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::super::sys;
use crate::config::{Fill, LocalSize, Mode, NodeAddr, ServeConfig, SessionId, Token};
use crate::control::{Request, Response};
use crate::failure::Failure;
use crate::ready::{self, ReadyPipe};
use crate::seal::Integrity;

/// The watchdog: how long something that must happen may take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`, and fails the test if it never does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A configuration with a target that outlives the test process.
pub fn config(nodes: Vec<NodeAddr>) -> ServeConfig {
    let mut random = [[0_u8; 16]; 2];
    for bytes in &mut random {
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).unwrap();
    }
    ServeConfig {
        session: SessionId(random[0]),
        token: Token(random[1]),
        name: "test".into(),
        named: false,
        target_pid: std::process::id(),
        command: vec!["test".into()],
        shim: PathBuf::from("/nowhere/libramgrid_shim.so"),
        nodes,
        papers: crate::tls::Papers::default(),
        local: LocalSize::Auto,
        index_bytes: Some(1 << 20),
        include: Vec::new(),
        exclude: Vec::new(),
        own: Vec::new(),
        mode: Mode::Serve,
        verify_ppm: 0,
        fill: Fill::Auto,
        integrity: Integrity::Tag,
        fill_rate_bytes_per_s: None,
        linger_ms: 0,
        require: false,
        follow: true,
        deny_io_uring: false,
        stats_at_exit: None,
    }
}

/// A session that is being served.
pub struct Stage {
    /// As it was started.
    pub config: ServeConfig,
    /// The server; it ends with the session.
    pub server: JoinHandle<Result<(), Failure>>,
    /// What it said of its nodes when it was ready.
    pub troubles: Vec<String>,
}

impl Stage {
    /// Serves a session on these nodes.
    pub fn with_nodes(nodes: Vec<NodeAddr>) -> Stage {
        Stage::start(config(nodes)).expect("the session can be made")
    }

    /// Serves a session until it is over by itself.
    pub fn start(config: ServeConfig) -> Result<Stage, Failure> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let served = config.clone();
        let server = std::thread::spawn(move || {
            let mut ready = ReadyPipe::new(writer);
            let outcome = super::super::serve(served, &mut ready);
            if let Err(failure) = &outcome {
                ready.failed(failure);
            }
            outcome
        });
        ready::wait(reader).map(|troubles| Stage {
            config,
            server,
            troubles,
        })
    }

    /// Connects to the attach socket and says nothing yet.
    pub fn knock(&self) -> OwnedFd {
        knock(&self.config.session)
    }

    /// Joins as this process.
    pub fn join(&self) -> Joined {
        Joined::new(&self.config.session, &self.config.token)
    }

    /// Asks the control socket.
    pub fn ask(&self, request: &Request) -> Response {
        serde_json::from_value(self.ask_json(request)).expect("an answer")
    }

    /// Asks the control socket; the answer as it came.
    pub fn ask_json(&self, request: &Request) -> serde_json::Value {
        let name = self.config.session.control_socket();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let mut socket = UnixStream::connect_addr(&address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
            .write_all(format!("{}\n", serde_json::to_string(request).unwrap()).as_bytes())
            .unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).expect("one line of JSON")
    }

    /// Runs the test `name` of this file's siblings in a process of its own, which plays a member.
    pub fn play(&self, name: &str) -> Player {
        play(&self.config, name, None)
    }

    /// As `play`, under another user and no supplementary groups.
    pub fn play_as(&self, name: &str, user: u32) -> Player {
        play(&self.config, name, Some(user))
    }
}

fn knock(session: &SessionId) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let name = session.attach_socket();
    rustix::net::connect(
        &socket,
        &SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap(),
    )
    .unwrap();
    socket
}

/// Says hello on a connection and waits for the answer.
pub fn converse(socket: &OwnedFd, token: &Token, want: Want) -> (Welcome, Vec<OwnedFd>) {
    let hello = Hello {
        version: ATTACH_VERSION,
        layout_version: LAYOUT_VERSION,
        token: token.0,
        want,
        is_patient: true,
        comm: [0; 16],
    };
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let bytes = grid::attach::encode(&hello, &mut buffer).unwrap();
    let mut nothing = SendAncillaryBuffer::default();
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut nothing,
        SendFlags::NOSIGNAL,
    )
    .unwrap();
    let mut answer = [0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut answer)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    let fds = rights.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    (
        grid::attach::decode(&answer[..received.bytes]).expect("an answer"),
        fds.collect(),
    )
}

/// A membership, as the hook driver would have it.
pub struct Joined {
    /// The answer.
    pub welcome: Welcome,
    /// The region, mapped once more.
    pub region: Region,
    /// Connections to nodes.
    pub sockets: Vec<TcpStream>,
}

impl Joined {
    fn new(session: &SessionId, token: &Token) -> Joined {
        let (welcome, mut fds) = converse(&knock(session), token, Want::Join);
        assert_eq!(welcome.verdict, Verdict::Joined);
        assert!(welcome.has_region && welcome.token == token.0);
        let memory = fds.remove(0);
        let region = sys::open_region(std::os::fd::AsFd::as_fd(&memory), welcome.region_bytes);
        let sockets = fds.into_iter().map(TcpStream::from).collect();
        Joined {
            welcome,
            region: region.unwrap(),
            sockets,
        }
    }

    /// Its process record.
    pub fn record(&self) -> &'static ProcessRecord {
        &self.region.processes()[usize::from(self.welcome.process)]
    }

    /// Rings the doorbell.
    pub fn ring(&self) {
        let header = self.region.header();
        header.doorbell.fetch_add(1, grid::sync::Ordering::SeqCst);
        rustix::thread::futex::wake(&header.doorbell, rustix::thread::futex::Flags::empty(), 1)
            .unwrap();
    }
}

/// A process of its own that plays a member; killed when dropped.
pub struct Player {
    child: Child,
    said: std::io::BufReader<std::process::ChildStdout>,
}

const ROLE: &str = "HOOK_SERVER_TEST_ROLE";

fn play(config: &ServeConfig, name: &str, user: Option<u32>) -> Player {
    let test = format!("server::tests::{name}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(ROLE, name)
        .env(
            "HOOKTOOL_SESSION",
            config.session.environment(&config.token, &config.name),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = command.spawn().unwrap();
    let said = std::io::BufReader::new(child.stdout.take().unwrap());
    Player { child, said }
}

/// In the test that a player runs: its membership; `None` when the test runs as an ordinary test.
pub fn as_player(name: &str) -> Option<Joined> {
    (std::env::var(ROLE).ok()? == name).then(|| {
        let session = std::env::var("HOOKTOOL_SESSION").unwrap();
        let words: Vec<_> = session.split(':').collect();
        let [id, token, _] = words[..] else {
            panic!("{session}")
        };
        let id = SessionId::try_from(id.to_string()).unwrap();
        Joined::new(&id, &Token::try_from(token.to_string()).unwrap())
    })
}

/// A player says that it is where it shall be killed, and waits to be.
pub fn say_and_wait(word: &str) {
    println!("player: {word}");
    let _ = std::io::stdin().read(&mut [0]);
}

impl Player {
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has said `word`; the line in which it did.
    pub fn wait_for(&mut self, word: &str) -> String {
        let mut line = String::new();
        while !line.contains(&format!("player: {word}")) {
            line.clear();
            let read = std::io::BufRead::read_line(&mut self.said, &mut line).unwrap();
            assert_ne!(read, 0, "the player ended before it said {word}");
        }
        line
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

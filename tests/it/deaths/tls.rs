//! Nodes that speak TLS: what is on the wire, who is believed, and what happens when they stop, die
//! or come back, or when the hook server, which carries the bytes, does.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use harness::bed::{Bed, small_environment};
use harness::both_modes;
use harness::daemon::Daemon;
use harness::mode::Mode;
use harness::node::{Node, free_port};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::stage::tool;
use harness::tls::{Papers, Tap};
use rustix::process::Signal;

use super::liar::Scene;

both_modes!(memnode_by_tls, redis_by_tls, stopped_killed_and_back);

/// A session whose nodes are these, which believes `ca` and shows the certificate of `client`.
fn trusting<'a>(bed: &'a Bed, papers: &Papers, nodes: &[SocketAddr]) -> Hooked<'a> {
    let mut hooked = bed.hooked().flag("--node-ca", papers.at("ca.crt"));
    hooked = hooked.flag("--node-cert", papers.at("client.crt"));
    hooked = hooked.flag("--node-key", papers.at("client.key"));
    for node in nodes {
        hooked = hooked.flag("--node", format!("rediss://{node}"));
    }
    hooked
}

/// What the ear hears of a plain node is in the file; of one by TLS it is not.
fn memnode_by_tls(mode: Mode) {
    let bed = Bed::new("tls", mode);
    let papers = Papers::new(&bed);
    let plain = Node::start(&bed, "64MiB");
    let tap = Tap::before(plain.addr);
    let mut scene = Scene::unserved(&bed, bed.hooked().flag("--node", tap.addr.to_string()));
    scene.serve_again();
    assert!(tap.has_heard(scene.content()), "the ear is deaf");
    scene.end();

    let node = Node::start_with(&bed, "64MiB", &papers.of_node("node", true));
    let tap = Tap::before(node.addr);
    let mut scene = Scene::unserved(&bed, trusting(&bed, &papers, &[tap.addr]));
    scene.serve_again();
    let served = scene.hits().expect("live");
    assert!(
        tap.count() as u64 > served * 4096,
        "blocks came over this wire"
    );
    assert!(!tap.has_heard(scene.content()), "plain blocks on the wire");
    scene.end();
}

fn redis_by_tls(mode: Mode) {
    let bed = Bed::new("tls-redis", mode);
    let papers = Papers::new(&bed);
    let addr = free_port();
    let mut command = Command::new(tool("redis-server"));
    small_environment(&mut command);
    command
        .current_dir(bed.path())
        .args(["--port", "0", "--bind", "127.0.0.1"])
        .args(["--tls-port", &addr.port().to_string()])
        .args(["--tls-cert-file", &papers.at("node.crt")])
        .args(["--tls-key-file", &papers.at("node.key")])
        .args(["--tls-ca-cert-file", &papers.at("ca.crt")])
        .args(["--tls-auth-clients", "yes", "--requirepass", "p@ss"])
        .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
        .args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])
        .stdin(Stdio::null());
    let listens = || std::net::TcpStream::connect(addr).is_ok();
    let server = Daemon::start(&bed, command, listens);
    let hooked = trusting(&bed, &papers, &[]);
    let hooked = hooked.flag("--node", format!("rediss://:p%40ss@{addr}"));
    let mut scene = Scene::unserved(&bed, hooked);
    scene.serve_again();
    scene.end();
    server.crash();
}

/// Two nodes behind one thread of the hook server: the one that holds the file is stopped, then
/// killed; the other one takes over, through the same thread, and the first comes back.
fn stopped_killed_and_back(mode: Mode) {
    let bed = Bed::new("tls-stopped", mode);
    let papers = Papers::new(&bed);
    let flags = papers.of_node("node", true);
    let start = || Node::start_with(&bed, "64MiB", &flags);
    let mut nodes = [start(), start()];
    let addrs = nodes.each_ref().map(|node| node.addr);
    let mut scene = Scene::unserved(&bed, trusting(&bed, &papers, &addrs));
    scene.serve_again();
    let stats = scene.hooked.stats().expect("live");
    let blocks = |nth: usize| stats.all["nodes"][nth]["blocks"].as_u64();
    // The blocks of so small a file lie together.
    let first = &mut nodes[usize::from(blocks(1) > blocks(0))];
    let goes_on = |scene: &mut Scene<'_>, when: &str| {
        let before = scene.troubles();
        wait_until(&format!("{when}: it is noticed"), || {
            scene.turn(when);
            scene.troubles() > before
        });
        let hits = scene.hits().expect("live");
        wait_until(&format!("{when}: the other node takes over"), || {
            scene.turn(when);
            scene.hits().expect("live") > hits + 64
        });
    };
    first.signal(Signal::STOP);
    goes_on(&mut scene, "stopped");
    first.signal(Signal::CONT);
    both_up(&mut scene);
    first.kill();
    goes_on(&mut scene, "killed");
    first.restart_unheard();
    both_up(&mut scene);
    scene.end();
}

fn both_up(scene: &mut Scene<'_>) {
    let are_up = |stats: &harness::stats::Stats| (0..2).all(|nth| stats.node_state(nth) == "up");
    scene.hooked.wait_stats("both nodes are up", are_up);
    scene.serve_again();
}

/// A stopped node, as any slow one: reads are given up at their deadline, counted as such.
#[test]
fn no_read_waits_longer_for_tls() {
    let bed = Bed::new("tls-deadline", Mode::Normal);
    let papers = Papers::new(&bed);
    let node = Node::start_with(&bed, "64MiB", &papers.of_node("node", false));
    let mut scene = Scene::unserved(&bed, trusting(&bed, &papers, &[node.addr]));
    scene.serve_again();
    let given_up = |scene: &Scene<'_>| {
        let stats = scene.hooked.stats().expect("live");
        stats.all["fallback"]["deadline"].as_u64().unwrap_or(0)
    };
    let before = given_up(&scene);
    node.signal(Signal::STOP);
    wait_until("a read is given up at its deadline", || {
        scene.turn("stopped");
        given_up(&scene) > before
    });
    node.signal(Signal::CONT);
    scene.serve_again();
    scene.end();
}

/// The hook server carries the bytes: with it they stop, and the kernel reads.
#[test]
fn the_hook_server_dies() {
    let bed = Bed::new("tls-server", Mode::Normal);
    let papers = Papers::new(&bed);
    let node = Node::start_with(&bed, "64MiB", &papers.of_node("node", true));
    let mut scene = Scene::unserved(&bed, trusting(&bed, &papers, &[node.addr]));
    scene.serve_again();
    let info = scene.hooked.info().expect("the session lives");
    let pid = info["server_pid"]
        .as_i64()
        .and_then(|pid| pid.try_into().ok());
    let pid = rustix::process::Pid::from_raw(pid.expect("a number")).expect("a process");
    rustix::process::kill_process(pid, Signal::KILL).expect("kill the hook server");
    let is_there =
        || std::fs::read_to_string(format!("/proc/{pid}/stat", pid = pid.as_raw_nonzero()));
    let is_over = || is_there().map_or(true, |stat| stat.contains(") Z "));
    wait_until("the hook server is gone", is_over);
    for _ in 0..20 {
        scene.turn("without a hook server");
    }
    scene.end();
}

/// Who is not believed, and who does not believe us, serves nothing; the program is right, one line
/// says why, and `doctor` says the same.
#[test]
fn no_trust_no_byte() {
    let bed = Bed::new("tls-trust", Mode::Normal);
    let papers = Papers::new(&bed);
    let start =
        |shown: &str, asks: bool| Node::start_with(&bed, "64MiB", &papers.of_node(shown, asks));
    let (node, strict) = (start("node", false), start("node", true));
    let (late, elsewhere) = (start("late", false), start("elsewhere", false));
    let plain = Node::start(&bed, "64MiB");
    let no = |node: &Node, believed, shown, why, fix| {
        let node = format!("rediss://{}", node.addr);
        nothing_is_served(&bed, &papers, &node, (believed, shown), (why, fix));
    };
    no(
        &node,
        "other",
        "",
        "signed by nobody who is believed",
        "--node-ca FILE",
    );
    no(
        &late,
        "ca",
        "",
        "its certificate has expired",
        "kill -HUP PID",
    );
    no(
        &elsewhere,
        "ca",
        "",
        "elsewhere.example",
        "rediss://NAME:PORT",
    );
    no(
        &strict,
        "ca",
        "",
        "asks for a client certificate",
        "--node-cert FILE",
    );
    no(
        &strict,
        "ca",
        "stranger",
        "refuses the client certificate",
        "the node's log",
    );
    no(&plain, "ca", "", "does not speak TLS", "--node redis://");
    let (addr, words) = (node.addr.to_string(), ("speaks TLS", "--node rediss://"));
    nothing_is_served(&bed, &papers, &addr, ("ca", ""), words);
    let asked = plain.info("keyspace_misses") + plain.info("keyspace_hits");
    assert_eq!(asked, 0);
}

/// Reads and writes with this node, believing an authority and showing a certificate or none.
fn nothing_is_served(
    bed: &Bed,
    papers: &Papers,
    node: &str,
    (believed, shown): (&str, &str),
    (why, fix): (&str, &str),
) {
    let mut files = vec!["--node-ca".into(), papers.at(&format!("{believed}.crt"))];
    if !shown.is_empty() {
        files.extend(["--node-cert".into(), papers.at(&format!("{shown}.crt"))]);
        files.extend(["--node-key".into(), papers.at(&format!("{shown}.key"))]);
    }
    let said = doctor(bed, node, &files);
    let is_told = |words: &str| words.contains(why) && words.contains(fix);
    assert!(
        said.contains("BAD  node") && is_told(&said),
        "{node} {why}: {said}"
    );
    let mut hooked = bed.hooked().flag("--node", node);
    for pair in files.chunks(2) {
        hooked = hooked.flag(&pair[0], &pair[1]);
    }
    let mut scene = Scene::unserved(bed, hooked);
    for _ in 0..5 {
        scene.turn(why);
    }
    assert_eq!(scene.hits(), Some(0), "{node} {why}");
    let state = if node.contains("://") {
        "untrusted"
    } else {
        "tls"
    };
    let is_known = |stats: &harness::stats::Stats| stats.node_state(0) == state;
    scene.hooked.wait_stats(why, is_known);
    // On a busy machine the first word of a node comes after the start.
    let words = scene.end_with_words();
    let is_late = words.contains("has not answered yet");
    assert!(is_told(&words) || is_late, "{node} {why}: {words}");
}

/// What `doctor` says of a node, its files named as given.
fn doctor(bed: &Bed, node: &str, files: &[String]) -> String {
    let mut words = vec!["doctor".to_string(), "--node".into(), node.to_string()];
    words.extend_from_slice(files);
    run(&mut bed.hooktool(&words)).text()
}

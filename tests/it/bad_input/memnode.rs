//! Bad input of `memnode` on its command line, and peers that are gone without a word.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use harness::bed::{Bed, small_environment};
use harness::cable::Cable;
use harness::mode::Mode;
use harness::node::{Node, free_port};
use harness::run::{run, wait_until};
use harness::stage::{root_or_say, tool};

use crate::must_refuse;

fn memnode(bed: &Bed, words: &[&str]) -> Command {
    let mut command = Command::new(bed.artefact("memnode"));
    small_environment(&mut command);
    command.args(words);
    command
}

#[test]
fn unknown_flags_and_impossible_values_are_refused() {
    let bed = Bed::new("node-flags", Mode::Normal);
    let free = free_port().to_string();
    for (words, word) in [
        (&["--nope"][..], "--nope"),
        (&["--memory", "12QiB"], "12QiB"),
        (&["--memory", "900TiB", "--listen", &free], "900"),
        (&["--memory", "0"], "0"),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--listen", "127.0.0.1:99999"], "127.0.0.1:99999"),
        (&["--eviction", "magic"], "magic"),
        (&["--config", "/nowhere/x.toml"], "/nowhere/x.toml"),
        (&["--password-file", "/nowhere/pw"], "/nowhere/pw"),
    ] {
        let outcome = run(&mut memnode(&bed, words));
        assert_ne!(outcome.code(), Some(0), "{words:?} was accepted");
        let status = outcome.code().expect("no signal");
        must_refuse(&outcome, status, word);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let bed = Bed::new("node-port", Mode::Normal);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("bound").to_string();
    let outcome = run(&mut memnode(
        &bed,
        &["--listen", &addr, "--memory", "16MiB"],
    ));
    let status = outcome.code().expect("no signal");
    assert_ne!(status, 0);
    must_refuse(&outcome, status, &addr);
}

/// On any address but the loopback, a node wants to know who may come.
#[test]
fn strangers_are_refused_by_default() {
    let bed = Bed::new("node-open", Mode::Normal);
    let outcome = run(&mut memnode(
        &bed,
        &["--listen", "0.0.0.0:0", "--memory", "16MiB"],
    ));
    let status = outcome.code().expect("no signal");
    assert_ne!(status, 0);
    must_refuse(&outcome, status, "--no-auth");
}

/// Clients whose cable is cut say nothing any more, not even that they end: the node, in a
/// namespace of its own, asks whether they are there and gives their places to others.
#[test]
fn half_open_connections_give_their_places_back() {
    if !root_or_say("a network namespace") {
        return;
    }
    let bed = Bed::new("half-open", Mode::Normal);
    let cable = Cable::lay();
    // What the node's own end asks goes by the loopback of its namespace.
    let up = ["-n", &cable.namespace, "link", "set", "lo", "up"];
    run(Command::new(tool("ip")).args(up)).must_pass();
    let addr = SocketAddr::new(cable.far, free_port().port());
    let node = Node::start_in(&bed, "64MiB", addr, &cable);
    let asked = node
        .client()
        .ask(&[b"CONFIG", b"SET", b"tcp-keepalive", b"1"]);
    assert!(asked.is_ok(), "{asked:?}");
    let mut clients: Vec<_> = (0..5).map(|_| node.client()).collect();
    for client in &mut clients {
        client.ping().expect("served before the cable is cut");
    }
    // Asked at its own end of the cable.
    let connected = || {
        let mut command = Command::new(tool("ip"));
        let (host, port) = (addr.ip().to_string(), addr.port().to_string());
        command.args(["netns", "exec", &cable.namespace, "redis-cli"]);
        command.args(["-h", &host, "-p", &port, "info", "clients"]);
        let text = run(&mut command).must_pass().text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("connected_clients:"))
            .map(|number| number.trim().parse::<u32>());
        line.expect("INFO has connected_clients").expect("a number")
    };
    assert!(connected() >= 6, "five clients and the one that asks");
    cable.pull();
    wait_until("the five places are free again", || connected() == 1);
    cable.plug();
    node.client()
        .ping()
        .expect("served after the cable is back");
}

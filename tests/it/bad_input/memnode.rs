//! Bad input of `memnode` on its command line.

use std::net::TcpListener;
use std::process::Command;

use harness::bed::{Bed, small_environment};
use harness::mode::Mode;
use harness::node::free_port;
use harness::run::run;

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

//! Python programs: the calls of the `os` module, processes, mappings, buffered files, threads.
//!
//! The programs lie in `scripts/`; each checks itself against a model in memory and prints a
//! digest, so that it is a test of its own, natively too.

use std::path::Path;

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::{assert_same, run};
use harness::tree::assert_same_tree;
use harness::warm::{run_warm, scratch};

both_modes!(os_calls, processes, mappings, buffered, threads);

fn same_script(name: &str, mode: Mode) {
    let bed = Bed::new(&format!("py-{name}"), mode);
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name);
    let script = script.with_extension("py");
    let script = bed.write(
        "script.py",
        &std::fs::read(script).expect("the script is there"),
    );
    let words = [Path::new("/usr/bin/python3"), Path::new("-S"), &script];
    let here = scratch(&bed, "native");
    let native = run(&mut bed.native(&here, &words)).must_pass();
    let there = scratch(&bed, "hooked");
    let hooked = bed.hooked();
    let outcome = run_warm(&bed, &hooked, &there, &words);
    assert_same(&native, &outcome, name);
    assert_same_tree(&here, &there, name);
    hooked.final_stats().must_have_hits();
}

fn os_calls(mode: Mode) {
    same_script("os_calls", mode);
}

fn processes(mode: Mode) {
    same_script("processes", mode);
}

fn mappings(mode: Mode) {
    same_script("mappings", mode);
}

fn buffered(mode: Mode) {
    same_script("buffered", mode);
}

fn threads(mode: Mode) {
    same_script("threads", mode);
}

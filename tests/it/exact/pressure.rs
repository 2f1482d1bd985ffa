//! Exact when there is too little of everything, and when writers are killed or run away.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::bed::Bed;
use harness::both_modes;
use harness::files::{Dice, noise, seed_or};
use harness::mode::Mode;
use harness::node::Node;
use harness::puppet::{Puppets, puppet_words};
use harness::run::{Outcome, run, wait_until, wrapped};
use harness::session::Hooked;
use harness::stats::Stats;
use harness::zoo::{
    compile_confine, compile_crowd, compile_deserter, compile_prowler, compile_scrubber,
};
use serde_json::json;

both_modes!(
    many_writers,
    index_too_small,
    node_too_small,
    killed_writers,
    killed_writers_without_process_descriptors,
    deserted_writers,
    more_processes_than_places,
    more_writers_than_places,
    few_descriptors
);

/// How long a session may take until it has come as far as a test wants: a watchdog.
const PATIENCE: Duration = Duration::from_secs(150);

/// Runs the prowler hooked until reads were served, and fails unless it saw only right bytes.
fn prowl(bed: &Bed, hooked: &Hooked<'_>, blocks: usize, seed: u64) {
    let seed = seed_or(seed) % 1_000_000;
    let stop = bed.join("stop");
    let words = [
        compile_prowler(bed),
        bed.join("prey"),
        blocks.to_string().into(),
        "4".into(),
        seed.to_string().into(),
        "20000".into(),
        stop.clone(),
    ];
    let mut command = hooked.command(bed.path(), &words);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        wait_until("reads are served", || {
            running.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > 5000)
        });
        std::fs::write(&stop, b"").expect("stop the prowler");
        let outcome = running.join().expect("the run came to its end").must_pass();
        assert!(outcome.text().ends_with("right\n"), "{}", outcome.story());
    });
    let stats = hooked.final_stats();
    stats.must_have_hits();
    assert!(
        stats.count("writes") > 0 && stats.count("invalidations") > 0,
        "{}",
        stats.all
    );
}

fn many_writers(mode: Mode) {
    let bed = Bed::new("prowl", mode);
    prowl(&bed, &bed.hooked(), 2000, 1);
}

/// The smallest index there is holds 4096 entries: a tenth of this working set.
fn index_too_small(mode: Mode) {
    let bed = Bed::new("index", mode);
    prowl(&bed, &bed.hooked().flag("--index", "64KiB"), 41_000, 2);
}

/// The node holds a tenth of the working set and evicts all the time.
fn node_too_small(mode: Mode) {
    let bed = Bed::new("small-node", mode);
    let node = Node::start(&bed, "16MiB");
    let hooked = bed
        .hooked()
        .flag("--node", node.addr.to_string())
        .flag("--local", "0");
    prowl(&bed, &hooked, 41_000, 3);
}

/// Writers are killed at any instruction. Afterwards hooked reads equal the kernel's, and what the
/// dead had in flight is released: the blocks are served again.
fn killed_writers(mode: Mode) {
    let bed = Bed::new("killed", mode);
    kill_writers(&bed, |command| command);
}

/// The same where the kernel has no process descriptors, nor any other newer call that can be done
/// without: deaths are proved by the status of processes.
fn killed_writers_without_process_descriptors(mode: Mode) {
    let bed = Bed::new("killed-old", mode);
    let confine = compile_confine(&bed).display().to_string();
    kill_writers(&bed, |command| {
        let mut command = wrapped(&[&confine, "ENOSYS", "but-needed"], &command);
        mode.apply(&mut command);
        command
    });
}

fn kill_writers(bed: &Bed, around: impl FnOnce(Command) -> Command) {
    const BLOCKS: usize = 64;
    bed.write("file", &noise(6, BLOCKS * 4096));
    let scrubber = compile_scrubber(bed);
    let hooked = bed.hooked();
    let command = hooked.command(bed.path(), &puppet_words(bed, 2));
    let mut puppets = Puppets::start(around(command));
    puppets.done(1, "open", &json!(["f", "file", "r"]));
    let mut dice = Dice::new(9);
    for round in 0..25_u64 {
        for writer in 0..2 {
            let seed = (round * 2 + writer).to_string();
            let blocks = BLOCKS.to_string();
            puppets.done(0, "spawn", &json!([seed, scrubber, "file", blocks, seed]));
        }
        std::thread::sleep(Duration::from_micros(20_000 + dice.below(40_000)));
        for writer in 0..2 {
            let status = puppets.done(0, "kill", &json!([(round * 2 + writer).to_string()]));
            assert_eq!(status, json!(-9), "a writer ended before it was killed");
        }
        let truth = std::fs::read(bed.join("file")).expect("read natively");
        for _ in 0..3 {
            let got = puppets.read(1, "sweep", &json!(["f", 0, BLOCKS * 4096, 4096]));
            assert!(
                got == truth,
                "round {round}: hooked and native reads differ"
            );
        }
    }
    let truth = std::fs::read(bed.join("file")).expect("read natively");
    let mut before = hooked.stats().expect("live").hits();
    wait_until("every block is served again", || {
        let got = puppets.read(1, "sweep", &json!(["f", 0, BLOCKS * 4096, 4096]));
        assert!(got == truth);
        let now = hooked.stats().expect("live").hits();
        let served = now - before;
        before = now;
        served >= BLOCKS as u64
    });
    hooked.wait_stats("nothing of the dead is in flight", |stats| {
        let region = &stats.all["region"];
        region["operations"] == 0 && region["cells_in_flight"] == 0
    });
    puppets.end();
}

/// More processes than a region has places: the surplus reads from the kernel, is counted, and
/// nobody sees an error or a wrong byte.
fn more_processes_than_places(mode: Mode) {
    const READERS: u64 = 300;
    for (index, places) in [("64KiB", 127), ("16MiB", READERS)] {
        let bed = Bed::new("crowd", mode);
        bed.write("file", &noise(8, 16 * 4096));
        let crowd = compile_crowd(&bed);
        let count = READERS.to_string();
        let hooked = bed.hooked().flag("--index", index);
        let (outcome, stats) = run_until(
            &bed,
            &hooked,
            &[crowd.as_os_str(), "file".as_ref()],
            &[count.as_ref()],
            |stats| {
                let all = stats.count("processes") + stats.count("processes_unserved");
                all >= READERS && stats.hits() > 2000
            },
        );
        let said = format!("{READERS} of {READERS} readers saw the file as it is\n");
        assert_eq!(outcome.must_pass().text(), said);
        assert_eq!(stats.count("processes"), places, "{index}");
        assert_eq!(stats.count("processes_unserved"), READERS - places);
        let last = hooked.final_stats();
        assert_eq!(last.count("processes_unserved"), 0, "they are gone");
    }
}

/// Runs `words`, a file that ends it when it exists, and `more`; makes that file once the session's
/// statistics are `enough`, and gives them back.
fn run_until(
    bed: &Bed,
    hooked: &Hooked<'_>,
    words: &[&OsStr],
    more: &[&OsStr],
    enough: impl Fn(&Stats) -> bool,
) -> (Outcome, Stats) {
    let stop = bed.join("stop");
    let words = [words, &[stop.as_os_str()], more].concat();
    let mut command = hooked.command(bed.path(), &words);
    run_until_enough(hooked, &mut command, &stop, enough)
}

/// Runs a command that ends when the file `stop` exists; makes it once the session's statistics are
/// `enough`, and gives them back. In vain: says what they were.
fn run_until_enough(
    hooked: &Hooked<'_>,
    command: &mut Command,
    stop: &Path,
    enough: impl Fn(&Stats) -> bool,
) -> (Outcome, Stats) {
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(command));
        let (since, mut last) = (Instant::now(), None);
        let is_enough = loop {
            last = hooked.stats().or(last.take());
            let is_enough = last.as_ref().is_some_and(&enough);
            if is_enough || running.is_finished() || since.elapsed() > PATIENCE {
                break is_enough;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        std::fs::write(stop, b"").expect("stop it");
        let outcome = running.join().expect("the run came to its end");
        let last = last.unwrap_or_else(|| panic!("no statistics: {}", outcome.story()));
        assert!(is_enough, "never enough: {} {}", last.all, outcome.story());
        (outcome, last)
    })
}

/// Writers whose thread is cancelled, or jumps out of a signal handler, while the process lives on:
/// what they had in flight is settled, and the file comes back into service.
fn deserted_writers(mode: Mode) {
    let bed = Bed::new("deserted", mode);
    bed.write("file", &noise(7, 64 * 4096));
    let deserter = compile_deserter(&bed);
    let hooked = bed.hooked();
    let words = [deserter.as_os_str(), "file".as_ref()];
    let (outcome, _) = run_until(&bed, &hooked, &words, &[], |stats| stats.hits() > 200);
    assert_eq!(outcome.must_pass().text(), "deserted\n");
    hooked.final_stats().must_have_hits();
}

/// Processes that found no place write a file that the session owns: nobody reads what was there
/// before.
fn more_writers_than_places(mode: Mode) {
    const BLOCKS: usize = 32;
    const PUPPETS: usize = 135;
    let bed = Bed::new("surplus", mode);
    let mut content = noise(10, BLOCKS * 4096);
    bed.write("file", &content);
    let hooked = bed.hooked().flag("--index", "64KiB");
    let hooked = hooked.flag("--own", bed.join("file"));
    let words = puppet_words(&bed, PUPPETS);
    let mut puppets = Puppets::start(hooked.command(bed.path(), &words));
    let sweep = json!(["f", 0, BLOCKS * 4096, 4096]);
    for who in 0..PUPPETS {
        puppets.done(who, "open", &json!(["f", "file", "w"]));
        assert!(puppets.read(who, "sweep", &sweep) == content);
    }
    wait_until("reads are served", || {
        assert!(puppets.read(0, "sweep", &sweep) == content);
        hooked.stats().is_some_and(|stats| stats.hits() > 200)
    });
    let stats = hooked.stats().expect("live");
    assert!(stats.count("processes_unserved") > 0, "{}", stats.all);
    must_not_ask_at_every_call(&mut puppets, PUPPETS - 1);
    for (round, who) in (PUPPETS - 16..PUPPETS).enumerate() {
        let at = round * 8192 + 7;
        content[at..at + 90].fill(who as u8);
        let bytes = harness::puppet::to_hex(&content[at..at + 90]);
        puppets.done(who, "pwrite", &json!(["f", at, bytes]));
        for reader in [0, 50, who] {
            assert!(
                puppets.read(reader, "sweep", &sweep) == content,
                "round {round}"
            );
        }
    }
    puppets.end();
    hooked.final_stats().must_have_hits();
}

/// A process without a place asks for one now and then, not at every call: each question waits for
/// an answer, which the kernel counts.
fn must_not_ask_at_every_call(puppets: &mut Puppets, who: usize) {
    const SWEEPS: usize = 40;
    let pid = puppets.done(who, "pid", &json!([]));
    let waits = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let waits = line.and_then(|count| count.trim().parse().ok());
        waits.unwrap_or_else(|| panic!("{status}"))
    };
    let before: usize = waits();
    for _ in 0..SWEEPS {
        puppets.read(who, "sweep", &json!(["f", 0, 32 * 4096, 4096]));
    }
    let after = waits();
    assert!(after - before < SWEEPS * 16, "{} waits", after - before);
}

/// The hook server may hold fewer descriptors than there are processes: those for whom there is
/// none are let in without a place, and nobody sees an error or a wrong byte.
fn few_descriptors(mode: Mode) {
    const READERS: u64 = 110;
    let bed = Bed::new("few", mode);
    bed.write("file", &noise(11, 16 * 4096));
    let crowd = compile_crowd(&bed);
    let (stop, count) = (bed.join("stop"), READERS.to_string());
    let hooked = bed.hooked().flag("--index", "16MiB");
    let words = [
        crowd.as_os_str(),
        "file".as_ref(),
        stop.as_os_str(),
        count.as_ref(),
    ];
    let line = hooked.command(bed.path(), &words);
    let mut command = bed.native(bed.path(), &["/usr/bin/prlimit", "--nofile=240:240"]);
    command.arg(line.get_program()).args(line.get_args());
    mode.apply(&mut command);
    let (outcome, stats) = run_until_enough(&hooked, &mut command, &stop, |stats| {
        let (places, hits) = (stats.count("processes"), stats.hits());
        let all = places + stats.count("processes_unserved");
        all >= READERS && places > 60 && hits > 500
    });
    let said = format!("{READERS} of {READERS} readers saw the file as it is\n");
    assert_eq!(outcome.must_pass().text(), said);
    assert!(stats.count("processes_unserved") > 0, "{}", stats.all);
}

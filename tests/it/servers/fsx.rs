//! fsx, the file system exerciser: random calls on one file, each read compared with what must be
//! there.
//!
//! Alone, and watched by readers in other processes of the session, which fill the cache at every
//! moment of a change. `RAMGRID_FSX_OPERATIONS` makes it longer, `RAMGRID_SEED` other.

use harness::bed::Bed;
use harness::both_modes;
use harness::files::seed_or;
use harness::mode::Mode;
use harness::run::run;
use harness::script::script;
use harness::stage::cargo_tool;
use harness::stats::Stats;

both_modes!(alone, watched, mapped, everything);

/// Weights of the calls that leave the file in service.
const CALLS: &str = "
flen = 262144
[opsize]
max = 32768
[weights]
close_open = 2
read = 40
write = 10
truncate = 2
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 1
punch_hole = 2
sendfile = 40
posix_fadvise = 2
copy_file_range = 2
";

/// A shared mapping takes the file out of service for good. fsx maps for each of these.
const SELDOM_MAPPED: &str = "invalidate = 0.005\nmapread = 0.005\nmapwrite = 0.005\n";
const OFTEN_MAPPED: &str = "invalidate = 2\nmapread = 10\nmapwrite = 10\n";
const NEVER_MAPPED: &str = "invalidate = 0\nmapread = 0\nmapwrite = 0\n";

/// Every call but those that map.
fn alone(mode: Mode) {
    exercise("alone", mode, NEVER_MAPPED, 0).must_have_hits();
}

/// The same, watched by two more processes.
fn watched(mode: Mode) {
    exercise("watched", mode, NEVER_MAPPED, 2).must_have_hits();
}

/// Every call, those that map so seldom that the file is served before the first of them.
fn everything(mode: Mode) {
    exercise("everything", mode, SELDOM_MAPPED, 1).must_have_hits();
}

/// Every call, those that map from the beginning: nothing may be served.
fn mapped(mode: Mode) {
    exercise("mapped", mode, OFTEN_MAPPED, 1);
}

fn exercise(name: &str, mode: Mode, mapping: &str, onlookers: u32) -> Stats {
    let bed = Bed::new(&format!("fsx-{name}"), mode);
    let config = bed.write("fsx.toml", format!("{CALLS}{mapping}").as_bytes());
    let (config, count) = (config.display().to_string(), onlookers.to_string());
    let fsx = cargo_tool("fsx").display().to_string();
    let operations = std::env::var("RAMGRID_FSX_OPERATIONS").unwrap_or("12000".into());
    let seed = seed_or(7).to_string();
    let watcher = script(&bed, "onlookers.py");
    let mut words = vec![
        "/usr/bin/python3",
        watcher.to_str().expect("text"),
        &count,
        "file",
    ];
    words.extend([
        fsx.as_str(),
        "-q",
        "-f",
        &config,
        "-S",
        &seed,
        "-N",
        &operations,
        "file",
    ]);
    let hooked = bed.hooked();
    let outcome = run(&mut hooked.command(bed.path(), &words)).must_pass();
    assert!(outcome.text().contains("A-OK"), "{}", outcome.story());
    let stats = hooked.final_stats();
    assert!(stats.count("writes") > 0, "{}", stats.all);
    stats
}

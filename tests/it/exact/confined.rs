//! Everything, hook server included, under a seccomp filter that answers EPERM or ENOSYS to every
//! newer call: the same bytes, the same status, nothing on standard error.

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::{run, wait_until, wrapped};
use harness::zoo::{compile_confine, compile_prowler};

both_modes!(without_newer_calls, without_newer_calls_but_two);

/// Without `statx` no file has a birth time, hence no identity; without `preadv2` nobody can read
/// the page cache alone, to fill: nothing is served.
fn without_newer_calls(mode: Mode) {
    for refusal in ["EPERM", "ENOSYS"] {
        assert_eq!(prowl_confined(mode, refusal, "all"), 0, "served {refusal}");
    }
}

/// With these two, files are served without any of the others; without process descriptors, deaths
/// are proved by the status of processes.
fn without_newer_calls_but_two(mode: Mode) {
    for refusal in ["EPERM", "ENOSYS"] {
        let hits = prowl_confined(mode, refusal, "but-needed");
        assert!(hits > 2000, "{refusal}: {hits} hits");
    }
}

/// Runs the prowler so, until reads were served where they can be; how many were.
fn prowl_confined(mode: Mode, refusal: &str, which: &str) -> u64 {
    let bed = Bed::new("confined", mode);
    let stop = bed.join("stop");
    let confine = compile_confine(&bed).display().to_string();
    let words = [
        compile_prowler(&bed),
        bed.join("prey"),
        "500".into(),
        "3".into(),
        "5".into(),
        "4000".into(),
        stop.clone(),
    ];
    let hooked = bed.hooked();
    let line = hooked.command(bed.path(), &words);
    let mut command = wrapped(&[&confine, refusal, which], &line);
    mode.apply(&mut command);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        wait_until("reads are served", || {
            which == "all"
                || running.is_finished()
                || hooked.stats().is_some_and(|stats| stats.hits() > 2000)
        });
        std::fs::write(&stop, b"").expect("stop it");
        let outcome = running.join().expect("the run came to its end").must_pass();
        assert_eq!(outcome.text(), "seed 5: right\n", "{}", outcome.story());
        assert_eq!(outcome.errors(), "");
    });
    hooked.final_stats().hits()
}

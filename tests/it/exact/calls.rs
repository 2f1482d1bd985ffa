//! Each kind of call that is served, really is: a program that reads by this kind alone gets its
//! bytes from the session's memory, and they are right.
//!
//! The zoo shows that such calls keep their meaning; here the session's own statistics say that it
//! was the grid that answered.

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::{run, wait_until};
use harness::warm::{WARM_FILE, scratch};
use harness::zoo::{compile_caller, compile_glimpser};

/// So many calls must have been served. (`advised` goes on until advice has spared the disk, too.)
const HITS_MIN: u64 = 300;

/// Lets the caller go on until enough of its calls have been served.
fn is_served(kind: &str, mode: Mode) {
    let bed = Bed::new(&format!("calls-{kind}"), mode);
    let dir = scratch(&bed, "files");
    let (caller, stop) = (compile_caller(&bed), bed.join("stop"));
    let hooked = bed.hooked();
    let words = [
        caller.as_os_str(),
        kind.as_ref(),
        WARM_FILE.as_ref(),
        stop.as_os_str(),
    ];
    let mut command = hooked.command(&dir, &words);
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        wait_until(&format!("{kind} is served"), || {
            running.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > HITS_MIN)
        });
        std::fs::write(&stop, b"").expect("stop the caller");
        running.join().expect("the run came to its end")
    });
    assert_eq!(outcome.must_pass().text(), "right\n", "{kind}");
    let stats = hooked.final_stats();
    assert!(stats.hits() > HITS_MIN, "{kind}: {}", stats.all);
}

macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        $(fn $kind(mode: Mode) {
            is_served(stringify!($kind), mode);
        })+
        both_modes!($($kind),+);
    };
}

kinds!(
    direct,
    direct_vectors,
    sendfile,
    advised,
    after_aio,
    after_libaio
);

/// Small files that are read by one call per open, without `--fill always`: what is known of a file
/// outlives the descriptor that found it out.
fn one_read_per_open(mode: Mode) {
    let bed = Bed::new("calls-glimpses", mode);
    let dir = scratch(&bed, "files");
    let (glimpser, stop) = (compile_glimpser(&bed), bed.join("stop"));
    let hooked = bed.hooked().fill_auto().flag("--local", "0");
    let words = [
        glimpser.as_os_str(),
        dir.as_os_str(),
        "40".as_ref(),
        stop.as_os_str(),
    ];
    let mut command = hooked.command(&dir, &words);
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        wait_until("glimpses are served", || {
            running.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > 80)
        });
        std::fs::write(&stop, b"").expect("stop the glimpser");
        running.join().expect("the run came to its end")
    });
    assert_eq!(outcome.must_pass().text(), "right\n");
    let stats = hooked.final_stats();
    assert!(stats.hits() > 80, "{}", stats.all);
}

both_modes!(one_read_per_open);

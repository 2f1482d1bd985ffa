//! Exit status and death by signal, as a parent sees them.

use harness::bed::Bed;
use harness::both_modes;
use harness::mode::Mode;
use harness::run::{assert_same, run};

both_modes!(exit_statuses, deaths_by_signal, exec_failures);

fn exit_statuses(mode: Mode) {
    let bed = Bed::new("statuses", mode);
    for status in [0, 1, 2, 3, 42, 124, 125, 126, 127, 128, 137, 255] {
        let script = format!("exit {status}");
        let words = ["/bin/sh", "-c", &script];
        let native = run(&mut bed.native(bed.path(), &words));
        let hooked = bed.hooked();
        let outcome = run(&mut hooked.command(bed.path(), &words));
        assert_eq!(outcome.code(), Some(status), "{}", outcome.story());
        assert_same(&native, &outcome, &script);
        hooked.final_stats();
    }
}

fn deaths_by_signal(mode: Mode) {
    let bed = Bed::new("signals", mode);
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("ABRT", 6),
        ("KILL", 9),
        ("SEGV", 11),
        ("PIPE", 13),
        ("TERM", 15),
    ] {
        let script = format!("cat /dev/null; kill -{name} $$; sleep 60");
        // Whoever started the tests may ignore some (nohup), which no program below can undo.
        let words = ["/usr/bin/env", "--default-signal", "/bin/sh", "-c", &script];
        let native = run(&mut bed.native(bed.path(), &words));
        let hooked = bed.hooked();
        let outcome = run(&mut hooked.command(bed.path(), &words));
        assert_eq!(outcome.signal(), Some(number), "{}", outcome.story());
        assert_same(&native, &outcome, &script);
        hooked.final_stats();
    }
}

/// A program that fails to start another one sees the same error, hooked or not.
fn exec_failures(mode: Mode) {
    let bed = Bed::new("exec", mode);
    bed.write("plain", b"not a program\n");
    let scripts = [
        "./missing",
        "./plain",
        "exec ./missing",
        "exec ./plain",
        "exec /",
        "/bin/true",
    ];
    for script in scripts {
        let words = ["/bin/sh", "-c", script];
        let native = run(&mut bed.native(bed.path(), &words));
        let outcome = run(&mut bed.hooked().command(bed.path(), &words));
        assert_same(&native, &outcome, script);
    }
}

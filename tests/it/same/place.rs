//! A hooked program stands where the native one stood: parent, group, descriptors, signals, limits.

use std::process::Command;

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::run::{assert_same, run, wrapped};
use harness::tree::assert_same_tree;

both_modes!(
    same_place_in_the_world,
    closed_standard_descriptors,
    job_control,
    preload_kept
);

/// What a process can see of its own place. `$PPID` is the test itself, natively and hooked: the
/// target runs in place.
const PLACE: &str = "
echo parent $PPID
test $(ps -o pgid= -p $$) -eq $$ && echo leads its group
ps -o sid= -p $$ | tr -d ' '
ls /proc/self/fd
grep -E '^Sig(Blk|Ign|Cgt|Pnd)|^Threads|^NoNewPrivs|^Seccomp|^Groups|^CapEff' /proc/self/status
ulimit -a
umask
pwd | sed 's/.*-//'
nice
cat /proc/self/oom_score_adj /proc/self/coredump_filter
cat /proc/self/cgroup
wc -l < /proc/$$/task/$$/children
";

fn same_place_in_the_world(mode: Mode) {
    let bed = Bed::new("place", mode);
    let dir = bed.dir_of("in-here");
    let words = ["/bin/bash", "-c", PLACE];
    let native = run(&mut bed.native(&dir, &words)).must_pass();
    let hooked = bed.hooked();
    let outcome = run(&mut hooked.command(&dir, &words));
    assert_same(&native, &outcome, "the place in the world");
    assert!(
        outcome.errors().is_empty(),
        "nothing is printed on success: {}",
        outcome.errors()
    );
    hooked.final_stats();
}

/// Started without some of the descriptors 0 to 2, a target still gets exactly these numbers for
/// its own files: nothing of the grid may sit there. (Above 512 the grid may have four sockets.)
fn closed_standard_descriptors(mode: Mode) {
    let bed = Bed::new("closed", mode);
    let script = "
import os
opened = [os.open('data', os.O_RDWR) for _ in range(6)]
total = sum(len(os.pread(fd, 4096, at)) for fd in opened for at in range(0, 40960, 4096))
os.pwrite(opened[0], b'changed', 0)
log = os.open('log', os.O_WRONLY | os.O_CREAT, 0o644)
numbers = sorted(map(int, os.listdir('/proc/self/fd')))
low, high = [n for n in numbers if n < 512], [n for n in numbers if n >= 512]
assert len(high) <= 4, high
said = repr((opened, total, os.pread(opened[5], 7, 0), low))
os.write(log, said.encode())
";
    for (nth, closing) in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"]
        .iter()
        .enumerate()
    {
        let [here, there] = ["native", "hooked"].map(|name| {
            let dir = bed.dir_of(&format!("{name}-{nth}"));
            std::fs::write(dir.join("data"), noise(4, 100_000)).expect("write data");
            dir
        });
        let target = ["/usr/bin/python3", "-S", "-c", script];
        let native = run(&mut closed(closing, &bed.native(&here, &target))).must_pass();
        let hooked = bed.hooked();
        let outcome = run(&mut closed(closing, &hooked.command(&there, &target)));
        assert_same(&native, &outcome, closing);
        assert_same_tree(&here, &there, closing);
        hooked.final_stats();
    }
}

/// The same command, started by a shell that closes descriptors first.
fn closed(closing: &str, command: &Command) -> Command {
    wrapped(
        &["/bin/sh", "-c", &format!("exec \"$@\" {closing}"), "sh"],
        command,
    )
}

/// Stop, continue and kill from a shell with job control; and from timeout(1).
fn job_control(mode: Mode) {
    let bed = Bed::new("jobs", mode);
    let script = "
set -m
\"$@\" /bin/sh -c 'trap \"echo woken; : > woken\" CONT; sleep 100 & wait; wait; echo over' &
job=$!
until pgrep -P $job sleep >/dev/null; do sleep 0.1; done
kill -STOP $job
until grep -q '^State:.T' /proc/$job/status; do sleep 0.1; done
jobs -s | wc -l
kill -CONT $job
until test -e woken; do sleep 0.1; done
rm woken
jobs -r | wc -l
pkill -P $job sleep
wait $job
echo status $?
timeout 1 \"$@\" /bin/sleep 100
echo status $?
\"$@\" /bin/sh -c 'kill -TSTP $$; echo after' &
until grep -q '^State:.T' /proc/$!/status; do sleep 0.1; done
fg %% >/dev/null
echo status $?
";
    let shell = |prefix: &Command| {
        let mut words = vec![
            "/bin/bash".into(),
            "-c".into(),
            script.into(),
            "bash".into(),
        ];
        words.push(prefix.get_program().to_owned());
        words.extend(prefix.get_args().map(std::ffi::OsStr::to_owned));
        let mut command = bed.native(bed.path(), &words);
        mode.apply(&mut command);
        command
    };
    let native = run(&mut shell(&bed.native(bed.path(), &["/usr/bin/env"])));
    let outcome = run(&mut shell(&bed.hooked().command::<&str>(bed.path(), &[])));
    let said = |outcome: &harness::run::Outcome| outcome.text();
    assert_eq!(
        said(&native),
        said(&outcome),
        "{}\n{}",
        native.story(),
        outcome.story()
    );
    assert!(native.text().contains("woken"), "{}", native.story());
}

/// Somebody else's preload stays, first and in force.
fn preload_kept(mode: Mode) {
    let bed = Bed::new("preload", mode);
    let source = bed.write("other.c", b"int getppid(void) { return 4321; }\n");
    let library = bed.join("other.so");
    let mut gcc = Command::new(harness::stage::tool("gcc"));
    gcc.args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    run(&mut gcc).must_pass();
    let words = ["/usr/bin/python3", "-c", "import os; print(os.getppid())"];
    let native = run(bed.native(bed.path(), &words).env("LD_PRELOAD", &library)).must_pass();
    assert_eq!(native.text(), "4321\n");
    let outcome = run(bed
        .hooked()
        .command(bed.path(), &words)
        .env("LD_PRELOAD", &library));
    assert_same(&native, &outcome, "with a preload of somebody else's");
}

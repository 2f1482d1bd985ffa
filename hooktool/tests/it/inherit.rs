//! What a target inherits: everything as without hooktool, two variables more.

use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::house::{self, HOOKTOOL, driver, err, nobody, out, status};

/// Runs a shell that prepares something and executes `$@`: natively and by hooktool. The script
/// sees the same words either way.
fn both(prepare: &str, words: &[&str]) -> (std::process::Output, std::process::Output) {
    let script = format!("{prepare} exec \"$@\"");
    let shell = |before: &[&str]| {
        let mut command = Command::new("sh");
        house::clean(&mut command);
        command.args(["-c", &script, "sh"]).args(before).args(words);
        command.stdin(Stdio::null()).output().unwrap()
    };
    (
        shell(&[]),
        shell(&[HOOKTOOL, "run", "--node", house::NODE, "--"]),
    )
}

fn same(prepare: &str, words: &[&str]) {
    let (native, hooked) = both(prepare, words);
    assert_eq!(out(&hooked), out(&native), "{prepare} {words:?}");
    assert_eq!(err(&hooked), err(&native), "{prepare} {words:?}");
    assert_eq!(status(&hooked), status(&native), "{prepare} {words:?}");
}

#[test]
fn descriptors_are_as_they_were() {
    let list = [
        "sh",
        "-c",
        "for fd in /proc/self/fd/*; do echo ${fd##*/}; done | sort",
    ];
    same("", &list);
    same("exec 5</dev/null 9</etc/passwd;", &list);
    for (number, closed) in ["0<&-", "2>&-", "0<&- 2>&-", "1>&- 2>&-"]
        .iter()
        .enumerate()
    {
        // Into a new file each time, because the output may be what is closed.
        let file = house::workshop().join(format!("descriptors-{number}"));
        let script = format!("ls -l /proc/$$/fd >> {}", file.display());
        both(&format!("exec {closed};"), &["sh", "-c", &script]);
        let text = std::fs::read_to_string(&file).unwrap();
        let lists: Vec<Vec<_>> = text.split("total 0\n").skip(1).map(numbers).collect();
        assert_eq!(lists.len(), 2, "{text}");
        assert_eq!(lists[0], lists[1], "{closed}: {text}");
    }
}

/// The numbers in a long listing of descriptors.
fn numbers(listing: &str) -> Vec<&str> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(8))
        .collect()
}

#[test]
fn signals_are_as_they_were() {
    let status = ["grep", "-E", "^(SigBlk|SigIgn|ShdPnd)", "/proc/self/status"];
    same("", &status);
    same("trap '' HUP PIPE USR1;", &status);
    same("trap '' PIPE;", &status);
}

#[test]
fn limits_directory_and_mask_are_as_they_were() {
    same(
        "ulimit -n 99; ulimit -c 0; umask 027; cd /usr;",
        &["sh", "-c", "ulimit -a; umask; pwd"],
    );
    same(
        "",
        &[
            "cat",
            "/proc/self/limits",
            "/proc/self/cgroup",
            "/proc/self/oom_score_adj",
        ],
    );
}

#[test]
fn two_variables_are_added() {
    let (native, hooked) = both("export A=1 B=;", &["env", "-0"]);
    let ours = |name: &str| {
        let text = out(&hooked);
        let entry = text.split('\0').find_map(|entry| entry.strip_prefix(name));
        entry
            .map(String::from)
            .unwrap_or_else(|| panic!("{name}{text}"))
    };
    assert_eq!(ours("LD_PRELOAD="), driver().display().to_string());
    let session = ours("HOOKTOOL_SESSION=");
    assert!(
        session.len() == 65 + ":env".len() && session.as_bytes()[32] == b':',
        "{session}"
    );
    let hooked = out(&hooked);
    let rest = hooked.split('\0').filter(|entry| {
        !entry.starts_with("LD_PRELOAD=") && !entry.starts_with("HOOKTOOL_SESSION=")
    });
    let native = out(&native);
    assert_eq!(
        rest.collect::<Vec<_>>(),
        native.split('\0').collect::<Vec<_>>()
    );
}

#[test]
fn the_process_is_the_same_and_has_no_children() {
    let node = nobody();
    let script = "echo $$ $PPID; cat /proc/$$/task/$$/children";
    let mut command = house::hooktool(&["run", "--node", &node, "--", "sh", "-c", script]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let text = out(&output);
    assert_eq!(
        text.lines().next(),
        Some(&*format!("{pid} {}", std::process::id()))
    );
    // The one child is the cat that looks.
    assert_eq!(text.split_whitespace().count(), 3, "{text}");
}

#[test]
fn statuses_and_signals_come_through() {
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 125", 125),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let output = house::run_target(&["sh", "-c", script]);
        assert_eq!(status(&output), expected, "{script}: {}", err(&output));
        assert_eq!(err(&output), "", "{script}");
    }
}

#[test]
fn the_name_it_is_called_by_is_kept() {
    same("", &["sh", "-c", "echo $0"]);
    let bytes = std::ffi::OsString::from_vec(b"\xff\xfe".to_vec());
    let node = nobody();
    let mut command = house::hooktool(&["run", "--node", &node, "--", "printf", "%s"]);
    let output = command.arg(bytes).output().unwrap();
    assert_eq!(output.stdout, b"\xff\xfe");
}

#[test]
fn nothing_holds_the_output_after_the_target() {
    // `output` returns at the end of both pipes: a hook server that held them would hang it for
    // the whole linger.
    let node = nobody();
    let name = format!("holds-{}", std::process::id());
    let words = [
        "run", "--node", &node, "--name", &name, "--linger", "1h", "--", "echo", "done",
    ];
    let output = house::run(&words);
    assert_eq!(out(&output), "done\n", "{}", err(&output));
    crate::session::end(&name);
}

#[test]
fn the_kill_switch_is_read_first() {
    let mut command = house::hooktool(&["run", "--local", "nonsense", "--", "env"]);
    let output = command.env("HOOKTOOL_DISABLED", "1").output().unwrap();
    assert_eq!(status(&output), 0);
    assert!(!out(&output).contains("LD_PRELOAD="), "{}", out(&output));
    assert!(
        !out(&output).contains("HOOKTOOL_SESSION="),
        "{}",
        out(&output)
    );
}

#[test]
fn a_subreaper_does_not_adopt_the_hook_server() {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test);
    house::clean(&mut command).args(["inherit::becomes_a_subreaper", "--exact", "--nocapture"]);
    let output = command.env(REAPER, nobody()).output().unwrap();
    // The one child is the cat that looks.
    assert!(
        out(&output).ends_with("children: 1\n"),
        "{}{}",
        out(&output),
        err(&output)
    );
}

/// Set for the run of the test below that becomes the target.
const REAPER: &str = "IT_REAPER_NODE";

#[test]
fn becomes_a_subreaper() {
    let Ok(node) = std::env::var(REAPER) else {
        return;
    };
    let this = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(this)).unwrap();
    let script = "set -- $(cat /proc/$$/task/$$/children); echo children: $#";
    let error = house::hooktool(&["run", "--node", &node, "--", "sh", "-c", script]).exec();
    panic!("{error}");
}

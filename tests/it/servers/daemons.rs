//! Programs that go into the background: the process that was started ends, and the one that stays
//! has read nothing yet and has written over its environment, as nginx does to set its title. The
//! session waits for it, `ps` and `check` know it, and it is served in the end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::bed::Bed;
use harness::files::noise;
use harness::http::get;
use harness::mode::Mode;
use harness::node::free_port;
use harness::processes::{must_end, the_hook_server};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::zoo::compile_molter;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long after the start: the hook server looks ten times a second whether anybody is left.
const IDLE: Duration = Duration::from_secs(2);
/// So many reads must be served in the end.
const HITS_MIN: u64 = 100;
const BYTES: usize = 400_000;

/// A process in the background, ended with its test.
struct Background(Pid);

impl Background {
    fn of(text: &str) -> Background {
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        Background(pid.unwrap_or_else(|| panic!("no number of a process: {text}")))
    }

    fn raw(&self) -> i32 {
        self.0.as_raw_pid()
    }

    /// Whether the kernel still shows the environment it was started with.
    fn shows_session(&self) -> bool {
        let environ = fs::read(format!("/proc/{}/environ", self.raw())).expect("its environment");
        String::from_utf8_lossy(&environ).contains("HOOKTOOL_SESSION=")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::TERM);
    }
}

/// The numbers of the processes that `ps -j` lists under `key`.
fn pids(info: &Value, key: &str) -> Vec<i64> {
    let listed = info[key].as_array();
    let listed = listed.into_iter().flatten();
    listed
        .filter_map(|process| process["pid"].as_i64())
        .collect()
}

/// Nobody has joined, and still the session is there, with this process.
#[track_caller]
fn must_wait_for(bed: &Bed, hooked: &Hooked<'_>, process: &Background) {
    assert!(!process.shows_session(), "the test tests nothing");
    std::thread::sleep(IDLE);
    let info = hooked.info().expect("the session lives");
    assert_eq!(pids(&info, "processes"), Vec::<i64>::new(), "{info}");
    assert!(
        pids(&info, "waiting").contains(&i64::from(process.raw())),
        "{info}"
    );
    let rows = run(&mut bed.hooktool(&["ps"])).text();
    let of_it = |row: &&str| row.trim_start().starts_with(&format!("{} ", process.raw()));
    let row = rows.lines().find(of_it).unwrap_or_else(|| panic!("{rows}"));
    assert!(
        row.contains(&hooked.name) && row.contains("no read yet"),
        "{row}"
    );
    let words = format!("of session {}, and has not joined it", hooked.name);
    check_says(bed, process, &words);
}

#[track_caller]
fn check_says(bed: &Bed, process: &Background, words: &str) {
    let said = run(&mut bed.hooktool(&["check", "-j", &process.raw().to_string()])).text();
    assert!(said.contains(words), "{said}");
}

#[test]
fn nginx_in_the_background() {
    let bed = Bed::new("background", Mode::Normal);
    let (addr, dir) = (free_port(), bed.path().display());
    let content = noise(7, BYTES);
    bed.dir_of("docs");
    bed.write("docs/0.bin", &content);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/tmp;"))
        .concat();
    let config = format!(
        "worker_processes 1; user root; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{ access_log off; {temporary} sendfile on;
  open_file_cache max=100; open_file_cache_valid 1s;
  server {{ listen {addr}; root {dir}/docs; }} }}"
    );
    let config = bed.write("conf", config.as_bytes());
    let hooked = bed.hooked();
    let words = [Path::new("nginx"), Path::new("-c"), &config];
    run(&mut hooked.command(bed.path(), &words)).must_pass();
    let pid = || fs::read_to_string(bed.join("pid")).unwrap_or_default();
    wait_until("nginx has said its number", || pid().ends_with('\n'));
    let master = Background::of(&pid());
    must_wait_for(&bed, &hooked, &master);
    hooked.wait_stats("requests are served", |stats| {
        assert!(get(addr, "/0.bin").as_ref() == Some(&content), "its bytes");
        stats.hits() > HITS_MIN
    });
    drop(master);
    hooked.final_stats().must_have_hits();
}

fn molter(letters: &str) {
    let bed = Bed::new(&format!("molter-{letters}"), Mode::Normal);
    let file = bed.write("file", &noise(7, BYTES));
    let [go, stop, number] = ["go", "stop", "number"].map(|name| bed.join(name));
    let program = compile_molter(&bed);
    let hooked = bed.hooked();
    let words = [&program, &file, &go, &stop, &number, Path::new(letters)];
    run(&mut hooked.command(bed.path(), &words)).must_pass();
    let told = fs::read_link(&number).expect("its number");
    let process = Background::of(&told.display().to_string());
    must_wait_for(&bed, &hooked, &process);
    bed.write("go", b"");
    hooked.wait_stats("it is served", |stats| stats.hits() > HITS_MIN);
    let server = the_hook_server(&bed);
    kill_process(server, Signal::KILL).expect("kill the hook server");
    must_end(&[server]);
    let info = hooked.info().expect("listed under its name");
    assert_eq!(info["state"], "gone", "{info}");
    assert_eq!(pids(&info, "processes"), [i64::from(process.raw())]);
    let words = format!("of session {}, whose hook server is gone", hooked.name);
    check_says(&bed, &process, &words);
    let told = run(&mut bed.hooktool(&["stats", hooked.name.as_str()])).story();
    let words = format!("the hook server of session {} is gone", hooked.name);
    assert!(told.contains(&words), "{told}");
    bed.write("stop", b"");
    must_end(&[process.0]);
}

#[test]
fn an_environment_of_zeros() {
    molter("zeros");
}

#[test]
fn an_environment_of_garbage() {
    molter("garbage");
}

//! `hooktool stats`: what was served and what it cost, once or every interval, as vmstat does.
//!
//! The first line is the average since the session's start; the next ones cover their interval.
//! JSON lines are the hook server's own snapshots, unchanged.

use std::time::Duration;

use grid::names::Bypass;

use crate::cli::StatsArgs;
use crate::control::{Prediction, ProofInfo, Request, Response, ServiceState, Snapshot};
use crate::failure::{self, Failure};
use crate::sessions::{self, Found};
use crate::sizes::{show_count, show_short};
use crate::{sys, viewer};

/// Lines between two headers.
const HEADER_EVERY: u64 = 20;

/// Longest interval: an hour. Nearly every greater number was meant to be a process.
const INTERVAL_S_MAX: f64 = 3600.0;

/// Longest interval that is never taken for a process, in seconds.
const INTERVAL_S_PLAIN: u32 = 60;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    name: Option<String>,
    interval: Option<Duration>,
    count: Option<u64>,
}

/// Runs the viewer.
///
/// # Errors
///
/// Wrong arguments, no such session, or it went away before the first line.
pub fn stats(arguments: &StatsArgs) -> Result<u8, Failure> {
    let plan = plan(&arguments.arguments)?;
    sys::interrupt_ends_well();
    if arguments.json && plan.name.is_none() {
        return json(&mut sessions::list().found, &plan, None);
    }
    let name = plan.name.as_deref();
    if arguments.json {
        return json(&mut sessions::select(name, "stats")?, &plan, name);
    }
    let mut found = sessions::select_one(name, "stats")?;
    let pid = process_of(&found, name);
    text(&mut found, &plan, pid)
}

/// The process that is meant where `name` is the number of one; else the whole session is.
fn process_of(found: &Found, name: Option<&str>) -> Option<u32> {
    let pid = name?.parse::<u32>().ok()?;
    let mut processes = found.info.processes.iter();
    processes.any(|process| process.pid == pid).then_some(pid)
}

/// `[NAME|PID] [INTERVAL [COUNT]]`: the first of three words is a name or process; of fewer, it is
/// one unless it is a number that no process of a session has.
fn plan(words: &[String]) -> Result<Plan, Failure> {
    let named = words
        .first()
        .filter(|first| words.len() == 3 || first.parse::<f64>().is_err() || is_process(first));
    let name = named.cloned();
    let rest = &words[usize::from(name.is_some())..];
    let lives = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    if let Some(first) = rest.first()
        && name.is_none()
        && is_ambiguous(first, lives)
    {
        let rule = "a process of that number lives and is in no session; an interval of so many \
                    seconds is written with a dot, such as 600.0";
        return Err(wrong(first, rule));
    }
    let interval = rest.first().map(|word| interval(word)).transpose()?;
    let count = rest.get(1).map(|word| count(word)).transpose()?;
    if rest.len() > 2 {
        return Err(wrong(&rest[2], "there is one interval and one count"));
    }
    Ok(Plan {
        name,
        interval,
        count,
    })
}

/// Whether a number means a process of a session rather than an interval.
fn is_process(word: &str) -> bool {
    let is_number = word.parse::<u32>().is_ok();
    let sessions = if is_number {
        sessions::list()
    } else {
        Default::default()
    };
    let mut found = sessions.found.iter();
    found.any(|found| sessions::belongs(&found.info, word))
}

/// Whether a number may have been meant as a process, though no session has it: a whole number of
/// more than a minute, of a process that `lives`.
fn is_ambiguous(word: &str, lives: impl Fn(u32) -> bool) -> bool {
    word.parse::<u32>()
        .is_ok_and(|number| number > INTERVAL_S_PLAIN && lives(number))
}

fn interval(word: &str) -> Result<Duration, Failure> {
    match word.parse::<f64>() {
        Ok(seconds) if (0.01..=INTERVAL_S_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        Ok(number) if number > INTERVAL_S_MAX => {
            let rule = "no process of that number is hooked, and an interval is at most 3600 s";
            Err(wrong(word, rule))
        }
        _ => Err(wrong(
            word,
            "an interval is a number of seconds, at least 0.01",
        )),
    }
}

fn count(word: &str) -> Result<u64, Failure> {
    match word.parse::<u64>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(wrong(
            word,
            "a count is a whole number of lines, at least 1",
        )),
    }
}

fn wrong(word: &str, rule: &str) -> Failure {
    Failure::usage(
        format!("stats: '{word}' cannot be used here"),
        rule,
        "write:  hooktool stats [NAME|PID] [INTERVAL [COUNT]], such as hooktool stats pg 1 10",
    )
}

fn ask(found: &mut Found, pid: Option<u32>) -> Result<Snapshot, Failure> {
    match found.link.ask(&Request::Snapshot { pid })? {
        Response::Snapshot(snapshot) => Ok(*snapshot),
        other => Err(viewer::refused(other)),
    }
}

/// Waits for the next line; `false`: there is none.
fn next(plan: &Plan, lines: u64) -> bool {
    let Some(interval) = plan.interval else {
        return false;
    };
    if plan.count.is_some_and(|count| lines >= count) {
        return false;
    }
    std::thread::sleep(interval);
    true
}

fn json(found: &mut [Found], plan: &Plan, name: Option<&str>) -> Result<u8, Failure> {
    if found.is_empty() {
        return sessions::select(None, "stats").map(|_| 0);
    }
    let mut lines = 0;
    loop {
        let mut alive = 0;
        for session in found.iter_mut() {
            let pid = process_of(session, name);
            match ask(session, pid) {
                Ok(snapshot) => viewer::json_line(&snapshot)?,
                Err(failure) if lines == 0 && found_one_only(plan) => return Err(failure),
                Err(_) => continue,
            }
            alive += 1;
        }
        lines += 1;
        if alive == 0 {
            failure::note("the session has ended");
            return Ok(0);
        }
        if !next(plan, lines) {
            return Ok(0);
        }
    }
}

/// Whether the user asked for one session, so that its absence is an error.
fn found_one_only(plan: &Plan) -> bool {
    plan.name.is_some()
}

fn text(found: &mut Found, plan: &Plan, pid: Option<u32>) -> Result<u8, Failure> {
    let mut before: Option<Snapshot> = None;
    let mut lines = 0;
    loop {
        let now = match ask(found, pid) {
            Ok(now) => now,
            Err(failure) if before.is_none() => return Err(failure),
            Err(_) => {
                failure::note(&format!("session {} has ended", found.info.name));
                return Ok(0);
            }
        };
        if lines % HEADER_EVERY == 0 {
            heading(found, &now)?;
        }
        viewer::line(&row(before.as_ref(), &now, sys::local_time()))?;
        before = Some(now);
        lines += 1;
        if !next(plan, lines) {
            return Ok(0);
        }
    }
}

/// Column heads; before them, who it is when it does not serve.
fn heading(found: &Found, now: &Snapshot) -> Result<(), Failure> {
    let state = viewer::state_words(now.state, now.reason.as_deref());
    let name = &found.info.name;
    match (now.state, &now.reason) {
        (ServiceState::Serving, None) => {}
        (ServiceState::Serving, Some(remark)) => {
            failure::note(&format!("session {name}: {remark}"))
        }
        (ServiceState::Observing, _) => {}
        _ => failure::note(&format!("session {name} does not serve now: {state}")),
    }
    if let Some(prediction) = &now.prediction {
        failure::note(&format!(
            "session {name} {}",
            predicted(prediction, now.reads, now.proofs.changed)
        ));
    }
    if let Some(words) = unproved(now) {
        failure::note(&format!("session {name}: {words}"));
    }
    if now.processes_unserved > 0 {
        failure::note(&format!(
            "session {name}: {} of its processes are not served: all places are taken",
            now.processes_unserved
        ));
    }
    viewer::line(&columns(&[
        "TIME", "READS/s", "HIT%", "LOCAL", "REMOTE", "DISK", "BYPASS", "p50us", "p99us", "FALLBK",
        "NODE",
    ]))
}

/// A prediction in words; `changed` looks found a file changed that the session writes, and owning
/// it may help.
fn predicted(prediction: &Prediction, reads: u64, changed: u64) -> String {
    let saved = match prediction.saved_s {
        Some(saved_s) => format!("{saved_s:.1} s less, at most"),
        None => "no time can be told yet".into(),
    };
    let more = match prediction.reads_unproved {
        0 => String::new(),
        more if changed == 0 => format!(
            "; {more} more ({} %) came off the disk, of files that are not proved yet",
            viewer::percent(more, reads)
        ),
        more => format!(
            "; {more} more ({} %) came off the disk, of files that change or are not proved yet, \
             and could have if the session owned them, where nobody else ever writes:  \
             --own 'GLOB'",
            viewer::percent(more, reads)
        ),
    };
    format!(
        "observes and serves nothing: of {reads} reads {} ({} %) came off the disk and could have \
         come from a node: {saved}{more}",
        prediction.reads,
        viewer::percent(prediction.reads, reads)
    )
}

/// Where many reads are left to the disk because nobody knows yet whether their files are still
/// what was cached of them: what that means, and, where files do change, what can be done about it.
fn unproved(now: &Snapshot) -> Option<String> {
    let unproved = *now.bypass.get(Bypass::Unproved.word())?;
    if unproved == 0 || unproved < now.reads / 20 {
        return None;
    }
    let ProofInfo {
        under_way,
        changed,
        changed_by_others,
        ..
    } = now.proofs;
    let some = format!(
        "{unproved} of {} reads went to the disk unproved",
        now.reads
    );
    let others = match changed_by_others {
        0 => String::new(),
        looks => format!(
            "; files that the session never wrote had changed at {looks} looks: others change them \
             (never --own those), and each is served again once it stands still"
        ),
    };
    Some(match changed {
        0 if changed_by_others == 0 => format!(
            "{some}: a file is served once it has stood still for a second (ten without the right \
             to lease) and been read again; {under_way} are looked at now; nothing to be done"
        ),
        0 => format!("{some}{others}"),
        changed => format!(
            "{some}: files that the session writes had changed at {changed} looks; where nobody \
             else ever writes, they need no proof:  --own 'GLOB'   (which: hooktool stats -j, \
             \"state\": \"unproved\"){others}"
        ),
    })
}

fn columns(fields: &[&str; 11]) -> String {
    let [
        time,
        reads,
        hit,
        local,
        remote,
        disk,
        bypass,
        p50,
        p99,
        fallback,
        node,
    ] = fields;
    format!(
        "{time:>8} {reads:>7} {hit:>5} {local:>6} {remote:>6} {disk:>6} {bypass:>6} {p50:>5} \
         {p99:>5} {fallback:>6} {node:>8}"
    )
}

fn row(before: Option<&Snapshot>, now: &Snapshot, time: (u8, u8, u8)) -> String {
    let since = |count: fn(&Snapshot) -> u64| count(now).saturating_sub(before.map_or(0, count));
    let seconds = (now.uptime_s - before.map_or(0.0, |before| before.uptime_s)).max(0.001);
    let rate = |count: fn(&Snapshot) -> u64| show_count(since(count) as f64 / seconds);
    let hits = since(|all| all.hits_local) + since(|all| all.hits_remote);
    let remote = since(|all| all.hits_remote);
    let latency = |us: Option<f64>| {
        let known = us.filter(|_| remote != 0);
        known.map_or_else(|| "-".into(), show_latency)
    };
    let (hours, minutes, s) = time;
    let fields = [
        format!("{hours:02}:{minutes:02}:{s:02}"),
        rate(|all| all.reads),
        viewer::percent(hits, since(|all| all.reads)),
        rate(|all| all.hits_local),
        rate(|all| all.hits_remote),
        rate(|all| all.reads_disk),
        rate(|all| all.bypass.values().sum()),
        latency(now.remote_latency_us.p50),
        latency(now.remote_latency_us.p99),
        rate(|all| all.fallback.values().sum()),
        show_short(now.remote_bytes),
    ];
    columns(&fields.each_ref().map(String::as_str))
}

/// Microseconds in at most five characters.
fn show_latency(us: f64) -> String {
    if us < 999.95 {
        format!("{us:.1}")
    } else {
        format!("{:.0}", us.min(99_999.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn planned(text: &str) -> (Option<String>, Option<f64>, Option<u64>) {
        let plan = plan(&words(text)).unwrap();
        (
            plan.name,
            plan.interval.map(|time| time.as_secs_f64()),
            plan.count,
        )
    }

    #[test]
    fn a_long_interval_that_may_be_a_process_is_asked_for_again() {
        assert!(is_ambiguous("61", |_| true) && is_ambiguous("3600", |pid| pid == 3600));
        for word in ["60", "1", "600.0", "0.5", "pg"] {
            assert!(!is_ambiguous(word, |_| true), "{word}");
        }
        assert!(!is_ambiguous("600", |_| false));
    }

    #[test]
    fn names_intervals_and_counts_are_told_apart() {
        assert_eq!(planned(""), (None, None, None));
        assert_eq!(planned("pg"), (Some("pg".into()), None, None));
        assert_eq!(planned("pg 1"), (Some("pg".into()), Some(1.0), None));
        assert_eq!(
            planned("pg 0.5 10"),
            (Some("pg".into()), Some(0.5), Some(10))
        );
        assert_eq!(
            planned("4242 1 10"),
            (Some("4242".into()), Some(1.0), Some(10))
        );
        assert_eq!(planned("1 10"), (None, Some(1.0), Some(10)));
        for text in [
            "pg x", "pg 0", "pg -1", "pg 1 0", "pg 1 x", "pg nan", "pg 1e9",
        ] {
            assert_eq!(
                plan(&words(text)).unwrap_err().kind.exit_status(),
                2,
                "{text}"
            );
        }
    }

    #[test]
    fn a_prediction_says_how_many_reads_and_how_much_time() {
        let mut prediction = Prediction {
            reads: 300,
            reads_unproved: 0,
            hit_ratio: 0.25,
            disk_us: Some(1050.0),
            remote_us: Some(50.0),
            saved_s: Some(0.3),
        };
        let text = predicted(&prediction, 1200, 1);
        assert!(text.contains("of 1200 reads 300 (25.0 %)"), "{text}");
        assert!(text.ends_with("0.3 s less, at most"), "{text}");
        prediction.saved_s = None;
        assert!(predicted(&prediction, 1200, 1).ends_with("no time can be told yet"));
        prediction.reads_unproved = 600;
        let text = predicted(&prediction, 1200, 1);
        assert!(text.contains("; 600 more (50.0 %)"), "{text}");
        assert!(text.ends_with("--own 'GLOB'"), "{text}");
        let text = predicted(&prediction, 1200, 0);
        assert!(text.ends_with("not proved yet"), "{text}");
    }

    fn snapshot(text: &str) -> Snapshot {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn owning_is_proposed_for_files_that_change_and_no_others() {
        let mut now = snapshot(EXAMPLE);
        assert_eq!(unproved(&now), None);
        now.bypass.insert("unproved".into(), 900_000);
        now.proofs.under_way = 7;
        let words = unproved(&now).unwrap();
        assert!(
            words.contains("7 are looked at now") && !words.contains("--own"),
            "{words}"
        );
        now.proofs.changed_by_others = 5;
        let words = unproved(&now).unwrap();
        assert!(
            words.contains("at 5 looks") && !words.contains("--own '"),
            "owning what others write would serve what is out of date: {words}"
        );
        now.proofs.changed = 3;
        let words = unproved(&now).unwrap();
        assert!(
            words.contains("at 3 looks") && words.contains("--own '"),
            "{words}"
        );
    }

    /// A snapshot with every pinned key, as a hook server sends it.
    const EXAMPLE: &str = r#"{"schema":1,"session":"000102030405060708090a0b0c0d0e0f",
        "name":"pg","pid":4242,"state":"serving","reason":null,"uptime_s":100.0,"processes":3,
        "reads":1000000,"read_bytes":8192000000,"hits_local":600000,"hits_remote":300000,
        "reads_disk":100000,"hit_ratio":0.9,"writes":5,"invalidations":5,"pushed_blocks":9,
        "push_dropped":0,"bypass":{"not_regular":100},"fallback":{"deadline":1},
        "remote_latency_us":{"p50":5.1,"p99":11.8},"disk_latency_us":{"p50":null,"p99":null},
        "local_bytes":1048576,"remote_bytes":62277025792,
        "nodes":[{"addr":"10.0.3.7:7420","state":"up","blocks":1,"bytes":8192,"rtt_us":41.0}],
        "files":[{"path":"/srv/pg/base/1/2","size":8192,"state":"serve","blocks_local":1,
        "blocks_remote":1,"hits":9,"reads":10}]}"#;

    #[test]
    fn the_first_line_is_the_average_and_the_next_its_interval() {
        let first = snapshot(EXAMPLE);
        let line = row(None, &first, (14, 2, 11));
        assert!(line.starts_with("14:02:11   10.0k  90.0"), "{line}");
        let mut second = first.clone();
        second.uptime_s += 2.0;
        second.reads += 200;
        second.hits_local += 50;
        second.reads_disk += 150;
        let line = row(Some(&first), &second, (14, 2, 13));
        assert!(
            line.starts_with("14:02:13     100  25.0     25      0     75"),
            "{line}"
        );
        assert!(line.len() <= 80, "{}", line.len());
    }

    #[test]
    fn a_snapshot_keeps_its_pinned_keys() {
        let value = serde_json::to_value(snapshot(EXAMPLE)).unwrap();
        let keys = "schema name pid processes reads read_bytes hits_local hits_remote reads_disk \
            hit_ratio writes invalidations pushed_blocks push_dropped bypass fallback \
            remote_latency_us disk_latency_us local_bytes remote_bytes nodes files";
        for key in keys.split_whitespace() {
            assert!(value.get(key).is_some(), "{key}");
        }
        for key in ["addr", "state", "blocks", "bytes", "rtt_us"] {
            assert!(value["nodes"][0].get(key).is_some(), "{key}");
        }
        for key in [
            "path",
            "size",
            "state",
            "blocks_local",
            "blocks_remote",
            "hits",
            "reads",
        ] {
            assert!(value["files"][0].get(key).is_some(), "{key}");
        }
        assert_eq!(value["remote_latency_us"]["p50"], 5.1);
        assert_eq!(value["schema"], 1);
    }

    #[test]
    fn extreme_figures_stay_in_their_columns() {
        let mut now = snapshot(EXAMPLE);
        now.uptime_s = 0.0;
        now.reads = u64::MAX;
        now.remote_bytes = u64::MAX;
        now.remote_latency_us.p99 = Some(5e9);
        assert!(row(None, &now, (0, 0, 0)).len() <= 80);
    }
}

//! Credential domains: who changes its rights leaves its region and joins another one, with nothing
//! of the old one in reach; domains neither see nor change what others read.
//!
//! Root's to show: the puppets start as root and give their rights up.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::puppet::{Puppets, puppet_words};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::stage::root_or_say;
use harness::stats::Stats;
use serde_json::json;

both_modes!(
    a_worker_sees_nothing_and_changes_nothing,
    another_root,
    back_and_forth,
    owned_by_nobody,
    owned_and_borrowed
);

const BLOCKS: usize = 64;
const BYTES: usize = BLOCKS * 4096;
const NOBODY: u32 = 65534;

/// A row of two puppets in a session with small regions.
fn row<'a>(bed: &'a Bed) -> (Hooked<'a>, Puppets, [u64; 2]) {
    start(bed, bed.hooked())
}

fn start<'a>(bed: &Bed, hooked: Hooked<'a>) -> (Hooked<'a>, Puppets, [u64; 2]) {
    let hooked = hooked.flag("--index", "1MiB").flag("--local", "2MiB");
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(bed, 2)));
    let pids = [0, 1].map(|who| {
        puppets
            .done(who, "pid", &json!([]))
            .as_u64()
            .expect("a pid")
    });
    (hooked, puppets, pids)
}

/// The mappings of a process that show a region: where, how long, and of which memory file.
fn regions(pid: u64) -> Vec<(u64, u64, String)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
    let of_region = maps.lines().filter(|line| line.contains("memfd:ramgrid"));
    of_region
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (from, to) = words[0].split_once('-').expect("a range");
            let number = |text| u64::from_str_radix(text, 16).expect("an address");
            (number(from), number(to) - number(from), words[4].into())
        })
        .collect()
}

/// How many words of `secret` stand in the regions of a process.
fn words_seen(pid: u64, secret: &[u8]) -> usize {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight"));
    let wanted: HashSet<u64> = secret.chunks_exact(8).map(word).collect();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut seen = 0;
    for (at, len, _) in regions(pid) {
        let mut bytes = vec![0; usize::try_from(len).expect("fits")];
        memory.read_exact_at(&mut bytes, at).expect("read a region");
        let all = bytes.chunks_exact(8).map(word);
        seen += all.filter(|word| wanted.contains(word)).count();
    }
    seen
}

fn stats_of(bed: &Bed, pid: u64) -> Option<Stats> {
    // Three words: a small number alone that is no process of a session yet is an interval.
    let words = ["stats", "-j", &pid.to_string(), "1", "1"];
    let asked = run(&mut bed.hooktool(&words));
    let text = asked.text();
    asked
        .status
        .success()
        .then(|| Stats::parse(&text))
        .flatten()
}

/// Puppet `who` reads its file `f` until so much more of it is served, every byte compared.
fn until_served(bed: &Bed, puppets: &mut Puppets, who: usize, pid: u64, content: &[u8]) {
    let hits = || stats_of(bed, pid).map_or(0, |stats| stats.hits());
    let before = hits();
    wait_until("reads are served", || {
        let got = puppets.read(who, "sweep", &json!(["f", 0, BYTES, 4096]));
        assert!(got == content, "puppet {who} read something else");
        hits() > before + 2 * BLOCKS as u64
    });
}

/// No byte of a file that only root may read stands in the region of a process without rights, not
/// even of one that was root and had read it; and whatever such a process writes all over its
/// region, root reads on, from memory, what is right.
fn a_worker_sees_nothing_and_changes_nothing(mode: Mode) {
    if !root_or_say("a change of users") {
        return;
    }
    let bed = Bed::new("domains", mode);
    harness::session::open_to_all(bed.path());
    let (secret, public) = (noise(1, BYTES), noise(2, BYTES));
    let path = bed.write("secret", &secret);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
    bed.write("public", &public);
    let (hooked, mut puppets, pids) = row(&bed);
    for who in [0, 1] {
        puppets.done(who, "open", &json!(["f", "secret", "r"]));
        until_served(&bed, &mut puppets, who, pids[who], &secret);
    }
    let roots = regions(pids[0]);
    assert!(roots.len() == 1 && regions(pids[1])[0].2 == roots[0].2);
    assert!(words_seen(pids[1], &secret) > 1000, "the scan sees nothing");

    puppets.done(1, "close", &json!(["f"]));
    puppets.done(1, "settle", &json!([NOBODY]));
    assert_eq!(regions(pids[1]), [], "it has left");
    let refused = puppets.ask(1, "open", &json!(["f", "secret", "r"]));
    assert_eq!(refused, json!({ "errno": 13 }));
    puppets.done(1, "open", &json!(["f", "public", "r"]));
    until_served(&bed, &mut puppets, 1, pids[1], &public);
    let own = regions(pids[1]);
    assert!(own.len() == 1 && own[0].2 != roots[0].2, "{own:?}");
    assert_eq!(words_seen(pids[1], &secret), 0, "of a file it may not read");
    let stats = hooked.stats().expect("live");
    assert_eq!(stats.all["bypass"]["left"], 1, "{}", stats.all);
    assert!(words_seen(pids[1], &public) > 1000, "the scan sees nothing");

    puppets.done(1, "scribble", &json!([]));
    for _ in 0..20 {
        until_served(&bed, &mut puppets, 0, pids[0], &secret);
    }
    puppets.done(1, "still", &json!([]));
    assert_eq!(regions(pids[0]), roots);
    puppets.end();
}

/// In another root directory a process is in another domain: the same user, other files.
fn another_root(mode: Mode) {
    if !root_or_say("chroot") {
        return;
    }
    let bed = Bed::new("rooted", mode);
    let content = noise(3, BYTES);
    bed.write("file", &content);
    let (hooked, mut puppets, pids) = row(&bed);
    for who in [0, 1] {
        puppets.done(who, "open", &json!(["f", "file", "r"]));
        until_served(&bed, &mut puppets, who, pids[who], &content);
    }
    puppets.done(1, "chroot", &json!([bed.path()]));
    assert_eq!(regions(pids[1]), [], "it has left");
    until_served(&bed, &mut puppets, 1, pids[1], &content);
    puppets.done(1, "open", &json!(["g", "/file", "w"]));
    let mut content = content;
    for round in 0..8_u8 {
        let at = usize::from(round) * 8192 + 100;
        content[at..at + 300].fill(round + 1);
        let bytes = harness::puppet::to_hex(&content[at..at + 300]);
        puppets.done(1, "pwrite", &json!(["g", at, bytes]));
        for who in [0, 1] {
            let got = puppets.read(who, "sweep", &json!(["f", 0, BYTES, 4096]));
            assert!(got == content, "puppet {who}, round {round}");
        }
    }
    puppets.end();
    hooked.final_stats().must_have_hits();
}

/// A process that borrows another user's rights, as file servers do, for a while is in two domains
/// in turn; one that goes on doing so ends with the kernel. Every byte is right.
fn back_and_forth(mode: Mode) {
    if !root_or_say("a change of users") {
        return;
    }
    let bed = Bed::new("borrowed", mode);
    harness::session::open_to_all(bed.path());
    let content = noise(4, BYTES);
    bed.write("file", &content);
    let (hooked, mut puppets, pids) = row(&bed);
    puppets.done(1, "open", &json!(["f", "file", "r"]));
    let mut places = HashSet::new();
    for user in [0, NOBODY, 0] {
        puppets.done(1, "borrow", &json!([user]));
        until_served(&bed, &mut puppets, 1, pids[1], &content);
        places.insert(regions(pids[1])[0].2.clone());
    }
    assert_eq!(places.len(), 2, "a domain has one region");
    for round in 0..40 {
        puppets.done(1, "borrow", &json!([NOBODY * (round % 2)]));
        let got = puppets.read(1, "sweep", &json!(["f", 0, BYTES, 4096]));
        assert!(got == content, "round {round}");
    }
    assert_eq!(regions(pids[1]), [], "it has changed too often");
    puppets.end();
    hooked.final_stats().must_have_hits();
}

/// Two users of one session write a file that is named by `--own`: from the moment the second one
/// comes nobody owns it, and each sees at once what the other has written.
fn owned_by_nobody(mode: Mode) {
    if !root_or_say("a change of users") {
        return;
    }
    let bed = Bed::new("disowned", mode);
    harness::session::open_to_all(bed.path());
    let mut content = noise(5, BYTES);
    let path = bed.write("file", &content);
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("chmod");
    let (hooked, mut puppets, pids) = start(&bed, bed.hooked().flag("--own", bed.join("**")));
    puppets.done(0, "open", &json!(["f", "file", "w"]));
    puppets.done(
        0,
        "pwrite",
        &json!(["f", 0, harness::puppet::to_hex(&content[..10])]),
    );
    until_served(&bed, &mut puppets, 0, pids[0], &content);
    puppets.done(1, "settle", &json!([NOBODY]));
    puppets.done(1, "open", &json!(["f", "file", "w"]));
    for round in 0..64_usize {
        let (writer, at) = (usize::from(round % 4 != 0), round * 4096 + round);
        content[at..at + 50].fill(round as u8 + 1);
        let bytes = harness::puppet::to_hex(&content[at..at + 50]);
        puppets.done(writer, "pwrite", &json!(["f", at, bytes]));
        for who in [0, 1] {
            let got = puppets.read(who, "sweep", &json!(["f", 0, BYTES, 4096]));
            assert!(got == content, "puppet {who}, round {round}");
        }
    }
    puppets.end();
    hooked.final_stats().must_have_hits();
}

/// A process alone in its session writes an owned file under borrowed rights, in another region
/// than the one where it had read it, and comes back: it sees what it has written.
fn owned_and_borrowed(mode: Mode) {
    if !root_or_say("a change of users") {
        return;
    }
    let bed = Bed::new("own-borrowed", mode);
    harness::session::open_to_all(bed.path());
    let mut content = noise(6, BYTES);
    bed.write("file", &content);
    let hooked = bed.hooked().flag("--own", bed.join("file"));
    let hooked = hooked.flag("--index", "1MiB").flag("--local", "2MiB");
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    let pid = puppets.done(0, "pid", &json!([])).as_u64().expect("a pid");
    puppets.done(0, "open", &json!(["f", "file", "w"]));
    for round in 0..4_usize {
        until_served(&bed, &mut puppets, 0, pid, &content);
        for user in [NOBODY, 0] {
            let at = round * 8192 + 11 + user as usize % 7;
            puppets.done(0, "borrow", &json!([user]));
            if user == 0 {
                let got = puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
                assert!(got == content, "back in round {round}");
            }
            content[at..at + 80].fill(round as u8 + 3);
            let bytes = harness::puppet::to_hex(&content[at..at + 80]);
            puppets.done(0, "pwrite", &json!(["f", at, bytes]));
            let got = puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
            assert!(got == content, "user {user}, round {round}");
        }
    }
    puppets.end();
    hooked.final_stats().must_have_hits();
}

//! What `stats -j` says agrees with what the node and the device say.

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::node::Node;
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::stats::PINNED_KEYS;
use serde_json::json;

both_modes!(
    remote_hits_agree_with_the_node,
    one_round_trip_for_several_large_reads,
    off_and_on,
    flush,
    observe,
    check_of_a_running_process
);

const BLOCKS: usize = 512;
const BYTES: usize = BLOCKS * 4096;

/// Reads the whole file block by block and compares it.
fn sweep(puppets: &mut Puppets, content: &[u8]) {
    let got = puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
    assert!(got == content, "wrong bytes");
}

/// Sweeps until one whole pass is served from the node.
fn sweep_until_remote(puppets: &mut Puppets, hooked: &Hooked<'_>, content: &[u8]) {
    let mut before = 0;
    wait_until("a whole pass is served from the node", || {
        sweep(puppets, content);
        let now = hooked.stats().map_or(0, |stats| stats.count("hits_remote"));
        let served = now.saturating_sub(before);
        before = now;
        served >= BLOCKS as u64
    });
}

/// `hits_remote` is what the node counted as hits, and the device was not asked for these bytes.
/// (Under the oracle every served read also goes to the kernel, so there the device is asked.)
fn remote_hits_agree_with_the_node(mode: Mode) {
    let bed = Bed::new("agree", mode);
    let content = noise(3, BYTES);
    bed.write("file", &content);
    let node = Node::start(&bed, "64MiB");
    let hooked = bed
        .hooked()
        .flag("--node", node.addr.to_string())
        .flag("--local", "0");
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    sweep_until_remote(&mut puppets, &hooked, &content);

    puppets.done(0, "drop", &json!(["f"]));
    let (stats, counted) = (hooked.stats().expect("live"), node.info("keyspace_hits"));
    let device = puppets
        .done(0, "device_bytes", &json!([]))
        .as_u64()
        .expect("a number");
    for _ in 0..4 {
        sweep(&mut puppets, &content);
    }
    let after = hooked.wait_stats("all reads are counted", |now| {
        now.count("reads") >= stats.count("reads") + 4 * BLOCKS as u64
    });
    let served = after.count("hits_remote") - stats.count("hits_remote");
    let by_node = node.info("keyspace_hits") - counted;
    let fell_back = after.sum("fallback") - stats.sum("fallback");
    assert!(
        served >= 3 * BLOCKS as u64,
        "only {served} remote hits: {}",
        after.all
    );
    assert!(
        served <= by_node && by_node <= served + fell_back,
        "{served} remote hits, {by_node} counted by the node, {fell_back} fallbacks"
    );
    let asked = puppets
        .done(0, "device_bytes", &json!([]))
        .as_u64()
        .expect("a number")
        - device;
    if mode == Mode::Normal {
        assert!(
            asked <= (4 * BYTES as u64) / 8,
            "the device was asked for {asked} bytes"
        );
    }
    for key in PINNED_KEYS {
        assert!(
            after.all.get(key).is_some(),
            "stats -j has no `{key}`: {}",
            after.all
        );
    }
    let sum = after.hits() + after.count("reads_disk");
    assert_eq!(
        after.count("reads"),
        sum,
        "reads = hits_local + hits_remote + reads_disk"
    );
    puppets.end();
    hooked.final_stats().must_have_hits();
}

/// A file that is read in sequence by large reads, and does not fit into the local cache: the first
/// read of 128 KiB takes the other three along, which are then served locally. What is
/// written meanwhile is seen.
fn one_round_trip_for_several_large_reads(mode: Mode) {
    const SIZE: usize = 6 << 20;
    const READ: usize = 32 << 10;
    let bed = Bed::new("ahead", mode);
    let mut content = noise(5, SIZE);
    bed.write("file", &content);
    let hooked = bed.hooked().flag("--local", "1MiB");
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "w"]));
    let mut before = (0, 0);
    wait_until("most of a pass is served by reads ahead", || {
        let changed = 3 * READ + 7;
        content[changed] ^= 0x55;
        let byte = to_hex(&content[changed..=changed]);
        puppets.done(0, "pwrite", &json!(["f", changed, byte]));
        let got = puppets.read(0, "sweep", &json!(["f", 0, SIZE, READ]));
        assert!(got == content, "wrong bytes");
        let Some(stats) = hooked.stats() else {
            return false;
        };
        let now = (stats.count("hits_local"), stats.count("hits_remote"));
        let (local, remote) = (now.0 - before.0, now.1 - before.1);
        before = now;
        let reads = (SIZE / READ) as u64;
        remote > 0 && local + remote > reads * 3 / 4 && local > 2 * remote
    });
    puppets.end();
}

/// `hooktool off` stops service, `hooktool on` brings it back; the bytes are right throughout.
fn off_and_on(mode: Mode) {
    let bed = Bed::new("switch", mode);
    let content = noise(4, BYTES);
    bed.write("file", &content);
    let hooked = bed.hooked();
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    hooked_hits_grow(&mut puppets, &hooked, &content);
    run(&mut bed.hooktool(&["off", hooked.name.as_str()])).must_pass();
    let before = hooked.stats().expect("live").hits();
    for _ in 0..3 {
        sweep(&mut puppets, &content);
    }
    let after = hooked.stats().expect("live").hits();
    assert_eq!(
        before, after,
        "reads were served although the session is off"
    );
    run(&mut bed.hooktool(&["on", hooked.name.as_str()])).must_pass();
    hooked_hits_grow(&mut puppets, &hooked, &content);
    puppets.end();
}

/// `hooktool check PID` tells which files the process has open and what is served of them; the size
/// of a file that is owned is known without a stamp.
fn check_of_a_running_process(mode: Mode) {
    let bed = Bed::new("check", mode);
    let content = noise(9, BYTES);
    bed.write("file", &content);
    bed.write("other", b"nobody reads this");
    let path = std::fs::canonicalize(bed.join("file")).expect("it is there");
    let hooked = bed.hooked().flag("--own", &path);
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    puppets.done(0, "open", &json!(["g", "other", "r"]));
    hooked_hits_grow(&mut puppets, &hooked, &content);
    let stats = hooked.stats().expect("live");
    assert_eq!(stats.all["files"][0]["size"], BYTES, "{}", stats.all);
    let info = hooked.info().expect("live");
    let reader = info["processes"]
        .as_array()
        .and_then(|all| all.iter().max_by_key(|process| process["reads"].as_u64()));
    let pid = reader.expect("a reader")["pid"].to_string();
    let asked = run(&mut bed.hooktool(&["check", "-j", pid.as_str()]));
    let told: serde_json::Value = serde_json::from_str(&asked.text()).expect("JSON");
    let reason = told["reason"].as_str().expect("text");
    let session = format!("in session {} ", hooked.name);
    assert!(reason.starts_with(&session), "{told}");
    let state_of = |path: &std::path::Path| {
        let files = told["files"].as_array().expect("files");
        let found = files
            .iter()
            .find(|file| file["path"] == *path.to_string_lossy());
        found.unwrap_or_else(|| panic!("not told: {told}"))["state"].clone()
    };
    assert_eq!(state_of(&path), "serve", "{told}");
    assert_eq!(state_of(&path.with_file_name("other")), "unread", "{told}");
    assert!(told["bypass"]["not_held"].as_u64() > Some(0), "{told}");
    puppets.end();
}

/// `hooktool flush` forgets every block; what is read afterwards is right and fills again.
fn flush(mode: Mode) {
    let bed = Bed::new("flush", mode);
    let mut content = noise(5, BYTES);
    bed.write("file", &content);
    let hooked = bed.hooked();
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "w"]));
    for round in 0..3 {
        hooked_hits_grow(&mut puppets, &hooked, &content);
        run(&mut bed.hooktool(&["flush", hooked.name.as_str()])).must_pass();
        let piece = noise(100 + round, 8192);
        puppets.done(0, "pwrite", &json!(["f", 4096, to_hex(&piece)]));
        content[4096..4096 + 8192].copy_from_slice(&piece);
        sweep(&mut puppets, &content);
    }
    puppets.end();
}

fn hooked_hits_grow(puppets: &mut Puppets, hooked: &Hooked<'_>, content: &[u8]) {
    let before = hooked.stats().map_or(0, |stats| stats.hits());
    wait_until("reads are served", || {
        sweep(puppets, content);
        hooked
            .stats()
            .is_some_and(|stats| stats.hits() > before + BLOCKS as u64)
    });
}

/// Mode observe serves nothing, and predicts: reads that came off the device are counted, those
/// from the page cache are not.
fn observe(mode: Mode) {
    let bed = Bed::new("observe", mode);
    let content = noise(5, BYTES);
    bed.write("file", &content);
    let node = Node::start(&bed, "64MiB");
    let hooked = bed
        .hooked()
        .flag("--node", node.addr.to_string())
        .flag("--mode", "observe");
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    let writer = std::fs::File::options().write(true).open(bed.join("file"));
    let writer = writer.expect("open");
    writer.sync_all().expect("what is dirty cannot be dropped");
    // Nobody vouches for a file that somebody may be writing.
    wait_until("reads of an unproved file are predicted apart", || {
        puppets.done(0, "drop", &json!(["f"]));
        sweep(&mut puppets, &content);
        hooked.stats().is_some_and(|stats| {
            let unproved = stats.all["prediction"]["reads_unproved"].as_u64();
            unproved >= Some(8)
        })
    });
    drop(writer);
    let predicted = |stats: &harness::stats::Stats| {
        let reads = stats.all["prediction"]["reads"].as_u64();
        reads.expect("stats -j predicts")
    };
    let mut stats = None;
    wait_until("reads off the device are predicted", || {
        puppets.done(0, "drop", &json!(["f"]));
        sweep(&mut puppets, &content);
        stats = hooked.stats();
        stats.as_ref().is_some_and(|stats| predicted(stats) >= 8)
    });
    sweep(&mut puppets, &content);
    let before = predicted(&hooked.stats().expect("live"));
    sweep(&mut puppets, &content);
    let stats = hooked.stats().expect("live");
    assert_eq!(stats.hits(), 0, "{}", stats.all);
    assert_eq!(node.info("keyspace_hits"), 0, "nothing is asked of a node");
    assert!(stats.all["prediction"]["saved_s"].is_number());
    let more = predicted(&stats) - before;
    let most = BLOCKS as u64 / 8;
    assert!(more < most, "{more} of {BLOCKS} cached reads are predicted");
}

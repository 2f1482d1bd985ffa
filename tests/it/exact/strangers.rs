//! Strangers on the node: whoever can write there must not be able to feed a byte to the target.
//!
//! The node is reached through a listening ear, so that the stranger knows every key. All service
//! is remote (`--local 0`). However blocks are protected there: a checksum finds what happens by
//! accident, which is all that is tried here against it; forging one needs no key.

use harness::bed::Bed;
use harness::both_modes;
use harness::files::{Dice, noise};
use harness::mode::Mode;
use harness::node::Node;
use harness::proxy::Ear;
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::resp::Client;
use harness::run::wait_until;
use harness::session::Hooked;
use serde_json::json;

both_modes!(garbage, swapped, replayed);
both_modes!(garbage_sealed, swapped_sealed, replayed_sealed, foreign);

/// How the blocks of a session are protected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    Tag,
    Checksum,
    Sealed,
}

fn garbage(mode: Mode) {
    garbage_of(mode, Protection::Tag);
}

fn garbage_sealed(mode: Mode) {
    garbage_of(mode, Protection::Sealed);
}

#[test]
fn garbage_with_checksums() {
    garbage_of(Mode::Normal, Protection::Checksum);
}

fn swapped(mode: Mode) {
    swapped_of(mode, Protection::Tag);
}

fn swapped_sealed(mode: Mode) {
    swapped_of(mode, Protection::Sealed);
}

#[test]
fn swapped_with_checksums() {
    swapped_of(Mode::Normal, Protection::Checksum);
}

fn replayed(mode: Mode) {
    replayed_of(mode, Protection::Tag);
}

fn replayed_sealed(mode: Mode) {
    replayed_of(mode, Protection::Sealed);
}

const BLOCKS: usize = 128;
const BYTES: usize = BLOCKS * 4096;

/// A session that is being served by a node whose keys are known.
struct Scene<'a> {
    hooked: Hooked<'a>,
    ear: Ear,
    stranger: Client,
    puppets: Puppets,
    content: Vec<u8>,
}

impl<'a> Scene<'a> {
    fn new(bed: &'a Bed, node: &Node, protection: Protection) -> Scene<'a> {
        let content = noise(8, BYTES);
        bed.write("file", &content);
        Scene::on(bed, node, protection, content)
    }

    /// A session that reads a file that is there.
    fn on(bed: &'a Bed, node: &Node, protection: Protection, content: Vec<u8>) -> Scene<'a> {
        let ear = Ear::on(node.addr);
        let hooked = bed
            .hooked()
            .flag("--node", ear.addr.to_string())
            .flag("--local", "0");
        let hooked = match protection {
            Protection::Tag => hooked,
            Protection::Checksum => hooked.flag("--integrity", "checksum"),
            Protection::Sealed => hooked.sealed(None),
        };
        let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(bed, 1)));
        puppets.done(0, "open", &json!(["f", "file", "w"]));
        let mut scene = Scene {
            hooked,
            ear,
            stranger: node.client(),
            puppets,
            content,
        };
        scene.read_until_served();
        scene
    }

    fn sweep(&mut self) {
        let got = self.puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
        let wrong = got.iter().zip(&self.content).position(|(a, b)| a != b);
        assert!(got == self.content, "a foreign or old byte at {wrong:?}");
    }

    fn read_until_served(&mut self) {
        let mut before = None;
        wait_until("reads are served from the node", || {
            self.sweep();
            let now = self.hooked.stats().map(|stats| stats.count("hits_remote"));
            before = before.or(now);
            matches!((before, now), (Some(before), Some(now)) if now > before + 64)
        });
    }

    fn rewrite(&mut self, block: usize, seed: u64) {
        let piece = noise(seed, 4096);
        self.puppets
            .done(0, "pwrite", &json!(["f", block * 4096, to_hex(&piece)]));
        self.content[block * 4096..][..4096].copy_from_slice(&piece);
    }

    fn fallbacks(&self) -> u64 {
        self.hooked.stats().expect("live").sum("fallback")
    }

    fn end(mut self) {
        self.sweep();
        let (status, errors) = self.puppets.end();
        assert!(status.success(), "{status}: {errors}");
        assert!(errors.is_empty(), "the target sees no output: {errors}");
    }
}

/// Every value becomes garbage of the same or another length.
fn garbage_of(mode: Mode, protection: Protection) {
    let bed = Bed::new("garbage", mode);
    let node = Node::start(&bed, "64MiB");
    let mut scene = Scene::new(&bed, &node, protection);
    let before = scene.fallbacks();
    let mut dice = Dice::new(1);
    let keys = scene.ear.keys();
    assert!(!keys.is_empty(), "the ear heard no key");
    for key in &keys {
        let old = scene.stranger.get(key).expect("GET").unwrap_or_default();
        let value = match dice.below(5) {
            0 => noise(dice.roll(), old.len()),
            1 => old[..old.len() / 2].to_vec(),
            2 => [old.as_slice(), b"more"].concat(),
            3 => Vec::new(),
            _ => {
                let mut flipped = old;
                let at = usize::try_from(dice.below(flipped.len().max(1) as u64)).expect("small");
                if let Some(byte) = flipped.get_mut(at) {
                    *byte ^= 1;
                }
                flipped
            }
        };
        scene.stranger.set(key, &value).expect("SET");
    }
    scene.sweep();
    scene.sweep();
    assert!(
        scene.fallbacks() > before,
        "garbage was not counted as a fallback"
    );
    let stats = scene.hooked.stats().expect("live");
    let reason = stats.all["reason"].as_str().unwrap_or_default();
    let (word, proof) = match protection {
        Protection::Tag => ("tag", "tag"),
        Protection::Checksum => ("checksum", "checksum"),
        Protection::Sealed => ("sealed", "tag"),
    };
    let expected = format!("of a node failed their {proof}, read from disk");
    assert!(reason.ends_with(&expected), "{}", stats.all);
    assert_eq!(stats.all["integrity"], word);
    assert_eq!(scene.hooked.info().expect("lives")["integrity"], word);
    scene.end();
}

/// Every value is exchanged with that of another key: genuine bytes in the wrong place.
fn swapped_of(mode: Mode, protection: Protection) {
    let bed = Bed::new("swapped", mode);
    let node = Node::start(&bed, "64MiB");
    let mut scene = Scene::new(&bed, &node, protection);
    let before = scene.fallbacks();
    for pair in scene.ear.keys().chunks_exact(2) {
        let values = [0, 1].map(|n| scene.stranger.get(&pair[n]).expect("GET"));
        let [Some(first), Some(second)] = values else {
            continue;
        };
        scene.stranger.set(&pair[0], &second).expect("SET");
        scene.stranger.set(&pair[1], &first).expect("SET");
    }
    scene.sweep();
    scene.sweep();
    assert!(
        scene.fallbacks() > before,
        "swapped values were not counted as fallbacks"
    );
    scene.end();
}

/// After the session has rewritten its file, the stranger puts all old values back, under their own
/// keys and under every newer one.
fn replayed_of(mode: Mode, protection: Protection) {
    let bed = Bed::new("replayed", mode);
    let node = Node::start(&bed, "64MiB");
    let mut scene = Scene::new(&bed, &node, protection);
    let old: Vec<(Vec<u8>, Vec<u8>)> = scene
        .ear
        .keys()
        .into_iter()
        .filter_map(|key| Some((key.clone(), scene.stranger.get(&key).expect("GET")?)))
        .collect();
    for block in 0..BLOCKS {
        scene.rewrite(block, 1000 + block as u64);
    }
    scene.read_until_served();
    let newer: Vec<Vec<u8>> = scene
        .ear
        .keys()
        .into_iter()
        .filter(|key| !old.iter().any(|(k, _)| k == key))
        .collect();
    assert!(
        !newer.is_empty(),
        "the rewritten blocks never went to the node under new keys"
    );
    let before = scene.fallbacks();
    for (key, value) in &old {
        scene.stranger.set(key, value).expect("SET");
    }
    for (key, (_, value)) in newer.iter().zip(old.iter().cycle()) {
        scene.stranger.set(key, value).expect("SET");
    }
    scene.sweep();
    scene.sweep();
    assert!(
        scene.fallbacks() > before,
        "replayed values were not counted as fallbacks"
    );
    scene.end();
}

/// Two sessions with one key file read one file on one node: neither takes a value of the other,
/// although both are sealed with that key.
fn foreign(mode: Mode) {
    let bed = Bed::new("foreign", mode);
    let node = Node::start(&bed, "64MiB");
    let mut ours = Scene::new(&bed, &node, Protection::Sealed);
    let theirs = Scene::on(&bed, &node, Protection::Sealed, ours.content.clone());
    let (our_keys, their_keys) = (ours.ear.keys(), theirs.ear.keys());
    assert!(
        !our_keys.iter().any(|key| their_keys.contains(key)),
        "two sessions share keys on the node"
    );
    let before = ours.fallbacks();
    for (ours_at, theirs_at) in our_keys.iter().zip(their_keys.iter().cycle()) {
        if let Some(value) = ours.stranger.get(theirs_at).expect("GET") {
            ours.stranger.set(ours_at, &value).expect("SET");
        }
    }
    ours.sweep();
    ours.sweep();
    assert!(ours.fallbacks() > before, "foreign values were not noticed");
    ours.end();
    theirs.end();
}

/// What is told apart in the file, and must not be found on the node.
const MARK: &[u8; 32] = b"--- the words that are secret --";

/// How many of the values on the node show a word of the file, and how many there are.
fn readable(protection: Protection) -> (usize, usize) {
    let bed = Bed::new("readable", Mode::Normal);
    let node = Node::start(&bed, "64MiB");
    let content = MARK.repeat(BYTES / MARK.len());
    bed.write("file", &content);
    let mut scene = Scene::on(&bed, &node, protection, content);
    let keys = scene.ear.keys();
    let shows = |value: &[u8]| {
        value
            .windows(16)
            .any(|piece| MARK.windows(16).any(|w| w == piece))
    };
    let values = keys
        .iter()
        .filter_map(|key| scene.stranger.get(key).expect("GET"));
    let values: Vec<_> = values.collect();
    let shown = values.iter().filter(|value| shows(value)).count();
    let different: std::collections::HashSet<_> = values.iter().map(|value| &value[32..]).collect();
    if protection == Protection::Sealed {
        assert_eq!(
            different.len(),
            values.len(),
            "blocks that are equal look equal"
        );
    }
    let count = values.len();
    scene.end();
    (shown, count)
}

#[test]
fn a_node_can_read_blocks_that_are_not_sealed_and_no_others() {
    for protection in [Protection::Tag, Protection::Checksum] {
        let (shown, count) = readable(protection);
        assert!(shown == count && count > 0, "{shown} of {count}");
    }
    let (shown, count) = readable(Protection::Sealed);
    assert!(shown == 0 && count > 0, "{shown} of {count}");
}

//! A node that flips, cuts, swallows, dribbles and invents replies: no wrong byte, no error, and
//! service comes back when it tells the truth again. And a cable that is pulled.

use std::net::SocketAddr;

use harness::bed::Bed;
use harness::both_modes;
use harness::cable::Cable;
use harness::files::noise;
use harness::liar::{LIES, Liar, Lie};
use harness::mode::Mode;
use harness::node::{Node, free_port};
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::run::wait_until;
use harness::session::Hooked;
use harness::stage::root_or_say;
use serde_json::json;

both_modes!(lies, lies_to_a_sealed_session);

const BLOCKS: usize = 64;
const BYTES: usize = BLOCKS * 4096;

/// A puppet that reads and writes a file which only a node far away holds.
pub(super) struct Scene<'a> {
    pub(super) hooked: Hooked<'a>,
    puppets: Puppets,
    content: Vec<u8>,
    turns: u64,
}

impl<'a> Scene<'a> {
    fn new(bed: &'a Bed, node: SocketAddr) -> Scene<'a> {
        Scene::of(bed, node, bed.hooked())
    }

    fn of(bed: &'a Bed, node: SocketAddr, hooked: Hooked<'a>) -> Scene<'a> {
        let mut scene = Scene::unserved(bed, hooked.flag("--node", node.to_string()));
        scene.serve_again();
        scene
    }

    /// A scene whose nodes are named already and may never serve.
    pub(super) fn unserved(bed: &'a Bed, hooked: Hooked<'a>) -> Scene<'a> {
        let content = noise(4, BYTES);
        bed.write("file", &content);
        let hooked = hooked.flag("--local", "0");
        let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(bed, 1)));
        puppets.done(0, "open", &json!(["f", "file", "w"]));
        Scene {
            hooked,
            puppets,
            content,
            turns: 0,
        }
    }

    /// Reads all, writes a block, reads all.
    pub(super) fn turn(&mut self, when: &str) {
        for _ in 0..2 {
            let got = self.puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
            let wrong = got.iter().zip(&self.content).position(|(a, b)| a != b);
            assert!(got == self.content, "{when}: a wrong byte at {wrong:?}");
            self.turns += 1;
            let at = usize::try_from(self.turns).expect("small") % BLOCKS * 4096;
            let piece = noise(self.turns + 100, 4096);
            self.puppets
                .done(0, "pwrite", &json!(["f", at, to_hex(&piece)]));
            self.content[at..][..4096].copy_from_slice(&piece);
        }
    }

    pub(super) fn hits(&self) -> Option<u64> {
        self.hooked.stats().map(|stats| stats.count("hits_remote"))
    }

    pub(super) fn serve_again(&mut self) {
        let mut before = None;
        wait_until("reads are served from the node", || {
            self.turn("truth");
            let now = self.hits();
            before = before.or(now);
            matches!((before, now), (Some(before), Some(now)) if now > before + 64)
        });
    }

    pub(super) fn troubles(&self) -> u64 {
        let stats = self.hooked.stats().expect("live");
        stats.sum("fallback") + stats.all["bypass"]["no_node"].as_u64().unwrap_or(0)
    }

    /// What is in the file now.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Ends it; what was said on standard error.
    pub(super) fn end_with_words(self) -> String {
        let (status, errors) = self.puppets.end();
        assert!(status.success(), "{status}: {errors}");
        errors
    }

    pub(super) fn end(self) {
        let errors = self.end_with_words();
        assert!(errors.is_empty(), "the target sees no output: {errors}");
    }
}

fn lies(mode: Mode) {
    let bed = Bed::new("liar", mode);
    lies_to(&bed, bed.hooked());
}

fn lies_to_a_sealed_session(mode: Mode) {
    let bed = Bed::new("liar-sealed", mode);
    lies_to(&bed, bed.hooked().sealed(None));
}

fn lies_to<'a>(bed: &'a Bed, hooked: Hooked<'a>) {
    let node = Node::start(bed, "64MiB");
    let liar = Liar::before(node.addr);
    let mut scene = Scene::of(bed, liar.addr, hooked);
    for lie in LIES {
        let before = scene.troubles();
        liar.tell(lie);
        wait_until(&format!("{lie:?} is noticed"), || {
            scene.turn(&format!("{lie:?}"));
            scene.troubles() > before
        });
        for _ in 0..5 {
            scene.turn(&format!("{lie:?}"));
        }
        liar.tell(Lie::None);
        scene.serve_again();
    }
    scene.end();
}

/// Bytes that come one by one, each in time, do not put the deadline of a read off: an answer of
/// 4 KiB takes 0.8 s or more in this way, 16 times the longest deadline there is.
#[test]
fn a_dribbling_node_is_given_up() {
    let bed = Bed::new("dribble", Mode::Normal);
    let node = Node::start(&bed, "64MiB");
    let liar = Liar::before(node.addr);
    let mut scene = Scene::new(&bed, liar.addr);
    let given_up = |scene: &Scene<'_>| {
        let stats = scene.hooked.stats().expect("live");
        stats.all["fallback"]["deadline"].as_u64().unwrap_or(0)
    };
    let (before, hits) = (given_up(&scene), scene.hits());
    liar.tell(Lie::Dribble);
    wait_until("a read is given up at its deadline", || {
        scene.turn("dribbling");
        given_up(&scene) > before
    });
    assert_eq!(scene.hits(), hits, "no read has waited for such an answer");
    scene.end();
}

/// The node lives in another network namespace; the link to it goes down and up under reads.
#[test]
fn cable_pulled() {
    if !root_or_say("a network namespace") {
        return;
    }
    let bed = Bed::new("cable", Mode::Oracle);
    let cable = Cable::lay();
    let addr = SocketAddr::new(cable.far, free_port().port());
    let node = Node::start_in(&bed, "64MiB", addr, &cable);
    let mut scene = Scene::new(&bed, addr);
    for _ in 0..2 {
        let before = scene.troubles();
        cable.pull();
        wait_until("the pulled cable is noticed", || {
            scene.turn("pulled");
            scene.troubles() > before
        });
        for _ in 0..5 {
            scene.turn("pulled");
        }
        cable.plug();
        scene.serve_again();
    }
    scene.end();
    drop(node);
}

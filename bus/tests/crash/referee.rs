//! Starts the actors, kills them, and judges what the ledger says in the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bus::channel::{Access, File};
use bus::{Bus, Spec, Template};
use rustix::process::{Pid, Signal, kill_process};

use crate::actor::{RECEIVER_POINTS, SENDER_POINTS};
use crate::ledger;

/// Kills of each kind in the short form.
const KILLS: u64 = 150;
/// So many messages that no run ends before its last kill.
const NEVER: u64 = 1 << 40;

/// A channel in a directory of its own.
struct Ground {
    path: PathBuf,
}

impl Ground {
    fn new(name: &str) -> Ground {
        let base = match Path::new("/dev/shm").is_dir() {
            true => PathBuf::from("/dev/shm"),
            false => std::env::temp_dir(),
        };
        let path = base.join(format!("ramgrid-bus-crash-{}-{name}", std::process::id()));
        let ground = Ground { path };
        let bus = ground.bus();
        bus.make().expect("a directory");
        let ends = ["0.0.1.1", "0.0.2.1"].map(|end| Template::default().address(end).expect("one"));
        let spec = Spec {
            template: Template::default(),
            ends,
            ring_bytes: [65536, 4096],
            message_bytes_max: None,
            is_summed: true,
            is_stamped: false,
            priority: 0,
            description: "to be fought over".into(),
        };
        bus.create(&spec).expect("a channel");
        ground
    }

    fn bus(&self) -> Bus {
        Bus::open(self.path.to_str().expect("plain letters")).expect("a name")
    }

    fn start(&self, role: &str, last: u64, point: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .arg(role)
            .arg(&self.path)
            .arg(last.to_string())
            .arg(point);
        command.spawn().expect("an actor")
    }

    fn queue(&self) -> bus::view::Queue {
        let ends = ["0.0.1.1", "0.0.2.1"].map(|end| Template::default().address(end).expect("one"));
        let path = self.bus().path_of(Template::default(), ends);
        let file = File::open(&path, Access::View).expect("the channel");
        let [out, _] = bus::view::queues(&file);
        out
    }

    /// Everything up to `last` was seen, in order, and repeats are marked and few enough.
    fn judge(&self, last: u64, receiver_kills: u64) -> u64 {
        let (mut seen, mut repeats) = (0, 0);
        for line in ledger::read(&self.path) {
            if line.seq <= seen {
                assert!(line.is_repeat, "message {} came again unmarked", line.seq);
                repeats += 1;
            } else {
                assert_eq!(line.seq, seen + 1, "a message is missing");
                seen = line.seq;
            }
        }
        assert_eq!(seen, last, "messages are missing in the end");
        assert!(
            repeats <= receiver_kills,
            "{repeats} repeats, {receiver_kills} kills"
        );
        let queue = self.queue();
        assert_eq!(
            (queue.messages().1, queue.received.damaged_messages),
            (0, 0)
        );
        repeats
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Every scene.
pub fn all() {
    let asked = std::env::var("RAMGRID_BUS_KILLS").ok();
    let kills = asked.map_or(KILLS, |text| {
        text.parse().expect("RAMGRID_BUS_KILLS: a number")
    });
    labelled(kills);
    random(kills);
    stopped();
}

/// Each actor kills itself between two steps, every point in turn.
fn labelled(kills: u64) {
    let ground = Ground::new("labelled");
    for nth in 0..kills as usize {
        let sender_point = SENDER_POINTS[nth % SENDER_POINTS.len()];
        let receiver_point = RECEIVER_POINTS[nth % RECEIVER_POINTS.len()];
        let sender = ground.start("sender", NEVER, sender_point);
        let receiver = ground.start("receiver", NEVER, receiver_point);
        // A helper takes the place of the other victim, should that die first.
        for (mut victim, helper) in [(sender, "receiver"), (receiver, "sender")] {
            let helper = ground.start(helper, NEVER, "none");
            let status = victim.wait().expect("an actor");
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            assert_eq!(signal, Some(9), "an actor failed: {status}");
            end(helper);
        }
    }
    finish(&ground, "labelled", kills, kills * 2);
}

/// Killed whenever it happens to be.
fn random(kills: u64) {
    let ground = Ground::new("random");
    let mut sender = ground.start("sender", NEVER, "none");
    let mut receiver = ground.start("receiver", NEVER, "none");
    let mut receiver_kills = 0;
    for _ in 0..kills {
        let number = bus::guard::random().expect("random numbers");
        std::thread::sleep(Duration::from_micros(500 + number % 6000));
        if number >> 32 & 1 == 0 {
            end(std::mem::replace(
                &mut sender,
                ground.start("sender", NEVER, "none"),
            ));
        } else {
            receiver_kills += 1;
            let next = ground.start("receiver", NEVER, "none");
            end(std::mem::replace(&mut receiver, next));
        }
    }
    end(sender);
    end(receiver);
    finish(&ground, "random", kills, receiver_kills + 1);
}

fn end(mut victim: Child) {
    let running = victim.try_wait().expect("an actor");
    assert!(running.is_none(), "an actor ended by itself: {running:?}");
    victim.kill().expect("a kill");
    victim.wait().expect("an actor");
}

/// A last sender, a last receiver, nobody kills them.
fn finish(ground: &Ground, name: &str, kills: u64, receiver_kills: u64) {
    let last = ground.queue().last_seq + 500;
    let mut sender = ground.start("sender", last, "none");
    let mut receiver = ground.start("receiver", last, "none");
    assert!(sender.wait().expect("a sender").success());
    assert!(receiver.wait().expect("a receiver").success());
    let repeats = ground.judge(last, receiver_kills);
    println!("crash: {name}: {kills} kills, {last} messages, {repeats} repeated and marked");
}

/// Stopped processes keep their ends: who wants them is refused, and nothing is lost.
fn stopped() {
    let ground = Ground::new("stopped");
    let asked = std::env::var("RAMGRID_BUS_STOP_S").ok();
    let pause_s = asked.map_or(1, |text| text.parse().expect("RAMGRID_BUS_STOP_S: seconds"));
    let sender = ground.start("sender", NEVER, "steady");
    let receiver = ground.start("receiver", NEVER, "steady");
    while ledger::read(&ground.path).is_empty() {
        std::thread::yield_now();
    }
    for victim in [&sender, &receiver] {
        let pid = Pid::from_raw(victim.id() as i32).expect("a pid");
        kill_process(pid, Signal::STOP).expect("a stop");
        let end = Instant::now() + Duration::from_secs(pause_s);
        while Instant::now() < end {
            for address in ["0.0.1.1", "0.0.2.1"] {
                let taken = ground.bus().bind(address).map(|_| ());
                assert!(
                    matches!(taken, Err(bus::Error::Bound { .. })),
                    "{address}: {taken:?}"
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process(pid, Signal::CONT).expect("a go-on");
    }
    end(sender);
    end(receiver);
    finish(&ground, "stopped", 2, 1);
    println!("crash: stopped: each side {pause_s} s, nothing stolen, nothing lost");
}

//! Three hosts, relays with certificates between them, and whole rounds: a broadcast to both, a
//! question that is forwarded and whose answer comes back the same way, messages from any; while
//! relays are killed and a link is cut. An address that no certificate names gets nothing through.
//!
//! ```text
//!   0.0.1.1, 0.0.1.2          0.0.2.1                 0.0.3.1
//!        asks  --------->  passes on  --------->  answers
//!          +-------------------------------------------^
//! ```
//!
//! The programs need no network, so they are all in here; each binds the bus of its own host.

use std::path::Path;
use std::time::{Duration, Instant};

use bus::{Address, Bus, Endpoint, Error, Role, Template, Wait};

use crate::hosts::{Hosts, Plan};
use crate::number;
use crate::referee::Part;

const PLAN: Plan = Plan {
    homes: &[&["0.0.1.1", "0.0.1.2"], &["0.0.2.1"], &["0.0.3.1"]],
    channels: &[
        ["0.0.1.1", "0.0.2.1"],
        ["0.0.2.1", "0.0.3.1"],
        ["0.0.1.1", "0.0.3.1"],
        ["0.0.1.2", "0.0.2.1"],
    ],
    // 0.0.1.2 is not named.
    certificates: &[&["0.0.1.1"], &["0.0.2.*"], &["0.0.3.1", "0.0.3.2"]],
};

/// Longest wait for a message: a watchdog, not a measurement.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Who takes part.
struct Programs {
    asks: Endpoint,
    passes: Endpoint,
    answers: Endpoint,
    /// Not named by its host's certificate.
    stranger: Endpoint,
}

fn at(address: &str) -> Address {
    Template::default().address(address).expect("an address")
}

fn bind(hosts: &Hosts, host: usize, address: &str) -> Endpoint {
    let bus = Bus::open(&hosts.bus(host)).expect("a bus");
    bus.bind_as(at(address), Role::Both).expect("its channels")
}

/// The next message must be this one, from there.
fn expect(endpoint: &mut Endpoint, from: &str, payload: &str) {
    let me = endpoint.show(endpoint.address()).to_string();
    let message = endpoint.receive(Wait::For(WATCHDOG));
    let message = message.unwrap_or_else(|error| panic!("{me} waits for {payload}: {error}"));
    let text = String::from_utf8_lossy(message.payload()).into_owned();
    assert_eq!(
        (message.source(), text.as_str()),
        (at(from), payload),
        "{me}"
    );
}

/// Runs it all.
pub fn all() {
    let rounds = number("RAMGRID_RELAY_ROUNDS", 300);
    let begun = Instant::now();
    let hosts = Hosts::new(PLAN);
    let mut relays = [0, 1, 2].map(|host| {
        Part::new({
            let hosts = &hosts;
            move || hosts.relay(host)
        })
    });
    let mut programs = Programs {
        asks: bind(&hosts, 0, "0.0.1.1"),
        passes: bind(&hosts, 1, "0.0.2.1"),
        answers: bind(&hosts, 2, "0.0.3.1"),
        stranger: bind(&hosts, 0, "0.0.1.2"),
    };
    let refused = programs
        .stranger
        .send(at("0.0.2.1"), b"let me in", Wait::No);
    refused.expect("it waits in its ring");
    for round in 0..rounds {
        match round % 60 {
            20 | 40 => relays[(round / 20 % 3) as usize].restart(),
            50 => hosts.set_link(false),
            _ => {}
        }
        programs.broadcast(round);
        programs.question(round);
        programs.others_speak(round);
        if round % 60 == 50 {
            std::thread::sleep(Duration::from_millis(300));
            hosts.set_link(true);
        }
        programs.hear(round);
    }
    way(&hosts, &mut programs);
    stranger(&hosts, &mut programs);
    reload(&hosts, &mut programs);
    println!(
        "relay: {rounds} rounds over three hosts in {} s: broadcast, forward, backward, any; \
         an address no certificate names got nothing through",
        begun.elapsed().as_secs()
    );
}

impl Programs {
    /// Says what will be heard by everybody.
    fn broadcast(&mut self, round: u64) {
        let done = self.asks.broadcast(format!("all {round}").as_bytes());
        let done = done.expect("channels");
        assert_eq!((done.sent, done.full), (2, 0), "round {round}");
    }

    fn question(&mut self, round: u64) {
        let question = format!("question {round}");
        let sent = self.asks.send(at("0.0.2.1"), question.as_bytes(), Wait::No);
        sent.expect("room");
    }

    /// Both neighbours of who passes on say something more.
    fn others_speak(&mut self, round: u64) {
        for end in [&mut self.asks, &mut self.answers] {
            let words = [format!("any {round}"), format!("any {round}, too")];
            let words = words.each_ref().map(String::as_bytes);
            let sent = end.send_batch(at("0.0.2.1"), &words, Wait::No);
            assert_eq!(sent.expect("room"), 2, "round {round}");
        }
    }

    /// Everybody takes what is theirs, and the question goes its whole way.
    fn hear(&mut self, round: u64) {
        // First: between channels there is no order.
        expect(&mut self.answers, "0.0.1.1", &format!("all {round}"));
        self.pass_on(round);
        expect(&mut self.answers, "0.0.2.1", &format!("question {round}"));
        let answer = format!("answer {round}");
        let stations = self.answers.extension().expect("a message").route;
        let stations: Vec<Address> = stations.expect("a route").stations().collect();
        assert_eq!(stations, [at("0.0.1.1")], "round {round}");
        let answered = self.answers.answer(answer.as_bytes(), Wait::No);
        answered.expect("room");
        expect(&mut self.passes, "0.0.3.1", &answer);
        self.passes.backward(Wait::No).expect("a way back");
        expect(&mut self.asks, "0.0.2.1", &answer);
        let arrived = self.asks.backward(Wait::No);
        assert!(matches!(arrived, Err(Error::NoRoute)), "{arrived:?}");
    }

    /// Takes the messages of both neighbours, from whichever has one, and forwards the question.
    fn pass_on(&mut self, round: u64) {
        let near = ["all", "question", "any", "any"].map(|word| format!("{word} {round}"));
        let mut due = [near.to_vec(), near[2..].to_vec()];
        due.iter_mut()
            .for_each(|due| *due.last_mut().expect("some") += ", too");
        due.iter_mut().for_each(|due| due.reverse());
        while due.iter().any(|due| !due.is_empty()) {
            let message = self.passes.receive(Wait::For(WATCHDOG)).expect("a message");
            let side = usize::from(message.source() == at("0.0.3.1"));
            assert!(
                message.source() == at("0.0.1.1") || side == 1,
                "{message:?}"
            );
            let text = String::from_utf8_lossy(message.payload()).into_owned();
            assert_eq!(
                Some(&text),
                due[side].pop().as_ref(),
                "round {round}, {side}"
            );
            if text.starts_with("question") {
                self.passes.forward(at("0.0.3.1"), Wait::No).expect("room");
            }
        }
    }
}

/// A traced question leaves its marks on all three hosts.
fn way(hosts: &Hosts, programs: &mut Programs) {
    let target = at("0.0.2.1");
    let id = programs.asks.send_traced(target, b"dyed", Wait::No);
    let id = format!("{:x}", id.expect("room"));
    expect(&mut programs.passes, "0.0.1.1", "dyed");
    programs
        .passes
        .forward(at("0.0.3.1"), Wait::No)
        .expect("room");
    expect(&mut programs.answers, "0.0.2.1", "dyed");
    programs.answers.answer(b"seen", Wait::No).expect("room");
    expect(&mut programs.passes, "0.0.3.1", "seen");
    programs.passes.backward(Wait::No).expect("a way back");
    expect(&mut programs.asks, "0.0.2.1", "seen");
    let [there, on, back, home] = [
        "0.0.1.1 -> 0.0.2.1",
        "0.0.2.1 -> 0.0.3.1",
        "0.0.3.1 -> 0.0.2.1",
        "0.0.2.1 -> 0.0.1.1",
    ];
    for (host, ways) in [&[there, home][..], &[there, on, back, home], &[on, back]]
        .into_iter()
        .enumerate()
    {
        let steps = said(hosts, host, &["trace", &id]);
        let mut lines = steps.lines();
        for way in ways {
            for what in ["sent", "received"] {
                let line = lines.next().unwrap_or_default();
                assert!(line.contains(what) && line.contains(way), "{way}: {steps}");
            }
        }
        assert_eq!(lines.next(), None, "{steps}");
    }
}

/// What hooktool says on a host.
fn said(hosts: &Hosts, host: usize, words: &[&str]) -> String {
    let output = hosts.hooktool(host, words).output().expect("it runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Waits until a file of a host's says something.
fn until_said(path: &Path, what: &str) {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.contains(what) {
            return;
        }
        assert!(begun.elapsed() < WATCHDOG, "`{what}` is not in: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What was sent from an address that no certificate names is still where it was, and both relays
/// say why.
fn stranger(hosts: &Hosts, programs: &mut Programs) {
    until_said(&hosts.log(0), "your certificate does not name 0.0.1.2");
    let standing = said(hosts, 0, &["routes", "ls"]);
    assert!(standing.contains("does not name 0.0.1.2"), "{standing}");
    let queued = said(
        hosts,
        0,
        &["dump", "--format", "text", "0.0.1.2", "0.0.2.1"],
    );
    assert!(queued.contains("let me in"), "{queued}");
    let got = programs
        .passes
        .receive(Wait::No)
        .map(|message| message.source());
    assert!(matches!(got, Err(Error::Empty)), "{got:?}");
}

/// Takes a route away, and waits until the relay has let go of its channel.
fn unroute(hosts: &Hosts, host: usize, far: &str) {
    said(hosts, host, &["routes", "rm", far]);
    let begun = Instant::now();
    while !said(hosts, host, &["see", far]).contains("receiver  nobody") {
        assert!(
            begun.elapsed() < WATCHDOG,
            "{far} is still bound by a relay"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A route that is taken away stops its messages, which wait; given back, they go on.
fn reload(hosts: &Hosts, programs: &mut Programs) {
    unroute(hosts, 0, "0.0.3.1");
    unroute(hosts, 2, "0.0.1.1");
    let gone = "there is no route for 0.0.1.1 there";
    // The second host still has its way to the third; the first has none, and is not refused.
    let sent = programs.asks.send(at("0.0.3.1"), b"later", Wait::No);
    sent.expect("room");
    let sent = programs.passes.send(at("0.0.3.1"), b"now", Wait::No);
    sent.expect("room");
    expect(&mut programs.answers, "0.0.2.1", "now");
    let wanted = |host| format!("{}/wanted.toml", hosts.bus(host));
    said(hosts, 0, &["routes", "apply", &wanted(0)]);
    until_said(&hosts.log(0), gone);
    said(hosts, 2, &["routes", "apply", &wanted(2)]);
    expect(&mut programs.answers, "0.0.1.1", "later");
}

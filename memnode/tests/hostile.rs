//! Clients that mean harm, or are broken: an error or a closed connection, never more.
//!
//! After each of them the node serves the next client as if nothing had been.

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use memnode::Config;
use support::{Embedded, MIB, Program, Wire, encoded};

fn still_serves(node: &Embedded) {
    let mut wire = node.connect();
    wire.ask("SET alive yes", "+OK\r\n");
    wire.ask("GET alive", "$3\r\nyes\r\n");
}

fn last_words(node: &Embedded, bytes: &[u8]) -> String {
    let mut wire = node.connect();
    wire.send(bytes);
    String::from_utf8(wire.rest()).unwrap()
}

#[test]
fn strangers_do_not_keep_their_places() {
    // Intent: without the password a connection ends soon, silent or talkative; with it, never.
    let node = Embedded::start(Config {
        password: Some(b"secret".to_vec()),
        stranger_time_max: std::time::Duration::from_millis(200),
        ..Config::new(32 * MIB)
    });
    let mut friend = node.connect();
    friend.ask("AUTH secret", "+OK\r\n");
    let silent = node.connect();
    let mut talkative = node.connect();
    let pause = std::time::Duration::from_millis(20);
    let mut said = 0;
    while talkative.0.write_all(b"PING\r\n").is_ok() {
        said += 1;
        assert!(said < 3000, "still here after a minute");
        std::thread::sleep(pause);
    }
    assert!(silent.rest().is_empty());
    friend.ask("PING", "+PONG\r\n");
}

#[test]
fn malformed_requests_get_one_error_and_the_door() {
    // Intent: every way to break the protocol ends in Redis' words and a closed connection.
    let node = Embedded::small();
    for (bytes, words) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*99999999999\r\n", "invalid multibulk length"),
        (b"*2000\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "bulk string without its end"),
        (&[b'*'; 100], "too big count string"),
        (&[b'a'; 10_000], "too big inline request"),
    ] {
        let said = last_words(&node, bytes);
        assert_eq!(
            said,
            format!("-ERR Protocol error: {words}\r\n"),
            "{bytes:?}"
        );
    }
    still_serves(&node);
}

#[test]
fn what_came_before_the_error_is_answered() {
    // Intent: a pipeline with a broken end loses nothing but its end.
    let node = Embedded::small();
    let said = last_words(&node, b"PING\r\nPING\r\n*1\r\n!\r\nPING\r\n");
    assert_eq!(
        said,
        "+PONG\r\n+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n"
    );
}

#[test]
fn a_value_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    // Intent: the limit is where it is said to be, for the value and for the key.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.command(&[b"SET", b"k", &vec![7; MIB]]);
    wire.expect(b"+OK\r\n");
    wire.command(&[b"SET", &[b'k'; 513], b"v"]);
    wire.expect(b"-ERR key over 512 bytes or value over 1048576 bytes\r\n");
    wire.command(&[b"GET", &[b'k'; 5000]]);
    wire.expect(b"$-1\r\n");
    let said = last_words(&node, &encoded(&[b"SET", b"k", &vec![7; MIB + 1]]));
    assert_eq!(said, "-ERR Protocol error: invalid bulk length\r\n");
    let parts: Vec<Vec<u8>> = (0..20).map(|_| vec![b'k'; 100_000]).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let said = last_words(&node, &encoded(&parts));
    assert_eq!(said, "-ERR Protocol error: too big request\r\n");
    still_serves(&node);
}

#[test]
fn a_reply_over_the_limit_is_refused() {
    // Intent: a short request cannot make the node build an enormous reply.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.command(&[b"SET", b"k", &vec![7; MIB]]);
    wire.expect(b"+OK\r\n");
    wire.command(&[b"MGET", b"k", b"k", b"k"]);
    wire.expect(b"-ERR reply over 2097152 bytes, ask for fewer keys\r\n");
    wire.ask("PING", "+PONG\r\n");
}

#[test]
fn half_sent_requests_do_not_pile_up() {
    // Intent: a hundred clients that never finish their megabyte cannot take more than the budget.
    let node = Embedded::small();
    let mut stalled: Vec<Wire> = Vec::new();
    let half = &encoded(&[b"SET", b"k", &vec![7; MIB]])[..MIB / 2];
    let mut refused = 0;
    for _ in 0..60 {
        let mut wire = node.connect();
        let _ = wire.0.write_all(half);
        wire.0.set_nonblocking(true).unwrap();
        stalled.push(wire);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    for wire in &mut stalled {
        let mut said = [0; 100];
        refused += usize::from(matches!(wire.0.read(&mut said), Ok(1..)));
    }
    assert!(
        refused >= 55,
        "only {refused} of 60 half-sent megabytes were refused"
    );
    drop(stalled);
    still_serves(&node);
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    // Intent: replies that nobody takes stop the flow; they do not pile up.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.command(&[b"SET", b"k", &vec![7; MIB]]);
    wire.expect(b"+OK\r\n");
    wire.0.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let request = b"GET k\r\n".repeat(1000);
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 500 {
        sent += wire.0.write(&request).unwrap_or(0);
    }
    // Socket buffers and one burst hold so much; a node that read on would have taken it all.
    assert!(sent < 16 * MIB, "{sent} bytes of requests were taken");
    let served = node.node.stats().hits;
    assert!(
        served < 100,
        "{served} megabytes of replies were made for a client that reads none"
    );
    still_serves(&node);
}

#[test]
fn a_request_that_comes_drop_by_drop_does_not_keep_its_place() {
    // Intent: a friend with the password, too, has to finish what it began; busy is not enough.
    let node = Embedded::start(Config {
        stall_time_max: Duration::from_millis(300),
        ..Config::new(32 * MIB)
    });
    let mut quiet = node.connect();
    quiet.ask("PING", "+PONG\r\n");
    let mut dripping = node.connect();
    dripping.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000\r\n");
    let mut drops = 0;
    while dripping.0.write_all(b"x").is_ok() {
        drops += 1;
        assert!(drops < 6000, "still here after a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Who says nothing between requests stays, and a whole request in drops is served.
    quiet.send(b"*1\r\n");
    for byte in b"$4\r\nPING\r\n" {
        quiet.send(&[*byte]);
    }
    quiet.expect(b"+PONG\r\n");
    quiet.ask("EXISTS k", ":0\r\n");
}

#[test]
fn a_reply_that_is_read_drop_by_drop_does_not_keep_its_memory() {
    // Intent: a reader that takes a byte now and then is ended, and what waited for it is given up.
    let node = Embedded::start(Config {
        stall_time_max: Duration::from_millis(300),
        ..Config::new(32 * MIB)
    });
    let mut wire = node.connect();
    wire.command(&[b"SET", b"k", &vec![7; MIB]]);
    wire.expect(b"+OK\r\n");
    // More than the sockets hold; the node may wait 300 ms and a second for each 64 KiB of it.
    for _ in 0..4 {
        wire.send(&b"GET k\r\n".repeat(8));
    }
    let start = std::time::Instant::now();
    let mut taken = 0;
    while node.node.stats().connections > 0 {
        assert!(
            start.elapsed() < support::WATCHDOG,
            "still here, {taken} bytes taken"
        );
        let mut byte = [0];
        taken += wire.0.read(&mut byte).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(node.node.stats().buffered_bytes, 0);
    still_serves(&node);
}

#[test]
fn readers_that_do_not_read_cannot_take_more_memory_than_there_is() {
    // Intent: the promise of --memory holds from outside, with every place taken by such a reader.
    let node = Program::start(&["--memory", "32MiB"]);
    let mut wire = node.connect();
    wire.command(&[b"SET", b"k", &vec![7; MIB]]);
    wire.expect(b"+OK\r\n");
    let mut others: Vec<Wire> = (0..100).map(|_| node.connect()).collect();
    for other in &mut others {
        other.send(&b"MGET k k\r\n".repeat(20));
    }
    let mut most = 0;
    for _ in 0..20 {
        wire.ask("STRLEN k", ":1048576\r\n");
        most = most.max(node.status_bytes("VmRSS"));
        std::thread::sleep(Duration::from_millis(25));
    }
    let peak = node.status_bytes("VmHWM");
    assert!(peak <= 32 * MIB, "{peak} bytes at the peak, 32 MiB allowed");
    assert!(most > 4 * MIB, "{most} bytes: nothing waited");
    drop(others);
    wire.ask("PING", "+PONG\r\n");
}

#[test]
fn a_stranger_may_not_park_much() {
    // Intent: before the password, an unfinished request is worth 16 KiB, not a megabyte.
    let config = Config {
        password: Some(b"secret".to_vec()),
        ..Config::new(32 * MIB)
    };
    let node = Embedded::start(config);
    let half = encoded(&[b"SET", b"k", &vec![7; MIB]]);
    let said = last_words(&node, &half[..100_000]);
    assert!(
        said.starts_with("-ERR no memory for unfinished requests"),
        "{said}"
    );
}

#[test]
fn a_browser_is_sent_away() {
    // Intent: a web page that posts commands to a node on its visitor's machine gets nowhere.
    let node = Embedded::small();
    let hint = "-ERR this port speaks the Redis protocol, not HTTP: redis-cli; \
                for /metrics start memnode with --metrics ADDR\r\n";
    let said = last_words(&node, b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n");
    assert_eq!(said, hint);
    let said = last_words(
        &node,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n",
    );
    let words = "-ERR wrong number of arguments for 'get' command\r\n";
    assert_eq!(said, format!("{words}{hint}"));
    let mut wire = node.connect();
    wire.ask("EXISTS k", ":0\r\n");
}

#[test]
fn one_client_too_many_is_told_so() {
    // Intent: places are limited, the limit is known, and a place is free again when one leaves.
    let node = Embedded::start(Config::new(16 * MIB));
    let mut first = node.connect();
    let most: usize = {
        first.command(&[b"CONFIG", b"GET", b"maxclients"]);
        let mut text = [0; 64];
        let read = first.0.read(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..read]).into_owned();
        text.lines().last().unwrap().parse().unwrap()
    };
    let mut others: Vec<Wire> = (1..most).map(|_| node.connect()).collect();
    for wire in &mut others {
        wire.ask("PING", "+PONG\r\n");
    }
    assert_eq!(
        node.connect().rest(),
        b"-ERR max number of clients reached\r\n"
    );
    drop(others);
    let start = std::time::Instant::now();
    while node.node.stats().connections > 1 {
        assert!(start.elapsed() < support::WATCHDOG);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    still_serves(&node);
}

#[test]
fn random_bytes_are_survived() {
    // Intent: noise, cut anywhere, in front of a healthy client.
    let node = Embedded::small();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet = b"*$-+:0123456789\r\n\r\nGETSEMP k\0\xff";
    for _ in 0..300 {
        let length = random() as usize % 300;
        let noise: Vec<u8> = (0..length)
            .map(|_| alphabet[random() as usize % alphabet.len()])
            .collect();
        let mut wire = node.connect();
        let _ = wire.0.write_all(&noise);
        if random() % 2 == 0 {
            let _ = wire.0.shutdown(std::net::Shutdown::Write);
            let _ = wire.rest();
        }
    }
    still_serves(&node);
}

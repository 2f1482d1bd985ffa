//! Bad input of a memory node on the wire: an error or a closed connection, never a crash, a hang
//! or unbounded memory.

use std::io::ErrorKind;

use harness::bed::Bed;
use harness::files::{Dice, noise};
use harness::mode::Mode;
use harness::node::Node;
use harness::resp::{Client, Reply, encode};
use harness::run::run;
use harness::stage::tool;

/// Sends bytes on a connection of its own and reads replies until an error reply or the end. The
/// node must not answer nonsense with success.
fn provoke(node: &Node, bytes: &[u8]) {
    let mut client = node.client();
    let _ = client.send_raw(bytes);
    client.finish_sending();
    for _ in 0..1000 {
        match client.read_reply() {
            Ok(Reply::Error(_)) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[test]
fn malformed_requests_do_no_harm() {
    let bed = Bed::new("wire", Mode::Normal);
    let node = Node::start(&bed, "16MiB");
    let mut honest = node.client();
    honest.set(b"key", b"value").expect("SET");
    for bytes in [
        &b"*-1\r\n"[..],
        b"*0\r\n",
        b"*1\r\n$-1\r\n",
        b"*2147483647\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$2147483647\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999999999\r\n",
        b"*2\r\n$3\r\nGET\r\n$-5\r\n",
        b"*1\r\n:5\r\n",
        b"$5\r\nhello\r\n",
        b"GET\r\n",
        b"SET k\r\n",
        b"\0\0\0\0\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nkXX",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ] {
        provoke(&node, bytes);
        assert_eq!(
            honest.get(b"key").expect("GET").as_deref(),
            Some(&b"value"[..]),
            "{bytes:?}"
        );
    }
    let mut dice = Dice::new(3);
    for round in 0..300 {
        let mut bytes = encode(&[b"SET", b"key2", &noise(round, 100)]);
        for _ in 0..3 {
            let at = usize::try_from(dice.below(bytes.len() as u64)).expect("small");
            bytes[at] = u8::try_from(dice.below(256)).expect("a byte");
        }
        provoke(&node, &bytes);
    }
    assert_eq!(
        honest.get(b"key").expect("GET").as_deref(),
        Some(&b"value"[..])
    );
}

#[test]
fn half_sent_requests_hold_nobody_up() {
    let bed = Bed::new("half", Mode::Normal);
    let node = Node::start(&bed, "128MiB");
    let whole = encode(&[b"SET", b"key", &noise(1, 5000)]);
    let mut halves: Vec<Client> = (0..100).map(|_| node.client()).collect();
    for (n, client) in halves.iter_mut().enumerate() {
        client.send_raw(&whole[..n * 50]).expect("send");
    }
    let mut honest = node.client();
    honest.set(b"other", b"value").expect("SET");
    assert_eq!(
        honest.get(b"key").expect("GET"),
        None,
        "a half-sent SET took effect"
    );
    drop(halves);
    assert_eq!(
        honest.get(b"other").expect("GET").as_deref(),
        Some(&b"value"[..])
    );
}

/// An endless line, number or value is answered with an error or cut off; whatever is sent, the
/// node's memory is bounded and others are served meanwhile.
#[test]
fn endless_requests_are_refused() {
    const NODE_BYTES: u64 = 16 << 20;
    const SLACK_BYTES: u64 = 32 << 20;
    let bed = Bed::new("endless", Mode::Normal);
    let node = Node::start(&bed, "16MiB");
    for (head, chunk) in [
        (&b""[..], vec![b'x'; 65536]),
        (b"*1\r\n$", vec![b'1'; 65536]),
        (b"*2\r\n$3\r\nGET\r\n$2000000000\r\n", vec![b'x'; 65536]),
        (b"*1000000\r\n", b"$1\r\nx\r\n".repeat(8000)),
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$60000000\r\n",
            vec![b'x'; 65536],
        ),
        (b"", encode(&[b"GET", b"x"]).repeat(3000)),
    ] {
        let mut client = node.client();
        let _ = client.send_raw(head);
        let cut = (0..2000).any(|_| client.send_raw(&chunk).is_err_and(|error| is_cut(&error)));
        node.client().ping().expect("others are served meanwhile");
        let shown = String::from_utf8_lossy(head).into_owned();
        let peak = node.memory_peak_bytes();
        assert!(
            peak < NODE_BYTES + SLACK_BYTES,
            "{peak} bytes held after {shown:?}"
        );
        let refused = cut || !matches!(client.read_reply(), Ok(Reply::Simple(_)));
        assert!(refused, "{shown:?} was accepted");
    }
}

/// A closed connection, or a node that reads no more.
fn is_cut(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WouldBlock
    )
}

/// The tools people have: `redis-cli` and `redis-benchmark`.
#[test]
fn redis_tools_work() {
    let bed = Bed::new("tools", Mode::Normal);
    let node = Node::start(&bed, "32MiB");
    let port = node.addr.port().to_string();
    let cli = |words: &[&str]| {
        let program = tool("redis-cli").display().to_string();
        let all = [&[program.as_str(), "-p", &port], words].concat();
        run(&mut bed.native(bed.path(), &all)).must_pass().text()
    };
    assert_eq!(cli(&["PING"]), "PONG\n");
    assert_eq!(cli(&["SET", "a", "one"]), "OK\n");
    assert_eq!(cli(&["GET", "a"]), "one\n");
    assert_eq!(cli(&["-3", "GET", "a"]), "one\n");
    assert_eq!(cli(&["DBSIZE"]), "1\n");
    assert_eq!(cli(&["ECHO", "hello"]), "hello\n");
    assert_eq!(cli(&["FLUSHALL"]), "OK\n");
    assert_eq!(cli(&["DBSIZE"]), "0\n");
    assert!(cli(&["INFO"]).contains("keyspace_hits:"));
    assert!(cli(&["NOSUCHCOMMAND"]).starts_with("ERR"));
    let program = tool("redis-benchmark").display().to_string();
    let words = [
        program.as_str(),
        "-p",
        &port,
        "-t",
        "get,set",
        "-n",
        "5000",
        "-d",
        "4096",
        "-q",
    ];
    let outcome = run(&mut bed.native(bed.path(), &words)).must_pass();
    assert!(
        outcome.text().contains("requests per second"),
        "{}",
        outcome.story()
    );
}

//! Request and reply, byte for byte: every command, its manners and its refusals, RESP2 and RESP3.
//!
//! The replies are those of redis-server 7.0 for the same lines, except where a node is not a Redis
//! (one database, strings only, settings that do not change).

mod support;

use support::Embedded;

/// Runs lines against a fresh node; each must get exactly its reply.
fn run(cases: &[(&str, &str)]) {
    let node = Embedded::small();
    let mut wire = node.connect();
    for (line, reply) in cases {
        wire.ask(line, reply);
    }
}

const SYNTAX: &str = "-ERR syntax error\r\n";
const NUMBER: &str = "-ERR value is not an integer or out of range\r\n";

#[test]
fn strings() {
    run(&[
        ("SETNX k a", ":1\r\n"),
        ("SETNX k b", ":0\r\n"),
        ("GETSET k c", "$1\r\na\r\n"),
        ("GETSET new x", "$-1\r\n"),
        ("GETDEL new", "$1\r\nx\r\n"),
        ("GETDEL new", "$-1\r\n"),
        ("MSET a 1 b 2", "+OK\r\n"),
        ("MGET a b none", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"),
        (
            "MSET a 1 b",
            "-ERR wrong number of arguments for 'mset' command\r\n",
        ),
        (
            "MSET a",
            "-ERR wrong number of arguments for 'mset' command\r\n",
        ),
        ("SETEX k 100 v", "+OK\r\n"),
        ("TTL k", ":100\r\n"),
        (
            "SETEX k 0 v",
            "-ERR invalid expire time in 'setex' command\r\n",
        ),
        ("SETEX k x v", NUMBER),
        (
            "PSETEX k -1 v",
            "-ERR invalid expire time in 'psetex' command\r\n",
        ),
        ("PSETEX k 100000 v", "+OK\r\n"),
        ("SET k v XX GET", "$1\r\nv\r\n"),
        ("SET none v XX GET", "$-1\r\n"),
        ("EXISTS none", ":0\r\n"),
        ("STRLEN none", ":0\r\n"),
    ]);
}

#[test]
fn times_to_live() {
    run(&[
        ("SET k v", "+OK\r\n"),
        ("TTL k", ":-1\r\n"),
        ("PTTL none", ":-2\r\n"),
        ("EXPIRE k 100", ":1\r\n"),
        ("TTL k", ":100\r\n"),
        ("EXPIRE none 100", ":0\r\n"),
        ("EXPIRE k 200 NX", ":0\r\n"),
        ("EXPIRE k 50 GT", ":0\r\n"),
        ("EXPIRE k 200 GT", ":1\r\n"),
        ("EXPIRE k 300 LT", ":0\r\n"),
        ("EXPIRE k 50 LT", ":1\r\n"),
        ("PERSIST k", ":1\r\n"),
        ("PERSIST k", ":0\r\n"),
        ("EXPIRE k 100 XX", ":0\r\n"),
        (
            "EXPIRE k 1 NX GT",
            "-ERR NX and XX, GT or LT options at the same time are not \
          compatible\r\n",
        ),
        (
            "EXPIRE k 1 LT GT",
            "-ERR GT and LT options at the same time are not compatible\r\n",
        ),
        ("EXPIRE k 1 SOON", "-ERR Unsupported option SOON\r\n"),
        ("EXPIRE k x", NUMBER),
        ("EXPIREAT k 4102444800", ":1\r\n"),
        ("EXPIRETIME k", ":4102444800\r\n"),
        ("PEXPIREAT k 4102444800123", ":1\r\n"),
        ("PEXPIRETIME k", ":4102444800123\r\n"),
        (
            "EXPIRE k 9223372036854775807",
            "-ERR invalid expire time in 'expire' command\r\n",
        ),
        ("GETEX k PERSIST", "$1\r\nv\r\n"),
        ("TTL k", ":-1\r\n"),
        ("GETEX k EX 100", "$1\r\nv\r\n"),
        ("TTL k", ":100\r\n"),
        ("GETEX k", "$1\r\nv\r\n"),
        ("TTL k", ":100\r\n"),
        (
            "GETEX k EX 0",
            "-ERR invalid expire time in 'getex' command\r\n",
        ),
        ("GETEX k EX", SYNTAX),
        ("GETEX none EX 1", "$-1\r\n"),
        ("GETEX k EXAT 1", "$1\r\nv\r\n"),
        ("EXISTS k", ":0\r\n"),
        ("SET k v", "+OK\r\n"),
        ("PEXPIRE k 0", ":1\r\n"),
        ("GET k", "$-1\r\n"),
        ("SET k v", "+OK\r\n"),
        ("EXPIRE k -5", ":1\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
}

#[test]
fn walks_over_keys() {
    run(&[
        ("RANDOMKEY", "$-1\r\n"),
        ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("SET k:1 v", "+OK\r\n"),
        ("RANDOMKEY", "$3\r\nk:1\r\n"),
        ("KEYS *", "*1\r\n$3\r\nk:1\r\n"),
        ("KEYS k:[2-9]", "*0\r\n"),
        (
            "SCAN 0 MATCH k:* COUNT 100000",
            "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nk:1\r\n",
        ),
        ("SCAN 0 COUNT 100000 TYPE list", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("SCAN x", "-ERR invalid cursor\r\n"),
        ("SCAN -1", "-ERR invalid cursor\r\n"),
        ("SCAN 18446744073709551615", "-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT x", NUMBER),
        ("SCAN 0 MATCH", SYNTAX),
        ("SCAN 0 NEAR k", SYNTAX),
        ("TOUCH k:1 none", ":1\r\n"),
        ("TYPE none", "+none\r\n"),
    ]);
}

#[test]
fn the_server_itself() {
    run(&[
        ("MEMORY USAGE none", "$-1\r\n"),
        ("SET k v", "+OK\r\n"),
        ("MEMORY USAGE k SAMPLES 0", ":1050\r\n"),
        (
            "MEMORY NONSENSE",
            "-ERR unknown subcommand 'NONSENSE'. Try MEMORY HELP.\r\n",
        ),
        ("LATENCY LATEST", "*0\r\n"),
        ("LATENCY RESET", ":0\r\n"),
        ("LATENCY HISTOGRAM", "*0\r\n"),
        ("SLOWLOG GET 10", "*0\r\n"),
        ("SLOWLOG LEN", ":0\r\n"),
        ("SLOWLOG RESET", "+OK\r\n"),
        ("ACL WHOAMI", "$7\r\ndefault\r\n"),
        (
            "COMMAND COUNT x",
            "-ERR wrong number of arguments for 'command|count' command\r\n",
        ),
        (
            "COMMAND GETKEYS MSET a 1 b 2",
            "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        ),
        (
            "COMMAND GETKEYS PING x",
            "-ERR The command has no key arguments\r\n",
        ),
        (
            "COMMAND GETKEYS GET a b",
            "-ERR Invalid number of arguments specified for command\r\n",
        ),
        ("COMMAND INFO nonsense", "*1\r\n$-1\r\n"),
    ]);
}

#[test]
fn settings_and_clients() {
    run(&[
        (
            "COMMAND INFO get",
            "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
             *0\r\n*0\r\n*0\r\n*0\r\n",
        ),
        ("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"),
        ("CONFIG SET timeout 300", "+OK\r\n"),
        ("CONFIG GET TIMEO*", "*2\r\n$7\r\ntimeout\r\n$3\r\n300\r\n"),
        (
            "CONFIG SET maxmemory 1",
            "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - can't set \
             immutable config\r\n",
        ),
        (
            "CONFIG SET nonsense 1",
            "-ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'\r\n",
        ),
        (
            "CONFIG SET timeout",
            "-ERR wrong number of arguments for 'config|set' command\r\n",
        ),
        ("CONFIG RESETSTAT", "+OK\r\n"),
        (
            "CONFIG REWRITE",
            "-ERR The server is running without a config file\r\n",
        ),
        ("SHUTDOWN SOON", SYNTAX),
        (
            "SHUTDOWN NOSAVE",
            "-ERR Errors trying to SHUTDOWN. Check logs.\r\n",
        ),
        ("CLIENT ID", ":1\r\n"),
        (
            "CLIENT KILL ID 0",
            "-ERR client-id should be greater than 0\r\n",
        ),
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n"),
        ("CLIENT KILL TYPE normal", ":0\r\n"),
        ("CLIENT LIST ID", SYNTAX),
        ("CLIENT SETNAME a", "+OK\r\n"),
        ("CLIENT GETNAME", "$1\r\na\r\n"),
        (
            "LPUSH l v",
            "-ERR unknown command 'LPUSH', with args beginning with: 'l' 'v' \r\n",
        ),
    ]);
}

#[test]
fn resp3_where_it_differs() {
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.send(b"HELLO 3\r\n");
    wire.expect(b"%7\r\n$6\r\nserver\r\n$7\r\nmemnode\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n");
    wire.expect(b"$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n");
    wire.expect(b"$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n");
    for (line, reply) in [
        ("GET none", "_\r\n"),
        ("MGET none", "*1\r\n_\r\n"),
        ("CONFIG GET save", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("LATENCY HISTOGRAM", "%0\r\n"),
        ("CLIENT GETNAME", "_\r\n"),
        ("COMMAND DOCS nonsense", "%0\r\n"),
        ("RANDOMKEY", "_\r\n"),
    ] {
        wire.ask(line, reply);
    }
}

#[test]
fn a_client_can_be_sent_away() {
    // Intent: CLIENT KILL ends a connection that waits, at once, and only that one.
    let node = Embedded::small();
    let (mut one, mut other, mut third) = (node.connect(), node.connect(), node.connect());
    one.ask("PING", "+PONG\r\n");
    other.ask("PING", "+PONG\r\n");
    third.ask("PING", "+PONG\r\n");
    one.ask("CLIENT KILL ID 2", ":1\r\n");
    assert!(other.rest().is_empty());
    let address = third.0.local_addr().unwrap();
    one.ask(&format!("CLIENT KILL {address}"), "+OK\r\n");
    assert!(third.rest().is_empty());
    one.ask("CLIENT KILL ID 1 SKIPME no", ":1\r\n");
    assert!(one.rest().is_empty());
}

#[test]
fn who_says_nothing_for_too_long_leaves() {
    // Intent: `timeout` ends silent connections and spares the others.
    let node = Embedded::small();
    let (mut talker, mut silent) = (node.connect(), node.connect());
    silent.ask("PING", "+PONG\r\n");
    talker.ask("CONFIG SET timeout 1", "+OK\r\n");
    let reader = std::thread::spawn(move || silent.rest());
    while !reader.is_finished() {
        talker.ask("PING", "+PONG\r\n");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(reader.join().unwrap().is_empty());
    talker.ask("PING", "+PONG\r\n");
}

#[test]
fn values_that_are_replaced_while_they_are_sent_arrive_whole() {
    // Intent: replies are sent from where the values lie; a reader that is slow gets the bytes
    // that were there when it asked, whatever others store, remove and evict meanwhile.
    let node = Embedded::small();
    let mut slow = node.connect();
    let mut writer = node.connect();
    let value = |byte: u8| vec![byte; 100_000];
    for round in 0..20u8 {
        writer.command(&[b"SET", b"k", &value(round)]);
        writer.expect(b"+OK\r\n");
        slow.send(b"GET k\r\n".repeat(16).as_slice());
        slow.expect(b"$100000\r\n");
        for other in 0..60u8 {
            writer.command(&[b"SET", &[other], &vec![0xee; 1 << 20]]);
            writer.expect(b"+OK\r\n");
        }
        writer.command(&[b"SET", b"k", &value(0xff)]);
        writer.expect(b"+OK\r\n");
        slow.expect(&value(round));
        slow.expect(b"\r\n");
        for _ in 1..16 {
            let head = slow.line();
            if head == "$-1" {
                continue; // asked for after it was evicted
            }
            assert_eq!(head, "$100000");
            let byte = slow.bytes(100_002);
            let whole = byte[..100_000].iter().all(|b| *b == byte[0]);
            assert!(
                whole && (byte[0] == round || byte[0] == 0xff),
                "round {round}"
            );
        }
    }
}

//! The commands, as raw bytes on the wire.

mod support;

use memnode::Config;
use support::{Embedded, MIB};

#[test]
fn blocks_go_in_and_come_out_binary_safe() {
    // Intent: what a SET stored a GET returns byte for byte, CRLF and zeros included.
    let node = Embedded::small();
    let mut wire = node.connect();
    let value: Vec<u8> = (0..8224u32).map(|n| (n * 7 % 256) as u8).collect();
    wire.command(&[b"SET", b"key\r\n\0", &value]);
    wire.expect(b"+OK\r\n");
    wire.command(&[b"GET", b"key\r\n\0"]);
    wire.expect(b"$8224\r\n");
    wire.expect(&value);
    wire.expect(b"\r\n");
    wire.command(&[b"MGET", b"key\r\n\0", b"other", b"key\r\n\0"]);
    wire.expect(b"*3\r\n$8224\r\n");
    wire.expect(&value);
    wire.expect(b"\r\n$-1\r\n$8224\r\n");
    wire.expect(&value);
    wire.expect(b"\r\n");
    let stats = node.node.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.sets, stats.items),
        (3, 1, 1, 1)
    );
}

#[test]
fn a_person_at_a_terminal_is_understood() {
    // Intent: one-line commands work, in any case, and errors are those of Redis.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.ask("ping", "+PONG\r\n");
    wire.ask("PING hello", "$5\r\nhello\r\n");
    wire.ask("", "");
    wire.ask("ECHO x", "$1\r\nx\r\n");
    wire.ask("SELECT 0", "+OK\r\n");
    wire.ask("SELECT 1", "-ERR DB index is out of range\r\n");
    wire.ask(
        "GET",
        "-ERR wrong number of arguments for 'get' command\r\n",
    );
    wire.ask(
        "INCR k 2",
        "-ERR unknown command 'INCR', with args beginning with: 'k' '2' \r\n",
    );
    wire.ask("QUIT", "+OK\r\n");
    assert!(wire.rest().is_empty());
}

#[test]
fn keys_live_and_die_as_in_redis() {
    // Intent: SET's options, DEL, UNLINK, EXISTS, TTL, DBSIZE and FLUSHALL mean what they mean.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.ask("SET k v XX", "$-1\r\n");
    wire.ask("SET k v NX", "+OK\r\n");
    wire.ask("SET k w GET", "$1\r\nv\r\n");
    wire.ask("SET k w NX", "$-1\r\n");
    wire.ask(
        "SET k w EX 0",
        "-ERR invalid expire time in 'set' command\r\n",
    );
    wire.ask(
        "SET k w EX x",
        "-ERR value is not an integer or out of range\r\n",
    );
    wire.ask("SET k w BY force", "-ERR syntax error\r\n");
    wire.ask("TTL k", ":-1\r\n");
    wire.ask("SET k w EX 100", "+OK\r\n");
    wire.ask("TTL k", ":100\r\n");
    wire.ask("SET k u KEEPTTL", "+OK\r\n");
    wire.ask("TTL k", ":100\r\n");
    wire.ask("SET gone v PX 1", "+OK\r\n");
    std::thread::sleep(std::time::Duration::from_millis(20));
    wire.ask("GET gone", "$-1\r\n");
    wire.ask("TTL gone", ":-2\r\n");
    wire.ask("SET l v", "+OK\r\n");
    wire.ask("EXISTS k l k none", ":3\r\n");
    wire.ask("TYPE k", "+string\r\n");
    wire.ask("STRLEN k", ":1\r\n");
    wire.ask("DBSIZE", ":2\r\n");
    wire.ask("DEL k none", ":1\r\n");
    wire.ask("UNLINK l", ":1\r\n");
    wire.ask("SET m v", "+OK\r\n");
    wire.ask("FLUSHALL ASYNC", "+OK\r\n");
    wire.ask("DBSIZE", ":0\r\n");
}

#[test]
fn hello_changes_the_protocol() {
    // Intent: RESP3 after HELLO 3, RESP2 again after RESET, and nothing else is promised.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    wire.ask("GET k", "$-1\r\n");
    wire.ask(
        "HELLO 3 SETNAME tester",
        "%7\r\n$6\r\nserver\r\n$7\r\nmemnode\r\n",
    );
    wire.expect(b"$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n");
    wire.expect(b"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n");
    wire.expect(b"$7\r\nmodules\r\n*0\r\n");
    wire.ask("GET k", "_\r\n");
    wire.ask("CLIENT GETNAME", "$6\r\ntester\r\n");
    wire.ask("RESET", "+RESET\r\n");
    wire.ask("GET k", "$-1\r\n");
}

#[test]
fn tools_find_what_they_ask_for() {
    // Intent: the answers without which redis-benchmark, exporters and GUIs give up.
    let node = Embedded::small();
    let mut wire = node.connect();
    wire.ask("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    wire.ask(
        "CONFIG GET appendonly",
        "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n",
    );
    wire.ask(
        "CONFIG GET maxmemory",
        "*2\r\n$9\r\nmaxmemory\r\n$8\r\n33554432\r\n",
    );
    wire.ask("CONFIG GET nonsense", "*0\r\n");
    wire.ask("CLIENT SETNAME me", "+OK\r\n");
    wire.ask("CLIENT SETINFO LIB-NAME tests", "+OK\r\n");
    wire.ask("CLIENT ID", ":1\r\n");
    wire.ask("SET k v", "+OK\r\n");
    wire.ask("GET k", "$1\r\nv\r\n");
    wire.ask("GET none", "$-1\r\n");
    assert!(wire.bulk(&[b"CLIENT", b"LIST"]).contains("name=me"));
    let info = wire.bulk(&[b"INFO"]);
    for line in [
        "redis_version:7.0.0",
        "maxmemory:33554432",
        "keyspace_hits:1",
        "keyspace_misses:1",
        "evicted_keys:0",
        "db0:keys=1,",
        "connected_clients:1",
        "total_commands_processed:",
        "used_memory:1",
    ] {
        assert!(
            info.lines().any(|found| found.starts_with(line)),
            "{line} in {info}"
        );
    }
    let section = wire.bulk(&[b"INFO", b"keyspace"]);
    assert!(
        section.starts_with("# Keyspace\r\n") && !section.contains("# Server"),
        "{section}"
    );
}

#[test]
fn a_pipeline_is_answered_in_order() {
    // Intent: far more requests than fit into one burst, sent without reading a reply.
    let node = Embedded::small();
    let mut wire = node.connect();
    let block = vec![b'x'; 4096];
    wire.command(&[b"SET", b"k", &block]);
    wire.expect(b"+OK\r\n");
    let mut writer = wire.0.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        for n in 0..2000 {
            writer
                .write_all(format!("ECHO {n}\r\nGET k\r\n").as_bytes())
                .unwrap();
        }
    });
    for n in 0..2000 {
        let text = n.to_string();
        wire.expect(format!("${}\r\n{text}\r\n$4096\r\n", text.len()).as_bytes());
        wire.expect(&block);
        wire.expect(b"\r\n");
    }
    sender.join().unwrap();
}

#[test]
fn a_password_stands_before_everything() {
    // Intent: nothing but AUTH, HELLO and QUIT works without it, and guessing ends the connection.
    let config = Config {
        password: Some(b"open sesame".to_vec()),
        ..Config::new(32 * MIB)
    };
    let node = Embedded::start(config);
    let mut wire = node.connect();
    wire.ask("GET k", "-NOAUTH Authentication required.\r\n");
    wire.ask("NONSENSE", "-NOAUTH Authentication required.\r\n");
    wire.command(&[b"AUTH", b"open sesame"]);
    wire.expect(b"+OK\r\n");
    wire.ask("GET k", "$-1\r\n");
    wire.ask("RESET", "+RESET\r\n");
    wire.ask("GET k", "-NOAUTH Authentication required.\r\n");
    wire.command(&[b"HELLO", b"2", b"AUTH", b"default", b"open sesame"]);
    wire.expect(b"*14\r\n");
    let mut wire = node.connect();
    wire.ask(
        "AUTH guess",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    );
    assert!(wire.rest().is_empty());
    let mut wire = node.connect();
    wire.command(&[b"AUTH", b"root", b"open sesame"]);
    wire.expect(b"-WRONGPASS");
}

//! The same lines to a node and to redis-server: the same bytes must come back.
//!
//! What a node has it answers as Redis 7.0 does, refusals included. What it has not (other types,
//! transactions, scripts, messages) is an unknown command, in Redis' words for one.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use support::{Embedded, WATCHDOG, Wire};

/// redis-server on a free port, killed with the test.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Redis {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let flags = format!("--port {port} --bind 127.0.0.1 --save  --appendonly no --databases 1");
        let child = Command::new("redis-server")
            .args(flags.split(' '))
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("apt-get install redis-server: {error}"));
        Redis { child, port }
    }

    fn connect(&self) -> Wire {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < WATCHDOG, "redis-server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Wire::connect(([127, 0, 0, 1], self.port).into())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that comes back for a line, up to the echo of a word sent behind it.
fn said(wire: &mut Wire, line: &str) -> String {
    let mark = b"$8\r\nthe-mark\r\n";
    wire.send(format!("{line}\r\nECHO the-mark\r\n").as_bytes());
    let mut bytes = Vec::new();
    while !bytes.ends_with(mark) {
        bytes.extend(wire.bytes(1));
    }
    bytes.truncate(bytes.len() - mark.len());
    String::from_utf8_lossy(&bytes).into_owned()
}

const LINES: &str = r#"
PING|PING a|PING a b|ping|ECHO|ECHO x|DBSIZE|DBSIZE a|TIME a
GET|GET a b|GET none|SET k|SET k v EX|SET k v EX 0|SET k v EX -1|SET k v EX abc
SET k v EX 10 PX 10|SET k v NX XX|SET k v|SET k v GET NX|SET k2 v NX GET|SET k v KEEPTTL EX 1
SET k v FOO|SET k v EXAT 1|GET k|SET k v PXAT 99999999999999|TTL none
SET k v EX 9223372036854775807|SET k v PX 9223372036854775807|SET k v|SET k v XX
GETEX k PERSIST EX 10|GETEX k FOO|GETEX none EX 10|GETEX k EX 0|GETEX|GETDEL none|GETDEL
GETSET a b|GETSET a c|SETNX a d|SETNX fresh d|SETEX a 0 v|SETEX a x v|SETEX a 10 v|PSETEX a -5 v
MSET|MSET a 1 b|MSET a 1 b 2|MGET|MGET a b c|STRLEN a|STRLEN none|STRLEN|EXISTS|EXISTS a a b c
TYPE a|TYPE none|TYPE|DEL|DEL a none|UNLINK b|TOUCH k|TOUCH k none
SET k v|TTL k|PTTL none|EXPIRE k|EXPIRE k 100|TTL k|EXPIRE k abc|EXPIRE k 100 FOO|EXPIRE none 1
EXPIRE k 100 NX XX|EXPIRE k 100 GT LT|EXPIRE k 9223372036854775807|EXPIRE k -1|GET k
SET k v|EXPIREAT k 99999999999|EXPIRETIME k|PEXPIRETIME k|EXPIRETIME none|PEXPIREAT k 1|GET k
SET k v|PERSIST k|EXPIRE k 100|PERSIST k|PERSIST none|PEXPIRE k 100000 GT|PEXPIRE k 100000 LT
SET "a key" 'a value'|GET "a key"|GET 'a key'|STRLEN "a key"|SET k "\x00\n\t\"\q"|STRLEN k
SET 'it\'s' ""|GET "it's"|ECHO a"b c"|ECHO 'a\nb'|ECHO "\x4g\xff\\"|DEL "a key" 'it\'s' k
FLUSHALL|SCAN 0|SCAN|SCAN abc|SCAN 0 COUNT 0|SCAN 0 COUNT abc|SCAN 0 MATCH|SCAN 0 FOO bar
SCAN 0 TYPE string|SCAN 0 TYPE list|KEYS *|KEYS|RANDOMKEY|RANDOMKEY a
SELECT|SELECT 0|SELECT 1|SELECT abc|FLUSHALL FOO|FLUSHDB ASYNC|FLUSHALL SYNC
MEMORY|MEMORY FOO|MEMORY USAGE|MEMORY USAGE none|MEMORY USAGE none SAMPLES 5
MEMORY USAGE none SAMPLES -5|MEMORY USAGE none FOO 5|MEMORY USAGE none SAMPLES|MEMORY PURGE
MEMORY STATS a|CONFIG|CONFIG GET|CONFIG GET nonsense|CONFIG GET save|CONFIG GET appendonly
CONFIG SET|CONFIG SET a|CONFIG SET foo bar|CONFIG SET foo bar baz|CONFIG SET timeout 10
CONFIG SET timeout 0|CONFIG SET tcp-keepalive 9|CONFIG SET tcp-keepalive -1
CONFIG SET tcp-keepalive x|CONFIG GET tcp-keepalive|CONFIG SET timeout -1|CONFIG SET timeout x
CONFIG RESETSTAT
CONFIG RESETSTAT a|CONFIG REWRITE|CONFIG FOO
CLIENT|CLIENT FOO|CLIENT GETNAME|CLIENT SETNAME|CLIENT SETNAME a|CLIENT GETNAME|CLIENT ID a
CLIENT LIST FOO|CLIENT LIST TYPE foo|CLIENT LIST TYPE|CLIENT LIST TYPE pubsub|CLIENT LIST ID abc
CLIENT LIST ID|CLIENT LIST ID 99999|CLIENT KILL|CLIENT KILL 1.2.3.4:1|CLIENT KILL ID abc
CLIENT KILL ID 0|CLIENT KILL ID 99999|CLIENT KILL ADDR 1.2.3.4:1|CLIENT KILL LADDR 1.2.3.4:1
CLIENT KILL TYPE foo|CLIENT KILL TYPE pubsub|CLIENT KILL USER foo|CLIENT KILL SKIPME foo
CLIENT KILL FOO bar|CLIENT KILL ID 1 ADDR|CLIENT NO-EVICT on|CLIENT NO-EVICT foo|CLIENT NO-EVICT
COMMAND COUNT a|COMMAND FOO|COMMAND INFO none|COMMAND DOCS none|COMMAND GETKEYS
COMMAND GETKEYS none|COMMAND GETKEYS ping|COMMAND GETKEYS get a|COMMAND GETKEYS mset a b c d
COMMAND GETKEYS ping a|COMMAND GETKEYS get a b|COMMAND LIST FILTERBY PATTERN get
COMMAND LIST FILTERBY MODULE foo|COMMAND LIST FILTERBY FOO foo|COMMAND LIST a
LATENCY|LATENCY FOO|LATENCY LATEST|LATENCY LATEST a|LATENCY HISTORY|LATENCY HISTORY command
LATENCY RESET|LATENCY RESET command|LATENCY GRAPH command|LATENCY GRAPH|LATENCY DOCTOR a
SLOWLOG|SLOWLOG FOO|SLOWLOG GET|SLOWLOG GET 5|SLOWLOG GET abc|SLOWLOG GET -2|SLOWLOG GET -1
SLOWLOG LEN|SLOWLOG LEN a|SLOWLOG RESET|SLOWLOG RESET a
ACL|ACL WHOAMI|ACL WHOAMI a|ACL FOO|ACL USERS|ACL USERS a|ACL CAT|ACL LIST|ACL LIST a|ACL GETUSER
ACL GETUSER default|ACL GETUSER nobody|MODULE|MODULE FOO|MODULE LIST|MODULE LIST a
HELLO 4|HELLO abc|HELLO 2 FOO|HELLO 2 SETNAME|HELLO 2 AUTH a|AUTH|AUTH a|AUTH a b c
SHUTDOWN FOO|SHUTDOWN ABORT|INFO nonsense|FOO|FOO a b
"#;

#[test]
fn a_node_says_what_redis_says() {
    let node = Embedded::small();
    let redis = Redis::start();
    let (mut ours, mut theirs) = (node.connect(), redis.connect());
    let mut different = Vec::new();
    for line in LINES.split(['\n', '|']).filter(|line| !line.is_empty()) {
        let (ours, theirs) = (said(&mut ours, line), said(&mut theirs, line));
        if ours != theirs {
            different.push(format!("{line}\n  memnode {ours:?}\n  redis   {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn help_lists_what_there_is() {
    // Intent: HELP of every family is an array of lines that names each of its words.
    let node = Embedded::small();
    let mut wire = node.connect();
    for (family, member) in [
        ("CLIENT", "SETNAME"),
        ("CONFIG", "RESETSTAT"),
        ("MEMORY", "USAGE"),
        ("LATENCY", "HISTOGRAM"),
        ("SLOWLOG", "LEN"),
        ("MODULE", "LIST"),
        ("ACL", "WHOAMI"),
        ("COMMAND", "GETKEYS"),
    ] {
        let help = said(&mut wire, &format!("{family} HELP"));
        let lines = help
            .lines()
            .next()
            .unwrap()
            .strip_prefix('*')
            .unwrap()
            .parse::<usize>();
        assert_eq!(lines, Ok(help.lines().count() - 1), "{help}");
        assert!(
            help.contains(&format!("+{member}\r\n")) && help.ends_with("help.\r\n"),
            "{help}"
        );
    }
}

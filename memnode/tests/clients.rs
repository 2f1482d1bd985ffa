//! Clients that other people wrote: the `redis` crate, the queries of redis_exporter, redis-cli
//! at a terminal.
//!
//! redis-py and the other modes of redis-cli are in `program.rs`. None of them is told that this is
//! not Redis.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use redis::{Commands, Connection, ExistenceCheck, RedisResult, SetExpiry, SetOptions};
use support::{Embedded, Program};

fn connected(node: &Embedded, protocol: &str) -> Connection {
    let url = format!("redis://{}/?protocol={protocol}", node.address);
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

#[test]
fn the_redis_crate_is_at_home() {
    // Intent: typed commands, pipelines, iterators and options of Rust's client, in both protocols.
    for protocol in ["resp2", "resp3"] {
        let node = Embedded::small();
        let mut redis = connected(&node, protocol);
        let block: Vec<u8> = (0..4128u32).map(|n| (n % 251) as u8).collect();
        redis.set::<_, _, ()>("block", &block).unwrap();
        assert_eq!(redis.get::<_, Vec<u8>>("block").unwrap(), block);
        assert_eq!(redis.get::<_, Option<String>>("none").unwrap(), None);
        assert_eq!(redis.strlen::<_, u64>("block").unwrap(), 4128);
        redis.mset::<_, _, ()>(&[("a", 1), ("b", 2)]).unwrap();
        let both: (i64, Option<i64>, i64) = redis.mget(&["a", "none", "b"]).unwrap();
        assert_eq!(both, (1, None, 2));
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::EX(100));
        let set = |redis: &mut Connection, key: &str| -> Option<String> {
            redis.set_options(key, "v", options.clone()).unwrap()
        };
        assert_eq!(set(&mut redis, "fresh"), Some("OK".to_string()));
        assert_eq!(set(&mut redis, "fresh"), None);
        assert_eq!(redis.ttl::<_, i64>("fresh").unwrap(), 100);
        assert!(redis.persist::<_, bool>("fresh").unwrap());
        assert!(redis.exists::<_, bool>("fresh").unwrap());
        assert_eq!(redis.get_del::<_, String>("fresh").unwrap(), "v");
        assert_eq!(redis.del::<_, u32>(&["a", "none"]).unwrap(), 1);
        let keys: BTreeSet<String> = redis.scan().unwrap().map(Result::unwrap).collect();
        assert_eq!(keys, ["b", "block"].map(String::from).into());
        let unknown: RedisResult<i64> = redis.incr("b", 1);
        assert!(
            unknown.unwrap_err().to_string().contains("INCR"),
            "{protocol}"
        );
        assert_eq!(redis.get::<_, i64>("b").unwrap(), 2, "after a refusal");
    }
}

#[test]
fn pipelines_of_the_redis_crate_come_back_in_order() {
    let node = Embedded::small();
    for protocol in ["resp2", "resp3"] {
        let mut redis = connected(&node, protocol);
        let mut pipe = redis::pipe();
        for n in 0..500u32 {
            pipe.set(n, vec![n as u8; 5000]).ignore().get(n).exists(n);
        }
        let answers: Vec<redis::Value> = pipe.query(&mut redis).unwrap();
        assert_eq!(answers.len(), 1000);
        for (n, pair) in (0..500u32).zip(answers.chunks(2)) {
            let value: Vec<u8> = redis::from_redis_value(pair[0].clone()).unwrap();
            assert!(value == vec![n as u8; 5000], "{n}");
        }
        let info: redis::InfoDict = redis::cmd("INFO").query(&mut redis).unwrap();
        assert!(info.get::<u64>("keyspace_hits").unwrap() >= 500);
        let name = redis::cmd("CLIENT")
            .arg("GETNAME")
            .query::<Option<String>>(&mut redis);
        assert_eq!(name.unwrap(), None);
    }
}

/// The lines of INFO.
fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .collect()
}

/// Asks as the exporter does: words in a row.
fn ask(redis: &mut Connection, line: &str) -> RedisResult<redis::Value> {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query(redis)
}

/// The same, understood as some type.
fn asked<T: redis::FromRedisValue>(redis: &mut Connection, line: &str) -> T {
    redis::from_redis_value(ask(redis, line).unwrap()).unwrap()
}

/// A node and a connection that calls itself as the exporter does.
fn scraped() -> (Embedded, Connection) {
    let node = Embedded::small();
    let mut redis = connected(&node, "resp2");
    redis.set::<_, _, ()>("queue:1", "3.5").unwrap();
    redis.set_ex::<_, _, ()>("queue:2", "x", 100).unwrap();
    let named = ask(&mut redis, "CLIENT SETNAME redis_exporter");
    assert_eq!(named.unwrap(), redis::Value::Okay);
    (node, redis)
}

/// Fields of INFO that become metrics.
const NUMBERS: &str = "uptime_in_seconds process_id connected_clients blocked_clients used_memory \
    used_memory_rss used_memory_peak maxmemory mem_fragmentation_ratio loading \
    total_connections_received total_commands_processed instantaneous_ops_per_sec \
    rejected_connections expired_keys evicted_keys keyspace_hits keyspace_misses used_cpu_sys \
    used_cpu_user cluster_enabled connected_slaves";

#[test]
fn redis_exporter_finds_the_figures_of_the_server() {
    // Intent: the queries of one scrape, and the fields its metrics are made of.
    let (_node, mut redis) = scraped();
    let settings: BTreeMap<String, String> = asked(&mut redis, "CONFIG GET *");
    for name in ["maxmemory", "maxclients", "timeout", "databases"] {
        assert!(settings[name].parse::<u64>().is_ok(), "{name}");
    }
    let info: String = asked(&mut redis, "INFO ALL");
    let fields = fields(&info);
    for name in NUMBERS.split_whitespace() {
        let value = fields
            .get(name)
            .unwrap_or_else(|| panic!("INFO without {name}:\n{info}"));
        assert!(value.parse::<f64>().is_ok(), "{name}:{value}");
    }
    let mut version = fields["redis_version"].split('.');
    assert!(version.all(|part| part.parse::<u32>().is_ok()));
    assert_eq!(fields["role"], "master");
    let keys = fields["db0"];
    assert!(keys.starts_with("keys=2,expires=1,avg_ttl="), "{keys}");
    let calls = fields["cmdstat_set"];
    assert!(calls.starts_with("calls=1,usec="), "{calls}");
    let each = calls
        .split(',')
        .find_map(|field| field.strip_prefix("usec_per_call="));
    assert!(each.unwrap().parse::<f64>().unwrap() > 0.0, "{calls}");
    let times = fields["latency_percentiles_usec_set"].split(',');
    let times = times.map(|field| field.split_once('=').unwrap());
    let times: Vec<_> = times
        .map(|(name, us)| (name, us.parse::<f64>().unwrap()))
        .collect();
    let names: Vec<_> = times.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["p50", "p99", "p99.9"]);
    assert!(times.is_sorted_by(|one, next| one.1 <= next.1) && times[0].1 > 0.0);
    for nothing in [
        "LATENCY LATEST",
        "LATENCY HISTOGRAM",
        "SLOWLOG GET 1",
        "SLOWLOG GET 10",
    ] {
        let answer = ask(&mut redis, nothing).unwrap();
        assert_eq!(answer, redis::Value::Array(vec![]), "{nothing}");
    }
    assert_eq!(asked::<u64>(&mut redis, "SLOWLOG LEN"), 0);
    let clients: String = asked(&mut redis, "CLIENT LIST");
    for word in " addr=127.0.0.1:| name=redis_exporter| age=| idle=| db=0".split('|') {
        assert!(clients.contains(word), "{word} in {clients}");
    }
}

#[test]
fn redis_exporter_finds_the_keys_it_was_told_to_watch() {
    // Intent: its --check-keys: a walk by pattern, then type, size and value of each.
    let (_node, mut redis) = scraped();
    assert_eq!(ask(&mut redis, "SELECT 0").unwrap(), redis::Value::Okay);
    let mut found: Vec<String> = Vec::new();
    let mut cursor = "0".to_string();
    loop {
        let line = format!("SCAN {cursor} MATCH queue:* COUNT 1000");
        let (next, keys): (String, Vec<String>) = asked(&mut redis, &line);
        found.extend(keys);
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    found.sort();
    assert_eq!(found, ["queue:1", "queue:2"]);
    assert_eq!(asked::<String>(&mut redis, "TYPE queue:1"), "string");
    // It tries the other meaning of a string first and takes the refusal for an answer.
    assert!(ask(&mut redis, "PFCOUNT queue:1").is_err());
    assert_eq!(asked::<u64>(&mut redis, "STRLEN queue:1"), 3);
    assert_eq!(asked::<f64>(&mut redis, "GET queue:1"), 3.5);
}

#[test]
fn a_person_talks_to_it_through_redis_cli() {
    // Intent: the interactive mode, which asks for the documents of all commands first.
    let node = Program::start(&["--memory", "32MiB"]);
    let line = format!("redis-cli -p {}", node.address.port());
    let mut terminal = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .env("TERM", "dumb")
        .env("HOME", std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let typed =
        "set k \"a \\x41 value\"\nget k\nhelp getex\nobject freq k\nhello 3\nget none\nquit\n";
    terminal
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    let output = terminal.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for words in [
        "OK",
        "\"a A value\"",
        "GETEX",
        "summary:",
        "ERR unknown command",
        "(nil)",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

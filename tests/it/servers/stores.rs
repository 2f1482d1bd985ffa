//! Redis, LMDB and RocksDB: the same content hooked as native, after crashes and restarts.

use std::path::Path;

use harness::bed::Bed;
use harness::both_modes;
use harness::daemon::Daemon;
use harness::mode::Mode;
use harness::run::{assert_same, run, wait_until};
use harness::script::script;
use harness::stage::tool;
use harness::warm::{run_warm, scratch};
use rustix::process::Signal;

both_modes!(redis, lmdb, rocksdb);

/// Writes that make Redis rewrite its log while it goes on writing.
const REDIS_LOAD: &str = "
for n = 1, 3000 do redis.call('set', 'k' .. n, string.rep(n, 40)) end
for n = 1, 3000 do redis.call('hset', 'h' .. n % 50, n, n * n) end
for n = 1, 3000, 3 do redis.call('del', 'k' .. n) end
for n = 1, 500 do redis.call('rpush', 'list', n) end
return redis.status_reply('done')";

fn redis(mode: Mode) {
    let bed = Bed::new("redis", mode);
    let dir = bed.dir_of("data");
    let socket = bed.join("sock").display().to_string();
    let ask = |words: &[&str]| {
        let program = tool("redis-cli").display().to_string();
        let all = [&[program.as_str(), "-s", &socket], words].concat();
        run(&mut bed.native(bed.path(), &all))
            .text()
            .trim()
            .to_string()
    };
    let server = tool("redis-server").display().to_string();
    let settings = "--port 0 --appendonly yes --appendfsync always --enable-debug-command yes";
    let mut words = vec![server.as_str(), "--unixsocket", &socket];
    words.extend(settings.split(' '));
    let mut want = None;
    for life in ["first", "second", "third"] {
        let hooked = bed.hooked();
        let command = hooked.command(&dir, &words);
        let daemon = Daemon::start(&bed, command, || ask(&["ping"]) == "PONG");
        let found = ask(&["debug", "digest"]);
        assert!(
            want.is_none() || want == Some(found),
            "{life}: other content"
        );
        assert_eq!(ask(&["eval", REDIS_LOAD, "0"]), "done");
        ask(&["bgsave"]);
        wait_until("the snapshot is written", || {
            ask(&["info", "persistence"]).contains("rdb_bgsave_in_progress:0")
        });
        ask(&["bgrewriteaof"]);
        assert_eq!(ask(&["eval", REDIS_LOAD, "0"]), "done");
        wait_until("the log is rewritten", || {
            ask(&["info", "persistence"]).contains("aof_rewrite_in_progress:0")
        });
        want = Some(ask(&["debug", "digest"]));
        match life {
            "second" => daemon.crash(),
            _ => assert!(daemon.stop(Signal::TERM).success()),
        }
        assert!(hooked.final_stats().count("writes") > 0, "{life}");
    }
    let text = dir.join("appendonlydir/appendonly.aof.manifest");
    let check = tool("redis-check-aof").display().to_string();
    run(&mut bed.native(&dir, &[Path::new(&check), &text])).must_pass();
}

/// Several processes write and read one environment in turns; the script compares with a model.
fn lmdb(mode: Mode) {
    let bed = Bed::new("lmdb", mode);
    let driver = script(&bed, "lmdb_driver.py");
    let words = [Path::new("/usr/bin/python3"), &driver];
    let native = run(&mut bed.native(&scratch(&bed, "native"), &words)).must_pass();
    let hooked = bed.hooked();
    let outcome = run_warm(&bed, &hooked, &scratch(&bed, "hooked"), &words);
    assert_same(&native, &outcome, "lmdb");
    hooked.final_stats().must_have_hits();
}

/// Fills, overwrites, compacts and reads by the seed; every block's checksum is looked at.
fn rocksdb(mode: Mode) {
    let bed = Bed::new("rocksdb", mode);
    let dump = |dir: &Path| {
        let ldb = tool("ldb").display().to_string();
        let words = [ldb.as_str(), "--db=db", "dump", "--hex"];
        run(&mut bed.native(dir, &words)).must_pass().text()
    };
    let bench = tool("db_bench").display().to_string();
    let flags = "--db=db --seed=5 --num=30000 --value_size=200 --write_buffer_size=1048576 \
        --target_file_size_base=1048576 --cache_size=65536 --verify_checksum=true --threads=1 \
        --benchmarks=fillrandom,overwrite,readrandom,compact,readrandom,seekrandom,readrandom";
    // Its tables have to be left alone for a moment before anybody can vouch for them.
    let again = "--db=db --seed=6 --num=30000 --cache_size=65536 --verify_checksum=true \
        --threads=1 --use_existing_db=1 --benchmarks=readrandom,seekrandom,readrandom";
    let script = format!("{bench} {flags} && sleep 3 && {bench} {again}");
    let words = ["/bin/sh", "-c", script.as_str()];
    let here = scratch(&bed, "native");
    run(&mut bed.native(&here, &words)).must_pass();
    let there = scratch(&bed, "hooked");
    let hooked = bed.hooked();
    run_warm(&bed, &hooked, &there, &words).must_pass();
    let (native, hooked_dump) = (dump(&here), dump(&there));
    assert!(native.lines().count() > 10_000, "{}", native.len());
    assert!(native == hooked_dump, "rocksdb: other content");
    let stats = hooked.final_stats();
    assert!(stats.hits() > 500, "{}", stats.all);
}

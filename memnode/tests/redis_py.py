"""redis-py against a running node: `redis_py.py PORT`. Exits 0 when every check held."""

import sys

import redis

PORT = int(sys.argv[1])


def client(**options):
    return redis.Redis(host="127.0.0.1", port=PORT, socket_timeout=30, **options)


def strings(r):
    assert r.ping()
    assert r.set("k", b"v\r\n\0") is True
    assert r.get("k") == b"v\r\n\0"
    assert r["k"] == b"v\r\n\0"
    assert r.get("none") is None
    assert r.set("k", "w", nx=True) is None
    assert r.set("none", "w", xx=True) is None
    assert r.set("k", "w", get=True) == b"v\r\n\0"
    assert r.set("k", "x", ex=100) and 0 < r.ttl("k") <= 100
    assert r.set("k", "y", keepttl=True) and 0 < r.ttl("k") <= 100
    assert r.set("k", "y", px=100_000) and 0 < r.pttl("k") <= 100_000
    assert r.setnx("fresh", 1) and not r.setnx("fresh", 2)
    assert r.setex("k", 100, "z") and r.psetex("k", 100_000, "z")
    assert r.getset("k", "q") == b"z"
    assert r.getex("k", ex=50) == b"q" and 0 < r.ttl("k") <= 50
    assert r.getex("k", persist=True) == b"q" and r.ttl("k") == -1
    assert r.getdel("fresh") == b"1" and r.get("fresh") is None
    assert r.mset({"a": 1, "b": b"\xff" * 5000})
    assert r.mget("a", "none", "b") == [b"1", None, b"\xff" * 5000]
    assert r.strlen("b") == 5000
    assert r.echo("hello") == b"hello"
    try:
        r.incr("a")
        raise AssertionError("INCR is not a command of a node")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error


def keys(r):
    r.flushall()
    assert r.dbsize() == 0 and r.randomkey() is None
    names = {f"key:{n}".encode() for n in range(500)}
    for name in names:
        r.set(name, name)
    assert r.dbsize() == 500
    assert set(r.scan_iter()) == names
    assert set(r.scan_iter(match="key:1?", count=7)) == {f"key:1{n}".encode() for n in range(10)}
    assert set(r.keys("key:49*")) == {b"key:49"} | {f"key:49{n}".encode() for n in range(10)}
    assert r.randomkey() in names
    assert r.exists("key:1", "key:2", "none") == 2
    assert r.touch("key:1", "none") == 1
    assert r.type("key:1") == b"string" and r.type("none") == b"none"
    assert r.expire("key:1", 100) and 0 < r.ttl("key:1") <= 100
    assert r.persist("key:1") and r.ttl("key:1") == -1
    assert r.pexpire("key:1", 100_000) and r.pttl("key:1") > 0
    assert r.expireat("key:1", 4102444800) and r.pexpireat("key:1", 4102444800000)
    assert r.delete("key:1", "none") == 1 and r.unlink("key:2") == 1
    assert r.memory_usage("key:3") > 0
    assert r.memory_stats()["keys.count"] == 498
    assert r.flushdb() and r.dbsize() == 0


def server(r):
    info = r.info()
    assert info["redis_version"] == "7.0.0" and info["maxmemory"] > 0
    assert "keyspace_hits" in r.info("stats")
    assert r.info("commandstats")["cmdstat_get"]["calls"] > 0
    assert r.config_get("maxmemory*")["maxmemory"] == str(info["maxmemory"])
    assert r.config_set("timeout", 1000) and r.config_resetstat()
    assert r.client_setname("tester") and r.client_getname() == "tester"
    own = r.client_id()
    assert any(c["id"] == str(own) and c["name"] == "tester" for c in r.client_list())
    assert r.client_info()["id"] == own
    other = client()
    other.ping()
    assert r.client_kill_filter(_id=str(other.client_id())) == 1
    try:
        other.ping()  # the first word after that may be lost
    except redis.ConnectionError:
        pass
    assert other.ping()  # it comes again
    assert r.time()[0] > 1_600_000_000
    assert r.command_count() == len(r.command()) > 40
    assert r.command_getkeys("MSET", "a", 1, "b", 2) in (["a", "b"], [b"a", b"b"])
    assert r.slowlog_get() == [] and r.slowlog_len() == 0
    assert r.execute_command("LATENCY LATEST") == [] and r.acl_whoami() in ("default", b"default")


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for n in range(1000):
        pipe.set(f"p:{n}", str(n) * 500)
        pipe.get(f"p:{n}")
    answers = pipe.execute()
    assert answers[0::2] == [True] * 1000
    assert answers[1::2] == [(str(n) * 500).encode() for n in range(1000)]
    assert client(decode_responses=True).get("p:1") == "1" * 500
    for wrong in ("reset",):
        assert r.execute_command(wrong) in (b"RESET", "RESET")


connection = client(single_connection_client=True)
for part in (strings, keys, server, pipelines):
    part(connection)
    print("ok", part.__name__)

"""Real work through redis-py: redis_py.py <port> <RESP version>. Prints `all well` or fails."""

import sys
import threading
import time

import redis

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])


def connect(**options):
    options.setdefault("decode_responses", True)
    return redis.Redis(port=PORT, protocol=PROTOCOL, socket_timeout=10, **options)


def strings(r):
    assert r.set("s", "v", ex=100) and r.get("s") == "v" and 0 < r.ttl("s") <= 100
    assert r.set("s", "w", nx=True) is None
    assert r.set("s", "w", xx=True, get=True) == "v"
    assert r.incrby("n", 5) == 5 and r.incrbyfloat("n", 0.5) == 5.5
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "nothing") == ["1", "2", None]
    assert r.append("s", "xyz") == 4 and r.getrange("s", 1, 2) == "xy" and r.strlen("s") == 4
    assert r.getdel("s") == "wxyz" and not r.exists("s")
    assert r.setbit("bits", 7, 1) == 0 and r.bitcount("bits") == 1
    assert r.pfadd("hll", *range(100)) == 1 and 95 <= r.pfcount("hll") <= 105
    binary = connect(decode_responses=False)
    value = bytes(range(256)) * 5000
    assert binary.set(b"\x00\xff\r\n", value) and binary.get(b"\x00\xff\r\n") == value


def errors(r):
    r.set("text", "abc")
    for wrong in (lambda: r.incr("text"), lambda: r.lpush("text", 1), lambda: r.execute_command("NOSUCH")):
        try:
            wrong()
        except redis.ResponseError:
            continue
        raise AssertionError("no error")


def pipelines(r):
    with r.pipeline(transaction=False) as p:
        for n in range(5000):
            p.set(f"p:{n}", n)
        for n in range(5000):
            p.get(f"p:{n}")
        replies = p.execute()
    assert replies[:5000] == [True] * 5000 and replies[5000:] == [str(n) for n in range(5000)]


def transactions(r):
    with r.pipeline() as p:
        p.set("t", 1).incr("t").lpush("t", "wrong").get("t")
        replies = p.execute(raise_on_error=False)
    assert replies[:2] == [True, 2] and isinstance(replies[2], redis.ResponseError) and replies[3] == "2"
    other = connect()
    with r.pipeline() as p:
        p.watch("t")
        other.set("t", "changed")
        p.multi()
        p.set("t", "mine")
        try:
            p.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("a watched key changed unnoticed")
    assert r.get("t") == "changed"

    def double(p):
        value = int(p.get("count"))
        p.multi()
        p.set("count", value * 2)

    r.set("count", 21)
    assert r.transaction(double, "count") == [True] and r.get("count") == "42"


def lists(r):
    assert r.rpush("l", *range(1000)) == 1000 and r.lrange("l", 0, 2) == ["0", "1", "2"]
    assert r.linsert("l", "before", "1", "x") == 1001 and r.lpos("l", "x") == 1
    assert r.lmove("l", "m", "LEFT", "RIGHT") == "0" and r.lpop("m") == "0"
    assert r.ltrim("l", 0, 9) and r.llen("l") == 10 and r.lmpop(2, "no", "l", direction="LEFT", count=2) == ["l", ["x", "1"]]


def sets(r):
    assert r.sadd("s1", *"abcd") == 4 and r.sadd("s2", *"cdef") == 4
    assert r.sinter("s1", "s2") == {"c", "d"} and r.sunion("s1", "s2") == set("abcdef")
    assert r.sdiff("s1", "s2") == {"a", "b"} and r.sintercard(2, ["s1", "s2"]) == 2
    assert r.smismember("s1", ["a", "z"]) == [1, 0] and r.spop("s1") in "abcd" and r.scard("s1") == 3


def hashes(r):
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("h") == {"a": "1", "b": "2"}
    assert r.hincrby("h", "a", 4) == 5 and r.hmget("h", ["a", "z"]) == ["5", None] and r.hdel("h", "a") == 1
    assert r.hexpire("h", 100, "b") == [1] and 0 < r.httl("h", "b")[0] <= 100 and r.hpersist("h", "b") == [1]


def sorted_sets(r):
    assert r.zadd("z", {"a": 1, "b": 2.5, "c": 3}) == 3 and r.zscore("z", "b") == 2.5
    assert [tuple(p) for p in r.zrange("z", 0, -1, withscores=True)] == [("a", 1.0), ("b", 2.5), ("c", 3.0)]
    assert r.zrange("z", "(1", "+inf", byscore=True) == ["b", "c"] and r.zrank("z", "c") == 2
    assert r.zincrby("z", 10, "a") == 11.0 and r.zrevrange("z", 0, 0) == ["a"]
    assert r.zunionstore("u", ["z", "z"], aggregate="SUM") == 3 and r.zscore("u", "c") == 6.0
    assert r.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
    assert 166 < r.geodist("geo", "Palermo", "Catania", unit="km") < 167
    assert r.geosearch("geo", longitude=15, latitude=37, radius=100, unit="km") == ["Catania"]


def scans(r):
    r.flushdb()
    with r.pipeline(transaction=False) as p:
        for n in range(3000):
            p.set(f"k:{n}", n).sadd("big-set", n).hset("big-hash", n, n).zadd("big-zset", {n: n})
        p.execute()
    assert len(set(r.scan_iter(count=100))) == 3003
    assert len(set(r.scan_iter(match="k:1*"))) == 1111
    assert set(r.scan_iter(_type="hash")) == {"big-hash"}
    assert len(set(r.sscan_iter("big-set"))) == 3000
    assert len(dict(r.hscan_iter("big-hash"))) == 3000
    assert len(dict(r.zscan_iter("big-zset"))) == 3000
    assert r.dbsize() == 3003 and len(r.keys("k:*")) == 3000


def blocking(r):
    def later():
        time.sleep(0.2)
        other = connect()
        other.rpush("queue", "job")
        other.zadd("prio", {"urgent": 1})

    thread = threading.Thread(target=later)
    thread.start()
    assert list(r.blpop(["nothing", "queue"], timeout=5)) == ["queue", "job"]
    assert [str(part) for part in r.bzpopmin("prio", timeout=5)[:2]] == ["prio", "urgent"]
    thread.join()
    started = time.monotonic()
    assert r.blpop("nothing", timeout=0.3) is None and 0.25 < time.monotonic() - started < 3


def publish_subscribe(r):
    with r.pubsub() as p:
        p.subscribe("news")
        p.psubscribe("n?ws*")
        kinds = [p.get_message(timeout=5)["type"] for _ in range(2)]
        assert kinds == ["subscribe", "psubscribe"]
        assert r.publish("news", "hello") == 2
        got = [p.get_message(timeout=5) for _ in range(2)]
        assert {m["type"] for m in got} == {"message", "pmessage"} and all(m["data"] == "hello" for m in got)
        assert r.pubsub_numsub("news") == [("news", 1)] and r.pubsub_numpat() == 1
        r.config_set("notify-keyspace-events", "KEA")
        p.psubscribe("__keyevent@*__:expired")
        assert p.get_message(timeout=5)["type"] == "psubscribe"
        r.set("soon", 1, px=50)
        assert p.get_message(timeout=5)["data"] == "soon"
        r.config_set("notify-keyspace-events", "")


def soon(condition):
    # What a client is told of the changes of others is on its way by itself.
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline


def client_side_cache(r):
    if PROTOCOL != 3:
        return
    from redis.cache import CacheConfig

    cached = connect(cache_config=CacheConfig(max_size=100))
    cache = cached.get_cache()
    r.mset({"copied": 1, "other": 2})
    assert cached.get("copied") == "1" and cached.mget("copied", "other") == ["1", "2"] and cache.size == 2
    # Answered from the copy: the node counts no command.
    calls = lambda: r.info("commandstats")["cmdstat_get"]["calls"]
    before = calls()
    assert [cached.get("copied") for _ in range(10)] == ["1"] * 10 and calls() == before
    for n in range(50):
        r.set("copied", n)
        soon(lambda: cached.get("copied") == str(n))
    r.hset("fields", "f", "v")
    assert cached.hgetall("fields") == {"f": "v"} == cached.hgetall("fields")
    r.hset("fields", "f", "w")
    soon(lambda: cached.hgetall("fields") == {"f": "w"})
    r.flushall()
    soon(lambda: cached.get("copied") is None and cached.hgetall("fields") == {})
    cached.close()


def users(r):
    assert r.acl_setuser(
        "app", enabled=True, passwords=["+secret"], keys=["app:*"], channels=["news"], commands=["+@string", "-set", "+acl|whoami", "+client|setinfo"],
        selectors=[("+get", "%R~shared:*")],
    )
    found = r.acl_getuser("app")
    assert "on" in found["flags"] and found["channels"] in ("&news", ["&news"]), found
    assert r.acl_users() == ["app", "default"] and "string" in r.acl_cat() and "get" in r.acl_cat("string")
    assert r.acl_dryrun("app", "get", "app:1") == "OK" and "no permissions" in r.acl_dryrun("app", "set", "app:1", "v")
    app = connect(username="app", password="secret")
    assert app.acl_whoami() == "app" and app.get("app:1") is None and app.get("shared:1") is None
    for refused in (lambda: app.set("app:1", 1), lambda: app.get("other"), lambda: app.publish("news", 1)):
        try:
            refused()
        except redis.exceptions.NoPermissionError:
            continue
        raise AssertionError("no refusal")
    try:
        connect(username="app", password="wrong").ping()
    except redis.AuthenticationError:
        pass
    else:
        raise AssertionError("a wrong password was taken")
    log = r.acl_log()
    assert [entry["reason"] for entry in log] == ["auth", "command", "key", "command"], log
    assert log[0]["username"] == "app" and log[2]["object"] == "other" and r.acl_log_reset()
    assert len(r.acl_genpass()) == 64 and r.acl_list()[0].startswith("user app on ")
    assert r.acl_deluser("app") == 1


def read(streams):
    """Entries by stream, as both protocols have them."""
    pairs = streams.items() if isinstance(streams, dict) else streams
    flat = lambda entries: entries[0] if PROTOCOL == 3 and entries and isinstance(entries[0], list) else entries
    return {name: [(id, fields) for id, fields in flat(entries)] for name, entries in pairs}


def streams(r):
    ids = [r.xadd("log", {"n": n, "text": f"entry {n}"}) for n in range(300)]
    assert ids == sorted(ids, key=lambda id: tuple(map(int, id.split("-")))) and r.xlen("log") == 300
    assert r.type("log") == "stream" and r.object("encoding", "log") == "stream"
    assert r.xrange("log", count=2) == [(ids[n], {"n": str(n), "text": f"entry {n}"}) for n in (0, 1)]
    assert [id for id, _ in r.xrange("log", min="(" + ids[297])] == ids[298:]
    assert [id for id, _ in r.xrevrange("log", count=3)] == ids[:-4:-1]
    assert r.xdel("log", ids[0], ids[1], "1-1") == 2 and r.xtrim("log", maxlen=100, approximate=False) == 198
    assert r.xtrim("log", minid=ids[250], approximate=False) == 50 and r.xlen("log") == 50
    assert r.xadd("log", {"n": 300}, maxlen=10, approximate=False) and r.xlen("log") == 10
    assert r.xadd("absent", {"n": 1}, nomkstream=True) is None
    r.xadd("other", {"a": "b"}, id="5-1")
    found = read(r.xread({"log": ids[298], "other": "0"}))
    assert len(found["log"]) == 2 and found["other"] == [("5-1", {"a": "b"})]
    info = r.xinfo_stream("log")
    assert info["length"] == 10 and info["entries-added"] == 301 and info["last-entry"][1] == {"n": "300"}
    waiting = threading.Timer(0.05, lambda: connect().xadd("other", {"c": "d"}, id="6-1"))
    waiting.start()
    assert read(r.xread({"other": "$"}, block=5000)) == {"other": [("6-1", {"c": "d"})]}
    waiting.join()
    assert not r.xread({"other": "$"}, block=20)


def stream_groups(r):
    r.delete("jobs")
    assert r.xgroup_create("jobs", "workers", id="0", mkstream=True)
    try:
        r.xgroup_create("jobs", "workers")
        raise AssertionError("a group twice")
    except redis.ResponseError as error:
        assert "already exists" in str(error)
    ids = [r.xadd("jobs", {"job": n}) for n in range(100)]
    # Four workers share the jobs; one of them dies with what it was given.
    done = []

    def work(name):
        mine = connect()
        while found := read(mine.xreadgroup("workers", name, {"jobs": ">"}, count=7) or {}):
            for id, fields in found["jobs"]:
                if name != "lazy":
                    done.append(int(fields["job"]))
                    assert mine.xack("jobs", "workers", id) == 1
            if name == "lazy":
                return

    work("lazy")
    workers = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    pending = r.xpending("jobs", "workers")
    assert pending["pending"] == 7 == len(set(range(100)) - set(done)) and pending["consumers"][0]["name"] == "lazy"
    assert len(r.xpending_range("jobs", "workers", "-", "+", 100)) == 7
    history = read(r.xreadgroup("workers", "lazy", {"jobs": "0"}))["jobs"]
    assert len(history) == 7 and r.xclaim("jobs", "workers", "a", 0, [history[0][0]])[0] == history[0]
    r.xdel("jobs", history[1][0])
    cursor, claimed, deleted = r.xautoclaim("jobs", "workers", "b", 0, "0-0", count=50)
    assert cursor == "0-0" and len(claimed) == 6 and deleted == [history[1][0]]
    assert r.xack("jobs", "workers", *ids) == 6
    group = r.xinfo_groups("jobs")[0]
    assert (group["consumers"], group["pending"], group["lag"]) == (4, 0, 0) or PROTOCOL == 3
    assert {c["name"] for c in r.xinfo_consumers("jobs", "workers")} == {"lazy", "a", "b", "c"}
    assert r.xinfo_stream("jobs", full=True)["groups"]
    assert r.xgroup_delconsumer("jobs", "workers", "lazy") == 0 and r.xgroup_setid("jobs", "workers", "0")
    assert r.xgroup_destroy("jobs", "workers") == 1


def refused(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("no error")


def scripts(r):
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert add(keys=["total"], args=[5]) == 5 and add(keys=["total"], args=[6]) == 11
    assert r.script_exists(add.sha, "0" * 40) == [True, False]
    with r.pipeline() as p:
        p.set("total", 100)
        add(keys=["total"], args=[1], client=p)
        p.get("total")
        assert p.execute() == [True, 101, "101"]
    assert r.script_flush() and r.script_exists(add.sha) == [False]
    refused(redis.exceptions.NoScriptError, lambda: r.evalsha(add.sha, 1, "total", 1))
    assert add(keys=["total"], args=[9]) == 110, "loaded anew"
    assert r.eval("return {1, 'two', {3, false}, {ok = 'fine'}, 3.99}", 0) == [1, "two", [3, None], "fine", 3]
    assert "WRONGTYPE" in refused(redis.ResponseError, lambda: r.eval("return redis.call('LPUSH', KEYS[1], 1)", 1, "total"))
    assert "script: " in refused(redis.ResponseError, lambda: r.eval("error('mine')", 0))
    refused(redis.ResponseError, lambda: r.eval_ro("return redis.call('SET', KEYS[1], 1)", 1, "total"))
    sorting = r.register_script("""
        local members = redis.call('SMEMBERS', KEYS[1])
        table.sort(members)
        return cjson.encode(members)""")
    r.sadd("letters", *"dbca")
    assert sorting(keys=["letters"]) == '["a","b","c","d"]'


def functions(r):
    code = """#!lua name=counting
        local function count(keys, args) return redis.call('INCRBY', keys[1], args[1] or 1) end
        redis.register_function('count', count)
        redis.register_function{function_name='peek', flags={'no-writes'}, description='Looks only.',
                                callback=function(keys) return redis.call('GET', keys[1]) end}"""
    assert r.function_load(code) == "counting"
    assert "already exists" in refused(redis.ResponseError, lambda: r.function_load(code))
    assert r.function_load(code, replace=True) == "counting"
    assert r.fcall("count", 1, "counted", 4) == 4 and r.fcall_ro("peek", 1, "counted") == "4"
    refused(redis.ResponseError, lambda: r.fcall_ro("count", 1, "counted"))
    listed = r.function_list(library="count*", withcode=True)[0]
    listed = listed if isinstance(listed, dict) else dict(zip(listed[::2], listed[1::2]))
    assert listed["library_name"] == "counting" and listed["library_code"] == code and len(listed["functions"]) == 2
    dump = connect(decode_responses=False).function_dump()
    assert r.function_flush() and r.function_list() == []
    assert r.function_restore(dump) and r.fcall("count", 1, "counted") == 5
    assert r.function_delete("counting")
    assert "not found" in refused(redis.ResponseError, lambda: r.fcall("count", 1, "counted"))


def locks(r):
    # Locks let go, extend and are taken over by scripts.
    mine, other = r.lock("lock", timeout=100), connect().lock("lock", timeout=100)
    assert mine.acquire() and not other.acquire(blocking=False) and mine.owned() and not other.owned()
    assert mine.extend(50) and 100_000 < r.pttl("lock") <= 150_000 and mine.reacquire() and r.pttl("lock") <= 100_000
    refused(redis.exceptions.LockError, other.release)
    mine.release()
    assert other.acquire(blocking=False) and mine.locked()
    r.set("lock", "stolen")
    refused(redis.exceptions.LockNotOwnedError, other.release)
    r.delete("lock")
    short = r.lock("lock", timeout=0.05)
    assert short.acquire()
    soon(lambda: not short.locked())
    refused(redis.exceptions.LockNotOwnedError, short.release)
    r.set("guarded", 0)

    def add():
        client = connect()
        for _ in range(20):
            with client.lock("lock", timeout=60, sleep=0.001):
                client.set("guarded", int(client.get("guarded")) + 1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert r.get("guarded") == "80"


def server(r):
    info = r.info()
    assert info["redis_version"] and info["tcp_port"] == PORT and r.ping() and r.echo("x") == "x"
    assert r.client_setname("tester") and r.client_getname() == "tester"
    assert any(c["name"] == "tester" for c in r.client_list())
    assert r.config_get("maxmemory*")["maxmemory"] == "0" and r.command_count() > 200
    assert r.object("encoding", "big-hash") == "hashtable" and r.memory_usage("big-hash") > 1000
    assert r.time()[0] > 1_600_000_000 and isinstance(r.slowlog_get(), list)


def main():
    r = connect()
    r.flushall()
    if PROTOCOL == 3:
        assert r.execute_command("HELLO")["proto"] == 3
    for part in (strings, errors, pipelines, transactions, lists, sets, hashes, sorted_sets, scans, blocking,
                 streams, stream_groups, publish_subscribe, users, scripts, functions, locks, server, client_side_cache):
        try:
            part(r)
        except BaseException:
            print(f"in {part.__name__}:", file=sys.stderr)
            raise
    print("all well")


main()

// Real work through ioredis: ioredis.mjs <port> <folder of ioredis>. Prints `all well` or fails.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [port, folder] = process.argv.slice(2);
const Redis = createRequire(import.meta.url)(folder);
const connect = (options) => new Redis(Number(port), "127.0.0.1", { maxRetriesPerRequest: 1, ...options });
const redis = connect();
const other = connect();

async function strings() {
  assert.equal(await redis.set("s", "v", "EX", 100, "NX"), "OK");
  assert.equal(await redis.get("s"), "v");
  assert.equal(await redis.incrby("n", 41), 41);
  assert.deepEqual(await redis.mget("s", "n", "nothing"), ["v", "41", null]);
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, n) => n % 256));
  await redis.set("binary", bytes);
  assert.ok(bytes.equals(await redis.getBuffer("binary")));
  await assert.rejects(redis.lpush("s", 1), /WRONGTYPE/);
}

async function pipelines() {
  const pipeline = redis.pipeline();
  for (let n = 0; n < 2000; n++) pipeline.set(`p:${n}`, n).get(`p:${n}`);
  const replies = await pipeline.exec();
  assert.equal(replies.length, 4000);
  replies.forEach(([error, value], n) => {
    assert.equal(error, null);
    assert.equal(value, n % 2 ? String((n - 1) / 2) : "OK");
  });
  // Without a pipeline: many at once on one connection.
  const values = await Promise.all(Array.from({ length: 2000 }, (_, n) => redis.get(`p:${n}`)));
  assert.deepEqual(values, Array.from({ length: 2000 }, (_, n) => String(n)));
}

async function transactions() {
  assert.deepEqual(await redis.multi().set("t", 1).incr("t").exec(), [[null, "OK"], [null, 2]]);
  await redis.watch("t");
  await other.set("t", "changed");
  assert.equal(await redis.multi().set("t", "mine").exec(), null);
  await assert.rejects(redis.multi().set("t").exec(), /EXECABORT|wrong number/);
}

async function collections() {
  assert.equal(await redis.rpush("l", ...Array(200).keys()), 200);
  assert.deepEqual(await redis.lrange("l", -2, -1), ["198", "199"]);
  assert.equal(await redis.hset("h", { a: 1, b: 2 }), 2);
  assert.deepEqual(await redis.hgetall("h"), { a: "1", b: "2" });
  assert.equal(await redis.zadd("z", 1, "a", 2.5, "b"), 2);
  assert.deepEqual(await redis.zrange("z", 0, -1, "WITHSCORES"), ["a", "1", "b", "2.5"]);
  assert.equal(await redis.sadd("set", 1, 2, 3), 3);
  assert.deepEqual((await redis.smembers("set")).sort(), ["1", "2", "3"]);
}

async function scans() {
  const found = new Set();
  for await (const keys of redis.scanStream({ match: "p:*", count: 100 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 2000);
  const fields = [];
  for await (const part of redis.hscanStream("h")) fields.push(...part);
  assert.deepEqual(fields.sort(), ["1", "2", "a", "b"]);
}

async function blocking() {
  const waiter = connect();
  const popped = waiter.blpop("queue", 5);
  setTimeout(() => other.rpush("queue", "job"), 100);
  assert.deepEqual(await popped, ["queue", "job"]);
  assert.equal(await waiter.brpop("queue", 0.2), null);
  await waiter.quit();
}

async function publishSubscribe() {
  const listener = connect();
  const heard = new Promise((resolve) => listener.on("pmessage", (...message) => resolve(message)));
  assert.equal(await listener.psubscribe("n?ws"), 1);
  assert.equal(await redis.publish("news", "hello"), 1);
  assert.deepEqual(await heard, ["n?ws", "news", "hello"]);
  assert.equal(await listener.punsubscribe(), 0);
  await listener.quit();
}

async function databases() {
  const third = connect({ db: 3, keyPrefix: "app:" });
  await third.set("k", 1);
  await redis.select(3);
  assert.deepEqual(await redis.keys("*"), ["app:k"]);
  await redis.flushdb();
  await redis.select(0);
  await third.quit();
}

async function scripts() {
  redis.defineCommand("raise", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])" });
  redis.defineCommand("echoes", { lua: "return {#KEYS, ARGV, redis.call('GET', KEYS[1])}" });
  assert.equal(await redis.raise("raised", 2), 2);
  assert.deepEqual(await redis.echoes(2, "raised", "other{x}", "a", "b"), [2, ["a", "b"], "2"]);
  // Known by its name only: forgotten in between, it is sent whole.
  await redis.script("FLUSH");
  assert.equal(await redis.raise("raised", 3), 5);
  assert.deepEqual(await redis.pipeline().raise("raised", 1).get("raised").raise("raised", 1).exec(), [
    [null, 6],
    [null, "6"],
    [null, 7],
  ]);
  assert.deepEqual(await redis.multi().set("raised", 0).raise("raised", 4).exec(), [
    [null, "OK"],
    [null, 4],
  ]);
  await assert.rejects(redis.raise("s", 1), /not an integer/);
  const bytes = await redis.evalBuffer("return ARGV[1]", 0, Buffer.from([0, 255, 13, 10]));
  assert.deepEqual(bytes, Buffer.from([0, 255, 13, 10]));
  const library = "#!lua name=tour\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)";
  assert.equal(await redis.function("LOAD", "REPLACE", library), "tour");
  assert.equal(await redis.fcall("twice", 0, 21), 42);
  assert.equal(await redis.function("DELETE", "tour"), "OK");
}

async function streams() {
  const first = await redis.xadd("events", "*", "kind", "start");
  assert.equal(await redis.xgroup("CREATE", "events", "readers", "0"), "OK");
  const [[name, entries]] = await redis.xreadgroup("GROUP", "readers", "a", "COUNT", 10, "STREAMS", "events", ">");
  assert.deepEqual([name, entries], ["events", [[first, ["kind", "start"]]]]);
  assert.deepEqual((await redis.xpending("events", "readers")).slice(0, 3), [1, first, first]);
  assert.equal(await redis.xack("events", "readers", first), 1);
  const waiter = connect();
  await waiter.ping();
  const coming = waiter.xread("BLOCK", 10_000, "STREAMS", "events", first);
  const second = await other.xadd("events", "*", "kind", "end");
  assert.deepEqual(await coming, [["events", [[second, ["kind", "end"]]]]]);
  assert.equal(await redis.xlen("events"), 2);
  await waiter.quit();
}

async function transformers() {
  const { Command } = Redis;
  Command.setArgumentTransformer("hset", ([key, map]) => [key, ...[...map].flat()]);
  Command.setReplyTransformer("hgetall", (reply) => {
    const map = new Map();
    for (let n = 0; n < reply.length; n += 2) map.set(reply[n], reply[n + 1]);
    return map;
  });
  const map = new Map([["x", "1"], ["y", "2"]]);
  assert.equal(await redis.hset("mapped", map), 2);
  assert.deepEqual(await redis.hgetall("mapped"), map);
}

async function autoPipelines() {
  const client = connect({ enableAutoPipelining: true });
  const values = await Promise.all(
    Array.from({ length: 500 }, (_, n) => client.set(`auto:${n}`, n).then(() => client.get(`auto:${n}`))),
  );
  assert.deepEqual(values, Array.from({ length: 500 }, (_, n) => String(n)));
  await client.quit();
}

const parts = [
  strings,
  pipelines,
  transactions,
  collections,
  scans,
  blocking,
  publishSubscribe,
  databases,
  scripts,
  streams,
  autoPipelines,
  transformers,
];
await redis.flushall();
for (const part of parts) {
  try {
    await part();
  } catch (error) {
    console.error(`in ${part.name}:`, error);
    process.exit(1);
  }
}
await Promise.all([redis.quit(), other.quit()]);
console.log("all well");

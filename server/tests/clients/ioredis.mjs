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

await redis.flushall();
for (const part of [strings, pipelines, transactions, collections, scans, blocking, publishSubscribe, databases]) {
  try {
    await part();
  } catch (error) {
    console.error(`in ${part.name}:`, error);
    process.exit(1);
  }
}
await Promise.all([redis.quit(), other.quit()]);
console.log("all well");

// A thousand jobs through BullMQ: bullmq.mjs <port> <folder of its modules> <part>. Prints `all well` or fails.
//
// all     every job is done: some at the second attempt, some later, some never
// until   works and prints the number of each job whose end has been acknowledged, until it is killed
// rest    given those numbers: they have ended for good, and the others get done

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const [port, modules, part, numbers] = process.argv.slice(2);
const { Queue, Worker } = createRequire(join(modules, "bullmq/package.json"))("bullmq");
const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };

const JOBS = 1000;
const FLAKY = 100;
const HOPELESS = 10;
const DELAYED = 50;
const DELAY_MS = 400;
const PATIENCE_MS = 60_000;

/** A job whose worker has gone is somebody else's soon. */
const BRIEF = { lockDuration: 1_000, stalledInterval: 200, maxStalledCount: 5 };

const queue = new Queue("work", { connection });
queue.on("error", (error) => part === "until" || console.error(error));
/** Number of a job -> how often it was run. */
const runs = new Map();
const workers = [];

/** What is to be done, and what is not as usual about it. */
function job(number) {
  const kind = number < FLAKY ? "flaky" : number < FLAKY + HOPELESS ? "hopeless" : "plain";
  const delayed = number >= JOBS - DELAYED;
  return {
    name: kind,
    data: { number, due: delayed ? Date.now() + DELAY_MS : 0 },
    opts: {
      attempts: kind === "plain" ? 1 : 2,
      backoff: { type: "fixed", delay: 20 },
      delay: delayed ? DELAY_MS : 0,
      priority: number % 7 === 0 ? 5 : 0,
    },
  };
}

async function work({ name, data, attemptsMade }) {
  runs.set(data.number, (runs.get(data.number) ?? 0) + 1);
  assert.ok(Date.now() >= data.due, `job ${data.number} comes too early`);
  if (name === "hopeless" || (name === "flaky" && attemptsMade === 0)) throw new Error(`not yet: ${data.number}`);
  return { square: data.number ** 2 };
}

function start(options) {
  for (let n = 0; n < 2; n++) {
    const worker = new Worker("work", work, { connection, concurrency: 8, ...options });
    worker.on("error", (error) => part === "until" || console.error(error));
    workers.push(worker);
  }
}

async function settled(completed, failed) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const counts = await queue.getJobCounts();
    if (counts.completed === completed && counts.failed === failed) return counts;
    assert.ok(Date.now() < end, `after ${PATIENCE_MS} ms there are ${JSON.stringify(counts)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Nothing waits any more, and every result can be read. */
async function checkResults(failed) {
  const counts = await settled(JOBS - failed, failed);
  for (const state of ["waiting", "active", "delayed", "prioritized", "paused", "waiting-children"]) {
    assert.equal(counts[state] ?? 0, 0, `${state} jobs are left`);
  }
  const done = await queue.getCompleted(0, -1);
  const results = new Map(done.map(({ data, returnvalue }) => [data.number, returnvalue.square]));
  assert.equal(results.size, JOBS - failed);
  results.forEach((square, number) => assert.equal(square, number ** 2));
}

const parts = {
  async all() {
    await queue.addBulk(Array.from({ length: JOBS }, (_, number) => job(number)));
    start({});
    await checkResults(HOPELESS);
    for (let number = 0; number < JOBS; number++) {
      assert.equal(runs.get(number), number < FLAKY + HOPELESS ? 2 : 1, `runs of job ${number}`);
    }
    const failed = await queue.getFailed(0, -1);
    assert.equal(failed.length, HOPELESS);
    failed.forEach(({ failedReason, data }) => assert.equal(failedReason, `not yet: ${data.number}`));
    await failed[0].remove();
    assert.equal(await queue.getFailedCount(), HOPELESS - 1);
    await queue.obliterate();
  },

  async until() {
    await queue.addBulk(Array.from({ length: JOBS }, (_, number) => ({ name: "plain", data: { number, due: 0 } })));
    start(BRIEF);
    workers.forEach((worker) => worker.on("completed", ({ data }) => console.log(data.number)));
    await new Promise(() => {});
  },

  async rest() {
    const ended = new Set(numbers.split(",").map(Number));
    const done = await queue.getCompleted(0, -1);
    const kept = new Set(done.map(({ data }) => data.number));
    ended.forEach((number) => assert.ok(kept.has(number), `the end of job ${number} was lost`));
    start(BRIEF);
    await checkResults(0);
    kept.forEach((number) => assert.ok(!runs.has(number), `job ${number} was done again`));
    assert.equal(kept.size + runs.size, JOBS);
  },
};

try {
  await parts[part]();
} catch (error) {
  console.error(`in ${part}:`, error);
  process.exit(1);
}
await Promise.all(workers.map((worker) => worker.close()));
await queue.close();
console.log("all well");

"""A thousand jobs through Celery, on the node at NODE_PORT. Prints `all well` or fails.

The workers are processes of Celery's own command line, which import this file to find what they do. Broker and results are the node.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import redis
from celery import Celery, chain, chord

JOBS, FLAKY, HOPELESS, DELAYED = 1000, 100, 10, 50
DELAY = 1.5
HERE = Path(__file__).parent
PORT = int(os.environ.get("NODE_PORT", "0"))

app = Celery("celery_jobs", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")
# A job is done when it has ended, not when it has been fetched.
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)


@app.task(bind=True, max_retries=1)
def run(self, number, kind, not_before=0.0):
    """The job: notes that it ran, and fails as it should."""
    runs = self.app.connection_for_read().default_channel.client.hincrby("runs", number, 1)
    assert time.time() >= not_before, "too early"
    if kind == "hopeless" or (kind == "flaky" and runs == 1):
        raise self.retry(exc=ValueError(f"not yet: {number}"), countdown=0)
    return {"square": number**2}


@app.task
def add(numbers, more=0):
    return sum(numbers) + more


@app.task
def same(number):
    return number


def main():
    connection = redis.Redis(port=PORT)
    connection.flushall()
    kind = lambda n: "flaky" if n < FLAKY else "hopeless" if n < FLAKY + HOPELESS else "plain"
    jobs = [run.delay(n, kind(n)) for n in range(JOBS - DELAYED)]
    due = time.time() + DELAY
    jobs += [run.apply_async((n, "plain", due - 0.5), countdown=DELAY) for n in range(JOBS - DELAYED, JOBS)]
    assert connection.llen("celery") == JOBS
    command = [Path(sys.executable).parent / "celery", "--app", "celery_jobs", "--workdir", HERE, "--quiet",
               "worker", "--pool", "solo", "--loglevel", "ERROR"]
    workers = [subprocess.Popen([*command, "--hostname", f"w{n}@node"]) for n in range(2)]
    try:
        for n, job in enumerate(jobs):
            result = job.get(timeout=120, propagate=False)
            if FLAKY <= n < FLAKY + HOPELESS:
                assert job.status == "FAILURE" and str(result) == f"not yet: {n}", (n, job.status, result)
            else:
                assert job.status == "SUCCESS" and result == {"square": n**2}, (n, job.status, result)
        # One after the other, and one after many.
        assert chain(same.s([1, 2]), add.s(3)).delay().get(timeout=60) == 6
        assert chord([same.s(n) for n in range(50)])(add.s()).get(timeout=60) == sum(range(50))
        # What is said to all workers goes over channels.
        assert len(app.control.inspect(timeout=30, limit=2).ping()) == 2
        runs = {int(n): int(times) for n, times in connection.hgetall("runs").items()}
        assert runs == {n: 2 if n < FLAKY + HOPELESS else 1 for n in range(JOBS)}, runs
    finally:
        for worker in workers:
            worker.terminate()
        ends = [worker.wait(timeout=60) for worker in workers]
    assert ends == [0, 0], ends
    # Nothing waits to be acknowledged, nor to be done.
    assert not connection.exists("celery", "unacked", "unacked_index"), connection.keys("*")
    print("all well")


if __name__ == "__main__":
    main()

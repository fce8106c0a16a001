"""A thousand jobs through rq: rq_jobs.py <port>. Prints `all well` or fails.

The workers are processes of rq's own command line, which import this file to find what they do.
"""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

JOBS, FLAKY, HOPELESS, DELAYED = 1000, 100, 10, 50
DELAY = timedelta(milliseconds=1500)
HERE = Path(__file__).parent


def run(number, kind, not_before=0.0):
    """The job: notes that it ran, and fails as it should."""
    from rq import get_current_job

    runs = get_current_job().connection.hincrby("runs", number, 1)
    assert time.time() >= not_before, "too early"
    if kind == "hopeless" or (kind == "flaky" and runs == 1):
        raise ValueError(f"not yet: {number}")
    return {"square": number**2}


def work(port):
    """Two workers until nothing is left."""
    command = [Path(sys.executable).parent / "rq", "worker", "--url", f"redis://127.0.0.1:{port}", "--burst", "--quiet",
               "--worker-class", "rq.SimpleWorker", "--path", HERE, "work"]
    workers = [subprocess.Popen(command) for _ in range(2)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]


def main(port):
    import redis
    from rq import Queue, Retry
    from rq.scheduler import RQScheduler

    connection = redis.Redis(port=port)
    connection.flushall()
    queue = Queue("work", connection=connection)
    with connection.pipeline() as pipeline:
        jobs = queue.enqueue_many([
            Queue.prepare_data(
                "rq_jobs.run",
                (n, "flaky" if n < FLAKY else "hopeless" if n < FLAKY + HOPELESS else "plain"),
                retry=Retry(max=1) if n < FLAKY + HOPELESS else None,
                result_ttl=500,
            )
            for n in range(JOBS - DELAYED)
        ], pipeline=pipeline)
        pipeline.execute()
    due = time.time() + DELAY.total_seconds()
    jobs += [queue.enqueue_in(DELAY, "rq_jobs.run", n, "plain", due - 0.5) for n in range(JOBS - DELAYED, JOBS)]
    assert len(queue) == JOBS - DELAYED and queue.scheduled_job_registry.count == DELAYED
    work(port)

    # Those for later: put into the queue by the scheduler once it is time.
    scheduler = RQScheduler([queue], connection=connection)
    assert scheduler.acquire_locks() == {"work"}
    end = time.time() + 60
    while queue.scheduled_job_registry.count and time.time() < end:
        scheduler.enqueue_scheduled_jobs()
        time.sleep(0.05)
    scheduler.release_locks()
    assert len(queue) == DELAYED
    work(port)

    assert len(queue) == 0 and queue.started_job_registry.count == 0 and queue.scheduled_job_registry.count == 0
    assert queue.failed_job_registry.count == HOPELESS and queue.finished_job_registry.count == JOBS - HOPELESS
    runs = {int(n): int(times) for n, times in connection.hgetall("runs").items()}
    assert runs == {n: 2 if n < FLAKY + HOPELESS else 1 for n in range(JOBS)}, runs
    for n, job in enumerate(jobs):
        if FLAKY <= n < FLAKY + HOPELESS:
            assert job.get_status() == "failed" and f"not yet: {n}" in job.latest_result().exc_string
        else:
            assert job.get_status() == "finished" and job.return_value() == {"square": n**2}, job
    print("all well")


if __name__ == "__main__":
    main(int(sys.argv[1]))

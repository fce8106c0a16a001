//! Queues of jobs: a thousand jobs each, through real workers.
//!
//! That a job that ended stays ended is a promise of this server alone when it is killed in the middle of the work: with
//! `appendonly yes` and `appendfsync always` the end of a job is on disk before the worker hears of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::support::process::{Server, on_path};
use super::{check_contains, finish, script, tool};

/// Jobs whose end has been acknowledged when the node is killed.
const ENDED: usize = 300;

fn bullmq(server: &Server, part: &[&str]) -> Command {
    let mut node = Command::new(on_path("node"));
    node.arg(script("bullmq.mjs")).arg(server.port().to_string()).arg(tool("node_modules")).args(part);
    node
}

/// A process that does not outlive its test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn bullmq_does_every_job() {
    let mut server = Server::baton(&[("cores", "2")]);
    check_contains(&finish(&mut bullmq(&server, &["all"])), &["all well"]);
    assert_eq!(server.client().run("DBSIZE").integer(), Some(0), "an obliterated queue leaves nothing");
}

#[test]
fn bullmq_loses_no_job_that_ended_before_the_node_was_killed() {
    let settings = [("cores", "2"), ("appendonly", "yes"), ("appendfsync", "always"), ("save", "")];
    let mut server = Server::baton(&settings);
    let mut worker = Worker(
        bullmq(&server, &["until"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("node starts"),
    );
    let mut lines = BufReader::new(worker.0.stdout.take().expect("its output")).lines();
    let mut ended: Vec<String> = lines.by_ref().take(ENDED).map_while(Result::ok).collect();
    assert_eq!(ended.len(), ENDED, "the worker ended early");
    server.kill();
    worker.0.kill().expect("it works until it is killed");
    // What it heard of before it noticed.
    ended.extend(lines.map_while(Result::ok));
    server.restart();
    check_contains(&finish(&mut bullmq(&server, &["rest", &ended.join(",")])), &["all well"]);
}

#[test]
fn celery_does_every_job() {
    let server = Server::baton(&[("cores", "2")]);
    let mut python = Command::new(tool("python/bin/python3"));
    let python = python.arg(script("celery_jobs.py")).env("NODE_PORT", server.port().to_string());
    check_contains(&finish(python.env("PYTHONDONTWRITEBYTECODE", "1")), &["all well"]);
}

#[test]
fn rq_does_every_job() {
    let server = Server::baton(&[("cores", "2")]);
    let mut python = Command::new(tool("python/bin/python3"));
    let python = python.arg(script("rq_jobs.py")).arg(server.port().to_string());
    check_contains(&finish(python), &["all well"]);
}

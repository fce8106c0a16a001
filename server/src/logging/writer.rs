//! The thread that writes the log.
//!
//! Why: a line that is appended to a file can take half a second while the disk is busy with something else, such as what a
//! snapshot has just written, and whoever reads a pipe may not read it at all. Threads that serve clients must not wait for that.
//! So they hand their messages over. They wait until a message is written, for a moment: where all is well, the log is not behind what
//! clients have been told.

use super::{Entry, Level, Target};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// For so long a thread waits until its message is written.
const PATIENCE: Duration = Duration::from_millis(2);
/// Messages that wait to be written; what comes beyond is counted, and lost.
const WAITING_MAX: usize = 10_000;

pub(super) struct Writer {
    queue: Mutex<Queue>,
    /// There is something to write.
    work: Condvar,
    /// All that there was has been written.
    done: Condvar,
}

struct Queue {
    has_thread: bool,
    /// The thread has taken messages and is writing them.
    is_writing: bool,
    waiting: Vec<(Arc<Target>, Entry)>,
    lost: u64,
}

impl Writer {
    pub(super) const fn new() -> Self {
        let queue = Queue { has_thread: false, is_writing: false, waiting: Vec::new(), lost: 0 };
        Self { queue: Mutex::new(queue), work: Condvar::new(), done: Condvar::new() }
    }

    /// From now on a thread writes. Without one, whoever has a message writes it.
    pub(super) fn start(&'static self) {
        let mut queue = self.queue.lock();
        if !queue.has_thread {
            let started = thread::Builder::new().name("log".to_owned()).spawn(|| self.run());
            queue.has_thread = started.is_ok();
        }
    }

    pub(super) fn write(&self, target: Arc<Target>, entry: Entry) {
        let mut queue = self.queue.lock();
        if !queue.has_thread {
            // Under the lock: lines of two threads do not mix.
            return target.write(&entry);
        }
        if queue.waiting.len() >= WAITING_MAX {
            queue.lost += 1;
            return;
        }
        let is_idle = !queue.is_writing && queue.waiting.is_empty();
        let waits = is_idle && entry.level >= Level::Notice;
        queue.waiting.push((target, entry));
        self.work.notify_one();
        if waits {
            self.done.wait_for(&mut queue, PATIENCE);
        }
    }

    /// Waits until all is written, for `time` at most; whether it is.
    pub(super) fn finish(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut queue = self.queue.lock();
        while queue.is_writing || !queue.waiting.is_empty() {
            if self.done.wait_until(&mut queue, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            while queue.waiting.is_empty() {
                self.work.wait(&mut queue);
            }
            let (messages, lost) = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.lost));
            queue.is_writing = true;
            drop(queue);
            for (target, entry) in &messages {
                target.write(entry);
            }
            if let (Some((target, last)), 1..) = (messages.last(), lost) {
                let message = format!("{lost} messages were lost here: writing the log took too long");
                target.write(&Entry { level: Level::Warning, message, ..last.clone() });
            }
            queue = self.queue.lock();
            queue.is_writing = false;
            if queue.waiting.is_empty() {
                self.done.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;
    use std::fs;
    use std::io::Read;

    fn say(writer: &Writer, target: &Arc<Target>, message: String) {
        let entry =
            Entry { level: Level::Notice, role: Role::Primary as u8, now: jiff::Zoned::now(), message };
        writer.write(target.clone(), entry);
    }

    /// A pipe that nobody opens is as bad as a disk can get: `open` does not return.
    #[test]
    fn nobody_waits_for_a_log_that_stands_still() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let target = Arc::new(Target { file: Some(path.clone()), ..Target::stdout() });
        let writer: &'static Writer = Box::leak(Box::new(Writer::new()));
        writer.start();
        // Would not come to an end, if one of them waited.
        for n in 0..WAITING_MAX + 100 {
            say(writer, &target, format!("message {n}"));
        }
        assert!(!writer.finish(Duration::from_millis(1)));
        let mut pipe = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !text.contains("messages were lost here") {
            let len = pipe.read(&mut part).unwrap();
            text.push_str(str::from_utf8(&part[..len]).unwrap());
        }
        assert!(writer.finish(Duration::from_secs(30)));
        let numbers = text.lines().filter_map(|line| line.split_once("message "));
        let numbers: Vec<usize> = numbers.map(|(_, number)| number.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(0..text.lines().count() - 1), "in order, without a gap");
        assert!(text.lines().count() > WAITING_MAX, "{} lines", text.lines().count());
    }

    #[test]
    fn a_message_is_there_when_all_is_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let target = Arc::new(Target { file: Some(path.clone()), ..Target::stdout() });
        let writer: &'static Writer = Box::leak(Box::new(Writer::new()));
        say(writer, &target, "before there is a thread".to_owned());
        assert!(fs::read_to_string(&path).unwrap().ends_with(" * before there is a thread\n"));
        writer.start();
        say(writer, &target, "by the thread".to_owned());
        assert!(writer.finish(Duration::from_secs(30)));
        assert!(fs::read_to_string(&path).unwrap().ends_with(" * by the thread\n"));
    }
}

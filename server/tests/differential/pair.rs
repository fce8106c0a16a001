//! Two servers that are given the same commands.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::args::Words;
use super::compare::{Compare, is_pick_of, messages, scanned};
use super::differences::Difference;
use super::generate::{Group, On, Step};
use super::random::Random;
use crate::support::client::{Client, Reply, encode, show};
use crate::support::process::Server;

/// Commands in one write, at most.
const BATCH_MAX: u64 = 48;
/// The commands choose among the databases below this one.
const DATABASES: usize = 4;
/// A cursor that has not come to its end by now never will.
const SCAN_STEPS_MAX: usize = 10_000;
const STATE_PTTL: Compare = Compare::Ttl { tolerance: 10_000 };

/// Thresholds so small that the few members of the tests cross them. A server that lacks one (7.0 knows no
/// listpacks for sets) goes without it.
const SETTINGS: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "8"),
    ("hash-max-listpack-value", "20"),
    ("list-max-listpack-size", "6"),
    ("zset-max-listpack-entries", "8"),
    ("zset-max-listpack-value", "20"),
    ("set-max-intset-entries", "8"),
    ("set-max-listpack-entries", "8"),
    ("set-max-listpack-value", "20"),
    ("hll-sparse-max-bytes", "300"),
    ("stream-node-max-entries", "4"),
    // Otherwise damaged payloads crash the reference.
    ("sanitize-dump-payload", "yes"),
];

/// A program to compare, and CONFIG SETs of its own.
#[derive(Clone)]
pub struct Contestant {
    pub program: PathBuf,
    pub settings: &'static [(&'static str, &'static str)],
}

impl Contestant {
    pub fn new(program: impl Into<PathBuf>) -> Contestant {
        Contestant { program: program.into(), settings: &[] }
    }
}

/// The first point where the two servers do not agree.
#[derive(Debug)]
pub struct Mismatch {
    /// Which of the groups given to `run`; one past the last when only the state differs.
    pub group: usize,
    pub words: Words,
    pub left: String,
    pub right: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  command {}", show(&self.words))?;
        writeln!(f, "  left    {}", self.left)?;
        write!(f, "  right   {}", self.right)
    }
}

struct Side {
    server: Server,
    main: Client,
    other: Client,
    listener: Client,
    observer: Client,
}

impl Side {
    fn start(contestant: &Contestant, resp: u8) -> Side {
        let mut server = Server::start(&contestant.program, &[("save", "")]);
        let mut observer = server.client();
        for (name, value) in SETTINGS.iter().chain(contestant.settings) {
            let reply = observer.call(&["CONFIG", "SET", name, value]);
            let lacks_it = reply.is_error() && reply.text().contains("Unknown option");
            assert!(lacks_it || !reply.is_error(), "CONFIG SET {name} {value}: {reply:?}");
        }
        let [main, other, listener] = std::array::from_fn(|_| server.client_speaking(resp));
        Side { server, main, other, listener, observer }
    }

    fn connection(&mut self, on: On) -> &mut Client {
        match on {
            On::Main => &mut self.main,
            On::Other => &mut self.other,
            On::Listener => &mut self.listener,
        }
    }

    /// Everything that a cursor returns, or the error.
    fn scan(&mut self, words: &Words) -> io::Result<Reply> {
        let mut words = words.clone();
        let cursor_at = if words[0].eq_ignore_ascii_case(b"SCAN") { 1 } else { 2 };
        let mut seen = Vec::new();
        for _ in 0..SCAN_STEPS_MAX {
            let reply = self.main.try_call(&words)?;
            let Some([Reply::Bulk(cursor), Reply::Array(elements)]) = reply.elements() else {
                return Ok(reply);
            };
            seen.extend_from_slice(elements);
            if cursor == b"0" {
                return Ok(Reply::Array(scanned(&words[0], &seen)));
            }
            words[cursor_at] = cursor.clone();
        }
        Err(io::Error::other("the cursor does not come to an end"))
    }

    /// Sends a command to the subscriber and reads all it is sent, up to the answer to a PING.
    fn listen(&mut self, words: &Words) -> io::Result<Reply> {
        const MARK: &[u8] = b"end-of-messages";
        self.listener.send(words)?;
        self.listener.send(&[b"PING", MARK])?;
        let mut seen = Vec::new();
        loop {
            let reply = self.listener.receive()?;
            let answers = reply.elements().and_then(<[Reply]>::last).unwrap_or(&reply).bytes() == Some(MARK);
            seen.push(reply);
            if answers {
                return Ok(Reply::Array(messages(&seen)));
            }
        }
    }
}

pub struct Pair {
    left: Side,
    right: Side,
    differences: &'static [Difference],
    /// How often each of the differences was met.
    pub met: Vec<usize>,
    /// Divides the stream into pipelines.
    random: Random,
}

impl Pair {
    pub fn start(
        left: &Contestant,
        right: &Contestant,
        resp: u8,
        differences: &'static [Difference],
        seed: u64,
    ) -> Pair {
        let (left, right) = (Side::start(left, resp), Side::start(right, resp));
        Pair { left, right, differences, met: vec![0; differences.len()], random: Random::seeded(seed) }
    }

    /// Ends both servers at once. Dropping them waits for them to end properly.
    pub fn discard(mut self) {
        self.left.server.kill();
        self.right.server.kill();
    }

    /// Gives both servers all of these commands, in pipelines.
    pub fn run(&mut self, groups: &[Group]) -> Result<(), Mismatch> {
        let mut batch: Vec<(usize, &Step)> = Vec::new();
        let mut batch_max = self.random.below(BATCH_MAX);
        for (at, group) in groups.iter().enumerate() {
            for step in group {
                if step.stands_alone() {
                    self.run_batch(&mut batch)?;
                    self.run_alone(at, step)?;
                } else {
                    batch.push((at, step));
                }
            }
            if batch.len() as u64 >= batch_max {
                self.run_batch(&mut batch)?;
                batch_max = self.random.below(BATCH_MAX);
            }
        }
        self.run_batch(&mut batch)
    }

    /// Compares the whole data of both servers, key by key.
    pub fn compare_states(&mut self, group: usize) -> Result<(), Mismatch> {
        for database in 0..DATABASES {
            let select = vec![b"SELECT".to_vec(), database.to_string().into_bytes()];
            self.observe(group, &select, Compare::Exact)?;
            let keys = self.observe(group, &vec![b"KEYS".to_vec(), b"*".to_vec()], Compare::Unordered)?;
            for key in keys.elements().unwrap_or_default().iter().filter_map(Reply::bytes) {
                self.compare_key(group, key)?;
            }
        }
        Ok(())
    }

    fn compare_key(&mut self, group: usize, key: &[u8]) -> Result<(), Mismatch> {
        let on_key = |command: &str| -> Words {
            let mut words: Words = command.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            let key_at = if command.starts_with("OBJECT") { 2 } else { 1 };
            words.insert(key_at, key.to_vec());
            words
        };
        let kind = self.observe(group, &on_key("TYPE"), Compare::Exact)?;
        let (reader, compare) = match kind.text().as_str() {
            "list" => ("LRANGE 0 -1", Compare::Exact),
            "set" => ("SMEMBERS", Compare::Unordered),
            "zset" => ("ZRANGE 0 -1 WITHSCORES", Compare::Floats),
            "hash" => ("HGETALL", Compare::Pairs),
            "stream" => ("XRANGE - +", Compare::Exact),
            _ => ("GET", Compare::Exact),
        };
        self.observe(group, &on_key(reader), compare)?;
        if kind.text() == "stream" {
            let full: Words = [&b"XINFO"[..], b"STREAM", key, b"FULL", b"COUNT", b"0"]
                .iter()
                .map(|word| word.to_vec())
                .collect();
            self.observe(group, &full, Compare::StreamInfo)?;
        }
        self.observe(group, &on_key("PTTL"), STATE_PTTL)?;
        self.observe(group, &on_key("OBJECT ENCODING"), Compare::Exact)?;
        Ok(())
    }

    /// Asks both for their state; the reply of the left one.
    fn observe(&mut self, group: usize, words: &Words, compare: Compare) -> Result<Reply, Mismatch> {
        let replies = (self.left.observer.try_call(words), self.right.observer.try_call(words));
        let (left, right) = self.both(group, words, replies)?;
        self.check(group, words, compare, &left, &right)?;
        Ok(left)
    }

    fn run_batch(&mut self, batch: &mut Vec<(usize, &Step)>) -> Result<(), Mismatch> {
        let Some((group, first)) = batch.first() else { return Ok(()) };
        let mut bytes = Vec::new();
        batch.iter().for_each(|(_, step)| encode(&step.words, &mut bytes));
        let written = (self.left.main.write_raw(&bytes), self.right.main.write_raw(&bytes));
        self.both(*group, &first.words, written)?;
        let mut replies = Vec::with_capacity(batch.len());
        for (group, step) in batch.iter() {
            let received = (self.left.main.receive(), self.right.main.receive());
            replies.push(self.both(*group, &step.words, received)?);
        }
        for (at, (group, step)) in batch.iter().enumerate() {
            let (left, right) = &replies[at];
            match (step.compare, batch.get(at + 1), replies.get(at + 1)) {
                (Compare::Pick { .. }, Some((_, reader)), Some(members)) if !left.is_error() => {
                    let fair = Compare::SameLength.agrees(left, right)
                        && is_pick_of(&step.words, left, &reader.words, &members.0)
                        && is_pick_of(&step.words, right, &reader.words, &members.1);
                    if !fair {
                        return Err(mismatch(*group, &step.words, left, right));
                    }
                }
                (Compare::Exec, ..) => self.check_exec(*group, step, left, right)?,
                _ => self.check(*group, &step.words, step.compare, left, right)?,
            }
        }
        batch.clear();
        Ok(())
    }

    fn run_alone(&mut self, group: usize, step: &Step) -> Result<(), Mismatch> {
        let words = &step.words;
        let replies = match step.compare {
            Compare::Scan => (self.left.scan(words), self.right.scan(words)),
            Compare::Messages => (self.left.listen(words), self.right.listen(words)),
            _ => (
                self.left.connection(step.on).try_call(words),
                self.right.connection(step.on).try_call(words),
            ),
        };
        let (left, right) = self.both(group, words, replies)?;
        match step.compare {
            Compare::Popped => self.check_popped(group, words, &left, &right),
            compare => self.check(group, words, compare, &left, &right),
        }
    }

    /// Two random choices are fair when each removed as many members, and the other server still had
    /// those that it did not choose itself. Removing them there makes the servers equal again.
    fn check_popped(
        &mut self,
        group: usize,
        words: &Words,
        left: &Reply,
        right: &Reply,
    ) -> Result<(), Mismatch> {
        if left.is_error() || right.is_error() || left.is_null() || right.is_null() {
            return self.check(group, words, Compare::Exact, left, right);
        }
        if !Compare::SameLength.agrees(left, right) {
            return Err(mismatch(group, words, left, right));
        }
        let chosen = |reply: &Reply| -> Words {
            let single = std::slice::from_ref(reply);
            let elements = reply.elements().unwrap_or(single);
            elements.iter().filter_map(Reply::bytes).map(<[u8]>::to_vec).collect()
        };
        let (by_left, by_right) = (chosen(left), chosen(right));
        if by_left.is_empty() {
            return Ok(());
        }
        let remove = |members: &Words| -> Words {
            [b"SREM".to_vec(), words[1].clone()].into_iter().chain(members.iter().cloned()).collect()
        };
        let replies =
            (self.left.main.try_call(&remove(&by_right)), self.right.main.try_call(&remove(&by_left)));
        let (from_left, from_right) = self.both(group, words, replies)?;
        let only_right = by_right.iter().filter(|member| !by_left.contains(member)).count();
        let expected = Reply::Integer(only_right as i64);
        if from_left != expected || from_right != expected {
            return Err(mismatch(group, words, left, right));
        }
        Ok(())
    }

    fn check_exec(&mut self, group: usize, exec: &Step, left: &Reply, right: &Reply) -> Result<(), Mismatch> {
        let (Reply::Array(lefts), Reply::Array(rights)) = (left, right) else {
            return self.check(group, &exec.words, Compare::Exact, left, right);
        };
        if lefts.len() != exec.queued.len() || rights.len() != exec.queued.len() {
            return Err(mismatch(group, &exec.words, left, right));
        }
        for (step, (left, right)) in exec.queued.iter().zip(lefts.iter().zip(rights)) {
            self.check(group, &step.words, step.compare, left, right)?;
        }
        Ok(())
    }

    fn check(
        &mut self,
        group: usize,
        words: &Words,
        compare: Compare,
        left: &Reply,
        right: &Reply,
    ) -> Result<(), Mismatch> {
        if compare.agrees(left, right) {
            return Ok(());
        }
        match self.differences.iter().position(|difference| (difference.applies)(words, left, right)) {
            Some(known) => {
                self.met[known] += 1;
                Ok(())
            }
            None => Err(mismatch(group, words, left, right)),
        }
    }

    /// Both results, or the mismatch that one of the servers does not answer.
    fn both<T: fmt::Debug>(
        &mut self,
        group: usize,
        words: &Words,
        results: (io::Result<T>, io::Result<T>),
    ) -> Result<(T, T), Mismatch> {
        match results {
            (Ok(left), Ok(right)) => Ok((left, right)),
            (left, right) => Err(Mismatch {
                group,
                words: words.clone(),
                left: outcome(left, &mut self.left.server),
                right: outcome(right, &mut self.right.server),
            }),
        }
    }
}

fn outcome<T: fmt::Debug>(result: io::Result<T>, server: &mut Server) -> String {
    match result {
        Ok(reply) => format!("{reply:?}"),
        Err(error) => format!("no reply: {error}; {}", server.describe()),
    }
}

fn mismatch(group: usize, words: &Words, left: &Reply, right: &Reply) -> Mismatch {
    Mismatch { group, words: words.clone(), left: format!("{left:?}"), right: format!("{right:?}") }
}

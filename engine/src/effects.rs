//! Effects: what a write leaves for the log, the replicas and a slot hand-off: deterministic commands.
//!
//! A command that changed something leaves itself, word for word, unless it said otherwise: relative expiries
//! become absolute ones, random picks become removals of what was picked, and so on. Nothing is collected when
//! nobody listens.
//!
//! They are collected as they will lie in the log, in RESP, in one buffer that is used again and again: no allocation
//! per command. The database belongs to a stretch of the buffer rather than to each effect; who writes the log puts
//! `SELECT` in front of a stretch, or behind the `MULTI` that it begins with, when the log was in another database before.
//!
//! | left                                    | by                              | in the buffer                       |
//! |-----------------------------------------|---------------------------------|-------------------------------------|
//! | removals of expired and evicted keys     | [`also`](Effects::also)         | as they come, before what follows   |
//! | several effects in place of one command  | [`instead`](Effects::instead)   | `MULTI`, the effects, `EXEC`        |
//! | all effects of a transaction             | between `begin` and `end`       | `MULTI`, the effects, `EXEC`        |
//!
//! A single effect needs no `MULTI`: it is whole or absent either way.

/// One command that repeats a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The database it belongs to.
    pub db: usize,
    /// The command with its arguments.
    pub args: Vec<Box<[u8]>>,
}

/// What a transaction begins with, as it lies in logs and streams.
pub const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// An empty buffer that is larger than this is given back.
const KEEP_BYTES: usize = 256 * 1024;

/// Effects of one database that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    db: usize,
    /// Where it ends in the buffer.
    end: usize,
}

/// What the running command has left in its place so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Own {
    #[default]
    Nothing,
    /// One effect, which begins here.
    One(usize),
    /// Several, behind a `MULTI`.
    Several,
}

/// A transaction that runs: where its effects begin, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Transaction {
    start: usize,
    count: usize,
}

/// Collects the effects of commands.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    listening: bool,
    replaced: bool,
    own: Own,
    transaction: Option<Transaction>,
    bytes: Vec<u8>,
    stretches: Vec<Stretch>,
}

impl Effects {
    /// A collector; it keeps nothing unless somebody listens.
    pub fn new(listening: bool) -> Self {
        Self { listening, ..Self::default() }
    }

    /// Whether anybody listens. Check it before building costly arguments.
    #[inline]
    pub fn listening(&self) -> bool {
        self.listening
    }

    /// Begins or ceases to collect. Between commands only: half the effects of one are worse than none.
    pub fn set_listening(&mut self, listening: bool) {
        self.listening = listening;
    }

    /// Leaves a command in addition to whatever the running command leaves.
    pub fn also(&mut self, db: usize, args: &[&[u8]]) {
        if self.listening {
            self.push(db, args);
        }
    }

    /// Leaves this command in place of the running one; several calls leave several, which are to be repeated
    /// together or not at all.
    pub fn instead(&mut self, db: usize, args: &[&[u8]]) {
        self.replaced = true;
        if !self.listening {
            return;
        }
        match self.own {
            _ if self.transaction.is_some() => {}
            Own::Nothing => self.own = Own::One(self.bytes.len()),
            Own::One(start) => {
                self.insert_multi(start);
                self.own = Own::Several;
            }
            Own::Several => {}
        }
        self.push(db, args);
    }

    /// The running command leaves nothing of itself.
    pub fn nothing(&mut self) {
        self.replaced = true;
    }

    /// Ends a command: adds it word for word if it changed something and did not leave others in its place.
    #[inline]
    pub fn finish(&mut self, db: usize, changed: bool, args: &[&[u8]]) {
        if self.listening {
            if changed && !self.replaced {
                self.push(db, args);
            }
            if self.own == Own::Several {
                self.append(db, |bytes| bytes.extend_from_slice(EXEC));
            }
            self.own = Own::Nothing;
        }
        self.replaced = false;
    }

    /// Begins a transaction: what its commands leave is to be repeated together or not at all.
    #[inline]
    pub fn begin_transaction(&mut self) {
        if self.listening {
            self.transaction = Some(Transaction::default());
        }
    }

    /// Ends a transaction, if one was begun.
    #[inline]
    pub fn end_transaction(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.close(transaction);
        }
    }

    fn close(&mut self, Transaction { start, count }: Transaction) {
        match (count, self.stretches.last()) {
            (0, _) | (_, None) => {}
            (1, _) => self.remove_multi(start),
            (_, Some(last)) => self.append(last.db, |bytes| bytes.extend_from_slice(EXEC)),
        }
    }

    /// Whether nothing has been collected.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that have been collected.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What has been collected, in order: databases, each with commands in RESP.
    pub fn stretches(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut start = 0;
        self.stretches.iter().map(move |stretch| {
            let bytes = self.bytes.get(start..stretch.end).unwrap_or_default();
            start = stretch.end;
            (stretch.db, bytes)
        })
    }

    /// Forgets what has been collected.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.stretches.clear();
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        }
    }

    /// Takes what has been collected, command by command, without the brackets of transactions: for tests, and for
    /// whoever looks at effects one at a time.
    pub fn take(&mut self) -> Vec<Effect> {
        let mut all = Vec::new();
        for (db, mut bytes) in self.stretches() {
            while let Some((args, rest)) = decode(bytes) {
                bytes = rest;
                if !matches!(&args[..], [only] if [&b"MULTI"[..], b"EXEC"].contains(&&**only)) {
                    all.push(Effect { db, args });
                }
            }
        }
        self.clear();
        all
    }

    fn push(&mut self, db: usize, args: &[&[u8]]) {
        if let Some(transaction) = &mut self.transaction {
            transaction.count += 1;
            if transaction.count == 1 {
                transaction.start = self.bytes.len();
                self.append(db, |bytes| bytes.extend_from_slice(MULTI));
            }
        }
        self.append(db, |bytes| encode(args, bytes));
    }

    #[inline]
    fn append(&mut self, db: usize, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        let end = self.bytes.len();
        match self.stretches.last_mut() {
            Some(last) if last.db == db => last.end = end,
            _ => self.stretches.push(Stretch { db, end }),
        }
    }

    #[cold]
    fn insert_multi(&mut self, at: usize) {
        self.bytes.splice(at..at, MULTI.iter().copied());
        for stretch in self.stretches.iter_mut().filter(|stretch| stretch.end > at) {
            stretch.end += MULTI.len();
        }
    }

    fn remove_multi(&mut self, at: usize) {
        self.bytes.drain(at..at + MULTI.len());
        for stretch in self.stretches.iter_mut().filter(|stretch| stretch.end > at) {
            stretch.end -= MULTI.len();
        }
    }
}

/// Appends a command in RESP, as it lies in logs and streams.
#[inline]
pub fn encode(args: &[&[u8]], out: &mut Vec<u8>) {
    const HEADER_MAX: usize = 1 + 20 + 2;
    out.reserve(HEADER_MAX + args.iter().map(|arg| HEADER_MAX + arg.len() + 2).sum::<usize>());
    header(b'*', args.len(), out);
    for arg in args {
        header(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn header(tag: u8, n: usize, out: &mut Vec<u8>) {
    if n < 10 {
        out.extend_from_slice(&[tag, b'0' + n as u8, b'\r', b'\n']);
    } else {
        out.push(tag);
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// A command with its arguments.
type Args = Vec<Box<[u8]>>;

/// The first command of what [`encode`] wrote, and what follows it.
fn decode(bytes: &[u8]) -> Option<(Args, &[u8])> {
    let (count, mut rest) = number(bytes.strip_prefix(b"*")?)?;
    let mut args = Vec::new();
    for _ in 0..count {
        let (len, after) = number(rest.strip_prefix(b"$")?)?;
        let (arg, after) = after.split_at_checked(len)?;
        args.push(arg.into());
        rest = after.strip_prefix(b"\r\n")?;
    }
    Some((args, rest))
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = memchr::memchr(b'\r', bytes)?;
    let n = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    Some((n, bytes.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stretches as text: `db: COMMAND arg | COMMAND | ...`, brackets of transactions included.
    #[track_caller]
    fn check(effects: &Effects, expected: &[&str]) {
        let line = |(db, mut bytes): (usize, &[u8])| {
            let mut commands = Vec::new();
            while let Some((args, rest)) = decode(bytes) {
                bytes = rest;
                let args: Vec<String> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
                commands.push(args.join(" "));
            }
            assert!(bytes.is_empty(), "{} is left", bytes.escape_ascii());
            format!("{db}: {}", commands.join(" | "))
        };
        assert_eq!(effects.stretches().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_kept_when_nobody_listens() {
        let mut effects = Effects::new(false);
        effects.begin_transaction();
        effects.also(0, &[b"DEL", b"k"]);
        effects.instead(0, &[b"SET", b"k", b"v"]);
        effects.finish(0, true, &[b"INCR", b"k"]);
        effects.end_transaction();
        assert!(effects.is_empty() && effects.take().is_empty());
    }

    #[test]
    fn a_command_leaves_itself_only_if_it_changed_something() {
        let mut effects = Effects::new(true);
        effects.finish(0, true, &[b"SET", b"k", b"v"]);
        effects.finish(0, false, &[b"SET", b"k", b"w", b"NX"]);
        effects.nothing();
        effects.finish(0, true, &[b"HIDDEN"]);
        effects.finish(3, true, &[b"SET", b"\r\n", b""]);
        effects.finish(0, true, &[b"DEL", b"k"]);
        check(&effects, &["0: SET k v", "3: SET \\r\\n ", "0: DEL k"]);
        let taken = effects.take();
        assert_eq!(taken[1], Effect { db: 3, args: vec![(*b"SET").into(), (*b"\r\n").into(), [].into()] });
        assert!(effects.is_empty());
    }

    #[test]
    fn several_effects_in_place_of_one_command_stay_together() {
        let mut effects = Effects::new(true);
        effects.also(0, &[b"DEL", b"expired"]);
        effects.instead(0, &[b"SREM", b"s", b"a"]);
        effects.finish(0, true, &[b"SPOP", b"s"]);
        check(&effects, &["0: DEL expired | SREM s a"]);
        effects.clear();
        effects.also(0, &[b"DEL", b"expired"]);
        for member in [b"a", b"b", b"c"] {
            effects.instead(0, &[b"SREM", b"s", member]);
        }
        effects.finish(0, true, &[b"SPOP", b"s", b"3"]);
        effects.finish(0, true, &[b"SET", b"k", b"v"]);
        check(&effects, &["0: DEL expired | MULTI | SREM s a | SREM s b | SREM s c | EXEC | SET k v"]);
        assert_eq!(effects.take().len(), 5);
    }

    #[test]
    fn a_bracket_around_databases_moves_their_borders() {
        let mut effects = Effects::new(true);
        effects.finish(1, true, &[b"SET", b"a", b"1"]);
        effects.instead(0, &[b"SET", b"b", b"2"]);
        effects.instead(2, &[b"SET", b"c", b"3"]);
        effects.finish(2, true, &[b"COPY"]);
        check(&effects, &["1: SET a 1", "0: MULTI | SET b 2", "2: SET c 3 | EXEC"]);
    }

    #[test]
    fn a_transaction_stays_together() {
        let mut effects = Effects::new(true);
        effects.finish(0, true, &[b"SET", b"before", b"1"]);
        effects.begin_transaction();
        effects.finish(0, false, &[b"GET", b"k"]);
        effects.instead(0, &[b"SREM", b"s", b"a"]);
        effects.instead(0, &[b"SREM", b"s", b"b"]);
        effects.finish(0, true, &[b"SPOP", b"s", b"2"]);
        effects.finish(4, true, &[b"SET", b"k", b"v"]);
        effects.end_transaction();
        check(&effects, &["0: SET before 1 | MULTI | SREM s a | SREM s b", "4: SET k v | EXEC"]);
        effects.clear();
        effects.begin_transaction();
        effects.finish(0, true, &[b"SET", b"k", b"v"]);
        effects.end_transaction();
        effects.begin_transaction();
        effects.end_transaction();
        effects.end_transaction();
        check(&effects, &["0: SET k v"]);
    }
}

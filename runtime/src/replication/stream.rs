//! The stream of a primary, cut into whole commands and whole transactions as it comes. Pure: it holds no bytes.
//!
//! What may not be torn apart is a *unit*: one command, or all from `MULTI` to `EXEC`. The bytes of whole units are what a
//! log takes and what is passed on to further replicas, unmodified.

use baton_engine::number::parse_i64;
use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// No length is longer than this many bytes, its line end included.
const NUMBER_MAX: usize = 32;
/// Most arguments of a command, as in requests.
const ARGS_MAX: i64 = i32::MAX as i64;

/// What is wrong with a stream: the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error from the primary: {expected} expected, found '{found}'")]
pub struct StreamError {
    expected: &'static str,
    found: String,
}

/// Where an argument stands in the bytes of its chunk.
type Span = (usize, usize);

/// A command of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Where its arguments end in the list of spans.
    args_end: usize,
    db: usize,
}

/// One command, or all commands of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UnitPlace {
    /// Where its bytes end.
    end: usize,
    /// Where its commands end in the list of commands.
    commands_end: usize,
    transaction: bool,
    /// The database that is selected behind it.
    db_after: usize,
}

/// Whole units, and their bytes.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    bytes: Bytes,
    spans: Vec<Span>,
    commands: Vec<Place>,
    units: Vec<UnitPlace>,
}

/// A unit of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'c> {
    chunk: &'c Chunk,
    at: usize,
}

/// Cuts the stream.
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    /// Where to go on in the buffer.
    at: usize,
    /// Arguments of the command that still have to come.
    missing: usize,
    /// The length of the argument that has to come next, once it is known.
    length: Option<usize>,
    /// The database that is selected here.
    db: usize,
    in_transaction: bool,
    /// What has been cut so far; its last unit may not be whole.
    chunk: Chunk,
}

impl Chunk {
    /// The bytes of all units.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// All units, in order.
    pub fn units(&self) -> impl Iterator<Item = Unit<'_>> {
        (0..self.units.len()).map(|at| Unit { chunk: self, at })
    }

    /// One of them.
    pub fn unit(&self, at: usize) -> Unit<'_> {
        Unit { chunk: self, at }
    }

    /// The database that is selected behind the first so many units, which are not none.
    pub fn db_after(&self, units: usize) -> Option<usize> {
        units.checked_sub(1).and_then(|last| self.units.get(last)).map(|unit| unit.db_after)
    }

    /// The bytes of the first so many units.
    pub fn bytes_of(&self, units: usize) -> &[u8] {
        let end = units.checked_sub(1).and_then(|last| self.units.get(last)).map_or(0, |unit| unit.end);
        self.bytes.get(..end).unwrap_or_default()
    }
}

impl<'c> Unit<'c> {
    /// Its number in the chunk.
    pub fn number(self) -> usize {
        self.at
    }

    /// Whether it is a transaction.
    pub fn is_transaction(self) -> bool {
        self.chunk.units[self.at].transaction
    }

    /// How many commands it has, without MULTI, EXEC and SELECT: of an empty line or a SELECT none.
    pub fn len(self) -> usize {
        self.commands_range().len()
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn commands_range(self) -> std::ops::Range<usize> {
        let start = self.at.checked_sub(1).map_or(0, |before| self.chunk.units[before].commands_end);
        start..self.chunk.units[self.at].commands_end
    }

    /// Its commands: the database of each, and its arguments, of which there is at least one.
    pub fn commands(self) -> impl Iterator<Item = (usize, impl Iterator<Item = &'c [u8]> + Clone)> {
        self.commands_range().map(move |at| {
            let start = at.checked_sub(1).map_or(0, |before| self.chunk.commands[before].args_end);
            let Place { args_end, db } = self.chunk.commands[at];
            let spans = &self.chunk.spans[start..args_end];
            (db, spans.iter().map(move |(start, end)| &self.chunk.bytes[*start..*end]))
        })
    }
}

impl Cutter {
    /// For a stream in which this database is selected.
    pub fn new(db: usize) -> Self {
        Self { db, ..Self::default() }
    }

    /// Cuts what has come: takes all whole units out of the buffer. What is left in it must be there the next time, with
    /// more behind it. Each byte is looked at once, however it comes in.
    ///
    /// # Errors
    /// It is not a stream. The units before that place are lost to the caller, who asks for them again.
    pub fn cut(&mut self, buffer: &mut BytesMut) -> Result<Chunk, StreamError> {
        while self.step(buffer)? {}
        let Some(last) = self.chunk.units.last().copied() else { return Ok(Chunk::default()) };
        let spans_end = last.commands_end.checked_sub(1).map_or(0, |at| self.chunk.commands[at].args_end);
        let open = Chunk {
            bytes: Bytes::new(),
            spans: self.chunk.spans.split_off(spans_end),
            commands: self.chunk.commands.split_off(last.commands_end),
            units: Vec::new(),
        };
        let mut chunk = std::mem::replace(&mut self.chunk, open);
        chunk.bytes = buffer.split_to(last.end).freeze();
        self.at -= last.end;
        for (start, end) in &mut self.chunk.spans {
            (*start, *end) = (*start - last.end, *end - last.end);
        }
        for command in &mut self.chunk.commands {
            command.args_end -= spans_end;
        }
        Ok(chunk)
    }

    /// The next part of a command; false when it has not come yet.
    fn step(&mut self, bytes: &[u8]) -> Result<bool, StreamError> {
        if self.missing == 0 {
            return self.begin(bytes);
        }
        let Some(length) = self.length else {
            let Some(length) = self.number(bytes, b'$', "a length")? else { return Ok(false) };
            let length = usize::try_from(length).map_err(|_| wrong(bytes, self.at, "a length"))?;
            self.length = Some(length);
            return Ok(true);
        };
        let end = self.at.checked_add(length).filter(|end| end.checked_add(2).is_some());
        let end = end.ok_or_else(|| wrong(bytes, self.at, "a possible length"))?;
        match bytes.get(end..end + 2) {
            None => return Ok(false),
            Some(b"\r\n") => {}
            Some(_) => return Err(wrong(bytes, end, "the end of an argument")),
        }
        self.chunk.spans.push((self.at, end));
        self.at = end + 2;
        self.length = None;
        self.missing -= 1;
        if self.missing == 0 {
            self.command(bytes)?;
        }
        Ok(true)
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<bool, StreamError> {
        match bytes.get(self.at) {
            None => return Ok(false),
            Some(b'*') => {}
            // A sign of life of an old primary.
            Some(b'\n') => {
                self.at += 1;
                self.settle(false);
                return Ok(true);
            }
            Some(_) => return Err(wrong(bytes, self.at, "a command")),
        }
        let Some(count) = self.number(bytes, b'*', "a number of arguments")? else { return Ok(false) };
        if !(1..=ARGS_MAX).contains(&count) {
            return Err(wrong(bytes, self.at, "a possible number of arguments"));
        }
        self.missing = count as usize;
        Ok(true)
    }

    /// A line of a mark and a number.
    fn number(&mut self, bytes: &[u8], mark: u8, expected: &'static str) -> Result<Option<i64>, StreamError> {
        let rest = &bytes[self.at..];
        let Some(end) = memchr(b'\n', &rest[..rest.len().min(NUMBER_MAX)]) else {
            return if rest.len() < NUMBER_MAX { Ok(None) } else { Err(wrong(bytes, self.at, expected)) };
        };
        let line = rest[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(&[mark]));
        let number = line.and_then(parse_i64).ok_or_else(|| wrong(bytes, self.at, expected))?;
        self.at += end + 1;
        Ok(Some(number))
    }

    /// All arguments of a command are there.
    fn command(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let start = self.chunk.commands.last().map_or(0, |command| command.args_end);
        let args = &self.chunk.spans[start..];
        let arg = |at: usize| args.get(at).map(|(start, end)| &bytes[*start..*end]).unwrap_or_default();
        let is = |name: &[u8]| arg(0).eq_ignore_ascii_case(name);
        let begin = args.first().map_or(self.at, |(start, _)| *start);
        match arg(0).len() {
            6 if is(b"SELECT") && args.len() == 2 => {
                let db = parse_i64(arg(1)).and_then(|db| usize::try_from(db).ok());
                self.db = db.ok_or_else(|| wrong(bytes, begin, "the number of a database"))?;
                self.chunk.spans.truncate(start);
                if !self.in_transaction {
                    self.settle(false);
                }
            }
            5 if is(b"MULTI") => {
                if self.in_transaction {
                    return Err(wrong(bytes, begin, "no MULTI inside of MULTI"));
                }
                self.in_transaction = true;
                self.chunk.spans.truncate(start);
            }
            4 if is(b"EXEC") => {
                if !self.in_transaction {
                    return Err(wrong(bytes, begin, "no EXEC without MULTI"));
                }
                self.in_transaction = false;
                self.chunk.spans.truncate(start);
                self.settle(true);
            }
            _ => {
                self.chunk.commands.push(Place { args_end: self.chunk.spans.len(), db: self.db });
                if !self.in_transaction {
                    self.settle(false);
                }
            }
        }
        Ok(())
    }

    /// A unit ends here.
    fn settle(&mut self, transaction: bool) {
        self.chunk.units.push(UnitPlace {
            end: self.at,
            commands_end: self.chunk.commands.len(),
            transaction,
            db_after: self.db,
        });
    }
}

#[cold]
fn wrong(bytes: &[u8], at: usize, expected: &'static str) -> StreamError {
    let rest = bytes.get(at..).unwrap_or_default();
    StreamError { expected, found: rest[..rest.len().min(32)].escape_ascii().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_engine::effects::encode;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    fn sent(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            if *line == "\n" { bytes.push(b'\n') } else { encode(&words, &mut bytes) }
        }
        bytes
    }

    /// Units as text, and the bytes that they took, of a stream that comes in pieces of this size.
    fn cut(sent: &[u8], piece: usize) -> Result<(Vec<String>, Vec<u8>), StreamError> {
        let (mut cutter, mut buffer) = (Cutter::new(3), BytesMut::new());
        let (mut units, mut taken) = (Vec::new(), Vec::new());
        for piece in sent.chunks(piece.max(1)) {
            buffer.extend_from_slice(piece);
            let chunk = cutter.cut(&mut buffer)?;
            assert_eq!(chunk.bytes_of(chunk.len()), &chunk.bytes()[..]);
            taken.extend_from_slice(chunk.bytes());
            for unit in chunk.units() {
                let commands: Vec<String> = unit
                    .commands()
                    .map(|(db, args)| {
                        let args: Vec<_> = args.map(|arg| arg.escape_ascii().to_string()).collect();
                        format!("{db}:{}", args.join(" "))
                    })
                    .collect();
                assert_eq!(commands.len(), unit.len());
                units.push(format!(
                    "{}{}",
                    if unit.is_transaction() { "T " } else { "" },
                    commands.join("; ")
                ));
            }
        }
        taken.extend_from_slice(&buffer);
        Ok((units, taken))
    }

    #[test]
    fn units() {
        let lines = [
            "SET a 1", "SELECT 0", "MULTI", "SET b 2", "SELECT 5", "DEL c", "EXEC", "\n", "PING", "MULTI",
            "EXEC", "SET d 4", "MULTI", "INCR e",
        ];
        let bytes = sent(&lines);
        for piece in [1, 2, 3, 10, 1000] {
            let (units, taken) = cut(&bytes, piece).unwrap();
            assert_eq!(units, ["3:SET a 1", "", "T 0:SET b 2; 5:DEL c", "", "5:PING", "T ", "5:SET d 4"]);
            assert_eq!(taken, bytes);
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for wrong in [
            "+OK\r\n",
            "*0\r\n",
            "*-1\r\n",
            "*x\r\n",
            "*1\r\n+PING\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$1\r\nab\r\n",
            "*1\r\n$9223372036854775808\r\nx",
            "*99999999999\r\n",
            "*1\r\n$4\r\nEXEC\r\n",
            "*1\r\n$5\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n",
            "*2\r\n$6\r\nSELECT\r\n$2\r\n-1\r\n",
            "*000000000000000000000000000000001\r\n",
            "PING\r\n",
        ] {
            assert!(cut(wrong.as_bytes(), 1000).is_err(), "{wrong:?}");
            assert!(cut(wrong.as_bytes(), 1).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// However the stream comes in pieces, the same units are cut, and no byte is lost.
        #[test]
        fn pieces_do_not_matter(commands in vec(vec(vec(any::<u8>(), 0..20), 1..5), 0..20), piece in 1usize..50) {
            let mut bytes = Vec::new();
            for command in &commands {
                let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                encode(&args, &mut bytes);
            }
            let whole = cut(&bytes, bytes.len());
            prop_assert_eq!(&cut(&bytes, piece), &whole);
        }

        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 0..200).prop_map(|mut bytes| { bytes.insert(0, b'*'); bytes }), piece in 1usize..50) {
            prop_assert_eq!(cut(&bytes, piece).is_err(), cut(&bytes, bytes.len()).is_err());
        }
    }
}

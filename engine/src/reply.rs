//! Replies: what a command answers, written once, straight into the buffer that goes to the client.
//!
//! | reply    | RESP2                 | RESP3               |
//! |----------|-----------------------|---------------------|
//! | null     | `$-1`                 | `_`                 |
//! | no array | `*-1`                 | `_`                 |
//! | map of n | `*2n`                 | `%n`                |
//! | set of n | `*n`                  | `~n`                |
//! | push of n| `*n`                  | `>n`                |
//! | double   | bulk string           | `,`                 |
//! | boolean  | `:1` / `:0`           | `#t` / `#f`         |
//! | verbatim | bulk string           | `=` with its format |
//!
//! Invariant: an aggregate header promises exactly the elements written after it. Where the count is not known
//! before, reserve it with [`Out::deferred`] and fill it in.

use crate::error::CommandError;
use crate::number::format_f64;
use crate::types::listpack::LpEntry;

/// What a command function answers, for replies of one element; anything longer is written to [`Out`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+OK`
    Ok,
    /// An integer.
    Integer(i64),
    /// The null bulk string.
    Null,
    /// The null array.
    NullArray,
    /// A status line.
    Status(&'static str),
    /// A double.
    Double(f64),
    /// The reply is in the buffer already.
    Written,
    /// Nothing to answer yet: the client waits until one of the command's keys is ready or the time is over.
    Block {
        /// When to give up, in Unix milliseconds; `None` waits for ever.
        until_ms: Option<i64>,
    },
}

impl From<usize> for Reply {
    fn from(n: usize) -> Self {
        Self::Integer(n as i64)
    }
}

impl From<bool> for Reply {
    /// 1 or 0, as most commands answer.
    fn from(yes: bool) -> Self {
        Self::Integer(i64::from(yes))
    }
}

/// A reply buffer with the protocol version of its client.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    resp3: bool,
}

/// A place for an aggregate header whose count comes later.
#[derive(Debug)]
#[must_use]
pub struct Deferred(usize);

impl Out {
    /// An empty buffer that speaks RESP3 or RESP2.
    pub fn new(resp3: bool) -> Self {
        Self { bytes: Vec::new(), resp3 }
    }

    /// A buffer that continues after `bytes`.
    pub fn with_buffer(bytes: Vec<u8>, resp3: bool) -> Self {
        Self { bytes, resp3 }
    }

    /// Whether the client speaks RESP3.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Changes the protocol version for what follows.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// What has been written.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer itself, for what is already encoded.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Gives the buffer back.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes written.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the buffer takes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes back everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Writes what a command function returned. `Block` writes nothing: that is the caller's part.
    #[inline]
    pub fn reply(&mut self, reply: &Reply) {
        match *reply {
            Reply::Ok => self.bytes.extend_from_slice(b"+OK\r\n"),
            Reply::Integer(n) => self.integer(n),
            Reply::Null => self.null(),
            Reply::NullArray => self.null_array(),
            Reply::Status(text) => self.status(text),
            Reply::Double(x) => self.double(x),
            Reply::Written | Reply::Block { .. } => {}
        }
    }

    /// `+text`
    pub fn status(&mut self, text: &str) {
        self.bytes.push(b'+');
        self.bytes.extend_from_slice(text.as_bytes());
        self.crlf();
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// `-CODE text`; line ends inside are replaced by spaces, they would break the protocol.
    pub fn error(&mut self, error: &CommandError) {
        match error {
            CommandError::Text(line) => self.error_line(line),
            CommandError::Quoting(line) => self.error_bytes(line),
            other => self.error_line(&other.to_string()),
        }
    }

    /// As [`error`](Self::error), from the line itself.
    pub fn error_line(&mut self, line: &str) {
        self.error_bytes(line.as_bytes());
    }

    fn error_bytes(&mut self, line: &[u8]) {
        let is_end = |b: &u8| matches!(b, b'\r' | b'\n');
        let len = line.iter().rposition(|b| !is_end(b)).map_or(0, |last| last + 1);
        self.bytes.push(b'-');
        self.bytes.extend(line[..len].iter().map(|b| if is_end(b) { b' ' } else { *b }));
        self.crlf();
    }

    /// `:n`
    #[inline]
    pub fn integer(&mut self, n: i64) {
        self.header(b':', n);
    }

    /// `$len` and the bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.bytes.reserve(bytes.len() + 16);
        self.header(b'$', bytes.len() as i64);
        self.bytes.extend_from_slice(bytes);
        self.crlf();
    }

    /// An integer as a bulk string.
    #[inline]
    pub fn bulk_integer(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n).as_bytes());
    }

    /// An element of a collection as a bulk string, however the collection keeps it.
    #[inline]
    pub fn entry(&mut self, entry: LpEntry<'_>) {
        match entry {
            LpEntry::Int(n) => self.bulk_integer(n),
            LpEntry::Str(bytes) => self.bulk(bytes),
        }
    }

    /// The null bulk string.
    #[inline]
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The null array.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A bulk string, or null.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// The header of an array of `n` elements.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as i64);
    }

    /// The header of a map of `n` pairs.
    pub fn map(&mut self, n: usize) {
        if self.resp3 { self.header(b'%', n as i64) } else { self.header(b'*', 2 * n as i64) }
    }

    /// The header of a set of `n` members.
    pub fn set(&mut self, n: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, n as i64);
    }

    /// The header of a push message of `n` elements.
    pub fn push(&mut self, n: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, n as i64);
    }

    /// A double: `,1.5`, or a bulk string in RESP2.
    pub fn double(&mut self, x: f64) {
        let text = format_f64(x);
        if self.resp3 {
            self.bytes.push(b',');
            self.bytes.extend_from_slice(text.as_ref());
            self.crlf();
        } else {
            self.bulk(text.as_ref());
        }
    }

    /// A double printed in a way of its own: `,text`, or a bulk string in RESP2.
    pub fn double_text(&mut self, text: &[u8]) {
        if !self.resp3 {
            return self.bulk(text);
        }
        self.bytes.push(b',');
        self.bytes.extend_from_slice(text);
        self.crlf();
    }

    /// A boolean: `#t`, or `:1` in RESP2.
    pub fn boolean(&mut self, yes: bool) {
        match (self.resp3, yes) {
            (true, true) => self.bytes.extend_from_slice(b"#t\r\n"),
            (true, false) => self.bytes.extend_from_slice(b"#f\r\n"),
            (false, _) => self.integer(i64::from(yes)),
        }
    }

    /// A text with its three-letter format (`txt`, `mkd`), or a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if !self.resp3 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() as i64 + 4);
        self.bytes.extend_from_slice(format.as_bytes());
        self.bytes.push(b':');
        self.bytes.extend_from_slice(text);
        self.crlf();
    }

    /// What `HELP` of a container command answers: a line about the usage, `lines`, and a word about HELP itself.
    pub fn help(&mut self, container: &str, lines: &[&str]) {
        self.array(lines.len() + 3);
        self.status(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
        lines.iter().for_each(|line| self.status(line));
        self.status("HELP");
        self.status("    Print this help.");
    }

    /// A big number from its digits, or a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &[u8]) {
        if !self.resp3 {
            return self.bulk(digits);
        }
        self.bytes.push(b'(');
        self.bytes.extend_from_slice(digits);
        self.crlf();
    }

    /// Notes a place where an aggregate header belongs once its count is known.
    pub fn deferred(&mut self) -> Deferred {
        Deferred(self.bytes.len())
    }

    /// Puts an array header of `n` at the noted place. Moves what was written since: O(its length).
    pub fn fill_array(&mut self, place: Deferred, n: usize) {
        self.fill(place, |out| out.array(n));
    }

    /// As [`fill_array`](Self::fill_array) for a set.
    pub fn fill_set(&mut self, place: Deferred, n: usize) {
        self.fill(place, |out| out.set(n));
    }

    /// As [`fill_array`](Self::fill_array) for a map.
    pub fn fill_map(&mut self, place: Deferred, n: usize) {
        self.fill(place, |out| out.map(n));
    }

    fn fill(&mut self, place: Deferred, header: impl FnOnce(&mut Self)) {
        let end = self.bytes.len();
        header(self);
        let len = self.bytes.len() - end;
        self.bytes[place.0..].rotate_right(len);
    }

    #[inline]
    fn header(&mut self, kind: u8, n: i64) {
        // One or two digits are by far the most common: counters, small arrays, short strings.
        let digit = |n: i64| b'0' + n as u8;
        match n {
            0..=9 => return self.bytes.extend_from_slice(&[kind, digit(n), b'\r', b'\n']),
            10..=99 => {
                return self.bytes.extend_from_slice(&[kind, digit(n / 10), digit(n % 10), b'\r', b'\n']);
            }
            _ => {}
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        self.crlf();
    }

    #[inline]
    fn crlf(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resp3: bool, write: impl FnOnce(&mut Out)) -> String {
        let mut out = Out::new(resp3);
        write(&mut out);
        String::from_utf8(out.into_bytes()).unwrap()
    }

    #[test]
    fn each_version_has_its_forms() {
        for (write, two, three) in [
            (Out::null as fn(&mut Out), "$-1\r\n", "_\r\n"),
            (Out::null_array, "*-1\r\n", "_\r\n"),
            (|o| o.map(3), "*6\r\n", "%3\r\n"),
            (|o| o.set(12), "*12\r\n", "~12\r\n"),
            (|o| o.push(2), "*2\r\n", ">2\r\n"),
            (|o| o.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|o| o.boolean(true), ":1\r\n", "#t\r\n"),
            (|o| o.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (|o| o.integer(-42), ":-42\r\n", ":-42\r\n"),
            (|o| o.error_line("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        ] {
            assert_eq!(written(false, write), two);
            assert_eq!(written(true, write), three);
        }
    }

    #[test]
    fn a_deferred_header_goes_in_front() {
        let text = written(false, |out| {
            out.integer(1);
            let place = out.deferred();
            out.bulk(b"a");
            out.bulk(b"b");
            out.fill_array(place, 2);
        });
        assert_eq!(text, ":1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    }
}

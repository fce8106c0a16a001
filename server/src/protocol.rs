//! Requests: RESP arrays of bulk strings, and inline commands, cut out of what a socket brought.
//!
//! Nothing is copied: a request is a list of places in the buffer. A request that is not complete yet is remembered,
//! so that no byte is looked at twice however it trickles in. Every length is only the client's claim: nothing is
//! allocated for it before the bytes are there.

use memchr::memchr;

/// Longest line: an inline request, or a length.
const LINE_MAX: usize = 64 * 1024;
/// What a client may send before it is authenticated.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16 * 1024;
/// Most arguments of one request.
const ARGS_MAX: i64 = i32::MAX as i64;

/// A place in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    len: usize,
}

impl Span {
    /// The bytes at this place.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start..self.start + self.len]
    }
}

/// What is wrong with a request; the connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("too big inline request")]
    InlineTooBig,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("too big mbulk count string")]
    CountLineTooBig,
    #[error("invalid multibulk length")]
    Count,
    #[error("unauthenticated multibulk length")]
    UnauthenticatedCount,
    #[error("too big bulk count string")]
    LengthLineTooBig,
    #[error("expected '$', got '{0}'")]
    ExpectedBulk(char),
    #[error("invalid bulk length")]
    Length,
    #[error("unauthenticated bulk length")]
    UnauthenticatedLength,
}

/// Limits on requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`
    pub bulk_max: i64,
    /// The client has authenticated.
    pub authenticated: bool,
}

/// Cuts requests out of a buffer.
#[derive(Debug, Default)]
pub struct Parser {
    /// Where to go on in the buffer.
    at: usize,
    /// Arguments of the request that still have to come.
    missing: i64,
    /// Length of the argument that has to come next, once known.
    length: Option<usize>,
    /// How many of `spans` belong to the request that is not complete.
    partial: usize,
    /// And how long they are together.
    partial_bytes: usize,
    /// The places of all arguments so far.
    spans: Vec<Span>,
    /// Number of arguments of each complete request.
    requests: Vec<usize>,
}

impl Parser {
    /// Cuts as many requests as are complete, up to `max`, out of the buffer.
    ///
    /// Inline requests with quotes are rewritten in place (the result is never longer).
    pub fn parse(&mut self, buffer: &mut [u8], limits: Limits, max: usize) -> Result<(), ProtocolError> {
        while self.requests.len() < max {
            let complete = if self.missing > 0 || buffer.get(self.at) == Some(&b'*') {
                self.array(buffer, limits)?
            } else if self.at < buffer.len() {
                self.inline(buffer)?
            } else {
                false
            };
            if !complete {
                return Ok(());
            }
            if self.partial > 0 {
                self.requests.push(self.partial);
                (self.partial, self.partial_bytes) = (0, 0);
            }
        }
        Ok(())
    }

    /// The complete requests: how many arguments each has. Their places follow each other in
    /// [`spans`](Self::spans).
    pub fn requests(&self) -> &[usize] {
        &self.requests
    }

    /// The places of all arguments.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether something of a request has come, but not all of it.
    pub fn is_partial(&self) -> bool {
        self.missing > 0 || self.partial > 0
    }

    /// Whether it is as good as new: nothing of the input is left to it.
    pub fn is_at_rest(&self) -> bool {
        self.at == 0 && !self.is_partial() && self.length.is_none() && self.requests.is_empty()
    }

    /// How much of the argument that has begun to come is still to come, when so much of the input is there: for sizing the
    /// buffer.
    pub fn awaited(&self, have: usize) -> usize {
        self.length.map_or(0, |length| (self.at + length + 2).saturating_sub(have))
    }

    /// The request of which not all has come, as far as it has been cut: how long its arguments are, and how much of the
    /// input they were with what stands around them. Nothing while whole requests wait in front of it.
    pub fn begun(&self) -> (usize, usize) {
        if self.requests.is_empty() { (self.partial_bytes, self.at) } else { (0, 0) }
    }

    /// Forgets the first `count` complete requests; returns how many bytes at the start of the buffer are done with.
    /// The caller removes them before the next [`parse`](Self::parse).
    pub fn consume(&mut self, count: usize) -> usize {
        let args: usize = self.requests.drain(..count).sum();
        self.spans.drain(..args);
        let done = self.spans.first().map_or(self.at, |span| span.start);
        for span in &mut self.spans {
            span.start -= done;
        }
        self.at -= done;
        if self.spans.is_empty() && self.spans.capacity() > 64 {
            // An idle connection keeps nothing.
            (self.spans, self.requests) = (Vec::new(), Vec::new());
        }
        done
    }

    fn array(&mut self, buffer: &[u8], limits: Limits) -> Result<bool, ProtocolError> {
        if self.missing == 0 {
            let count = match short_line(&buffer[self.at..]) {
                Some((count, len)) => {
                    self.at += len;
                    count
                }
                None => {
                    let Some(line) = self.line(buffer, ProtocolError::CountLineTooBig)? else {
                        return Ok(false);
                    };
                    integer(&line.of(buffer)[1..]).filter(|n| *n <= ARGS_MAX).ok_or(ProtocolError::Count)?
                }
            };
            if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
                return Err(ProtocolError::UnauthenticatedCount);
            }
            if count <= 0 {
                return Ok(true);
            }
            self.missing = count;
        }
        while self.missing > 0 {
            let len = match self.length {
                Some(len) => len,
                None => match self.bulk_length(buffer, limits)? {
                    Some(len) => len,
                    None => return Ok(false),
                },
            };
            self.length = Some(len);
            if buffer.len() - self.at < len + 2 {
                return Ok(false);
            }
            self.spans.push(Span { start: self.at, len });
            self.at += len + 2;
            (self.length, self.partial, self.missing) = (None, self.partial + 1, self.missing - 1);
            self.partial_bytes += len;
        }
        Ok(true)
    }

    fn bulk_length(&mut self, buffer: &[u8], limits: Limits) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => {
                // As Redis: the line has to be there before it is judged.
                if self.line(buffer, ProtocolError::LengthLineTooBig)?.is_none() {
                    return Ok(None);
                }
                return Err(ProtocolError::ExpectedBulk(char::from(*other)));
            }
        }
        let len = match short_line(&buffer[self.at..]) {
            Some((len, line)) => {
                self.at += line;
                len
            }
            None => {
                let Some(line) = self.line(buffer, ProtocolError::LengthLineTooBig)? else { return Ok(None) };
                integer(&line.of(buffer)[1..]).ok_or(ProtocolError::Length)?
            }
        };
        if len < 0 || len > limits.bulk_max {
            return Err(ProtocolError::Length);
        }
        if len > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedLength);
        }
        usize::try_from(len).map(Some).map_err(|_| ProtocolError::Length)
    }

    /// The line at `at`, without its end, once it is whole.
    #[inline]
    fn line(&mut self, buffer: &[u8], too_big: ProtocolError) -> Result<Option<Span>, ProtocolError> {
        let rest = &buffer[self.at..];
        let Some(len) = memchr(b'\r', rest) else {
            return if rest.len() > LINE_MAX { Err(too_big) } else { Ok(None) };
        };
        if rest.len() < len + 2 {
            return Ok(None);
        }
        let span = Span { start: self.at, len };
        self.at += len + 2;
        Ok(Some(span))
    }

    fn inline(&mut self, buffer: &mut [u8]) -> Result<bool, ProtocolError> {
        let start = self.at;
        let rest = &buffer[start..];
        let Some(end) = memchr(b'\n', rest) else {
            return if rest.len() > LINE_MAX { Err(ProtocolError::InlineTooBig) } else { Ok(false) };
        };
        let mut line_end = start + end;
        self.at = line_end + 1;
        if line_end > start && buffer[line_end - 1] == b'\r' {
            line_end -= 1;
        }
        split_words(buffer, start, line_end, |span| {
            self.spans.push(span);
            self.partial += 1;
        })
        .ok_or(ProtocolError::UnbalancedQuotes)?;
        Ok(true)
    }
}

/// The number in a line of three digits at most behind its first byte, as nearly all counts and lengths are, and how long
/// the line is. `None` says nothing: the line may be longer, wrong, or not whole.
#[inline]
fn short_line(rest: &[u8]) -> Option<(i64, usize)> {
    let digit = |byte: u8| i64::from(byte.wrapping_sub(b'0'));
    let (number, len) = match *rest {
        [_, a, b'\r', b'\n', ..] => (digit(a), 4),
        [_, a @ b'1'..=b'9', b, b'\r', b'\n', ..] if b.is_ascii_digit() => (digit(a) * 10 + digit(b), 5),
        [_, a @ b'1'..=b'9', b, c, b'\r', b'\n', ..] if b.is_ascii_digit() && c.is_ascii_digit() => {
            (digit(a) * 100 + digit(b) * 10 + digit(c), 6)
        }
        _ => return None,
    };
    // A single byte may have been anything.
    (len > 4 || number <= 9).then_some((number, len))
}

/// An integer as Redis reads lengths: canonical, 64 bits.
#[inline]
fn integer(text: &[u8]) -> Option<i64> {
    if let [digit @ b'0'..=b'9'] = text {
        return Some(i64::from(digit - b'0'));
    }
    baton_engine::number::parse_i64(text)
}

/// Splits a line into words; quotes and escapes are resolved in place. `None` when quotes do not match.
fn split_words(buffer: &mut [u8], start: usize, end: usize, mut found: impl FnMut(Span)) -> Option<()> {
    let mut at = start;
    loop {
        while at < end && is_space(buffer[at]) {
            at += 1;
        }
        if at >= end {
            return Some(());
        }
        let word = at;
        let mut write = at;
        while at < end && !is_space(buffer[at]) {
            match buffer[at] {
                quote @ (b'"' | b'\'') => {
                    (at, write) = quoted(buffer, at + 1, end, write, quote)?;
                    // A closing quote has to be followed by a space or the end.
                    if at < end && !is_space(buffer[at]) {
                        return None;
                    }
                    break;
                }
                byte => {
                    buffer[write] = byte;
                    (at, write) = (at + 1, write + 1);
                }
            }
        }
        found(Span { start: word, len: write - word });
    }
}

/// Resolves a quoted part; returns where reading and writing go on.
fn quoted(
    buffer: &mut [u8],
    mut at: usize,
    end: usize,
    mut write: usize,
    quote: u8,
) -> Option<(usize, usize)> {
    while at < end {
        let (byte, used) = match (buffer[at], quote) {
            (b'\\', b'"') if at + 3 < end && buffer[at + 1] == b'x' => {
                let hex = |b: u8| char::from(b).to_digit(16);
                match (hex(buffer[at + 2]), hex(buffer[at + 3])) {
                    (Some(high), Some(low)) => ((high << 4 | low) as u8, 4),
                    _ => (b'x', 2),
                }
            }
            (b'\\', b'"') if at + 1 < end => {
                let byte = match buffer[at + 1] {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                };
                (byte, 2)
            }
            (b'\\', b'\'') if buffer.get(at + 1) == Some(&b'\'') && at + 1 < end => (b'\'', 2),
            (byte, _) if byte == quote => return Some((at + 1, write)),
            (byte, _) => (byte, 1),
        };
        buffer[write] = byte;
        (at, write) = (at + used, write + 1);
    }
    None
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: Limits = Limits { bulk_max: 512 << 20, authenticated: true };

    fn parse_in_pieces(
        input: &[u8],
        pieces: &[usize],
        limits: Limits,
    ) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut buffer, mut out) = (Parser::default(), Vec::new(), Vec::new());
        let mut rest = input;
        let mut sizes = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let take = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            buffer.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            parser.parse(&mut buffer, limits, usize::MAX)?;
            let mut spans = parser.spans().iter();
            for count in parser.requests() {
                out.push(spans.by_ref().take(*count).map(|span| span.of(&buffer).to_vec()).collect());
            }
            let done = parser.consume(parser.requests().len());
            buffer.drain(..done);
        }
        Ok(out)
    }

    #[track_caller]
    fn check(input: &str, requests: &[&[&str]]) {
        for piece in [1, 3, input.len().max(1)] {
            let found = parse_in_pieces(input.as_bytes(), &[piece], OPEN).unwrap();
            let found: Vec<Vec<String>> = found
                .iter()
                .map(|r| r.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect())
                .collect();
            assert_eq!(found, requests, "{input:?} in pieces of {piece}");
        }
    }

    #[track_caller]
    fn refuse(input: &str, limits: Limits, error: ProtocolError) {
        assert_eq!(parse_in_pieces(input.as_bytes(), &[input.len()], limits), Err(error), "{input:?}");
    }

    #[test]
    fn requests_come_out_whatever_the_pieces() {
        check("*1\r\n$4\r\nPING\r\n", &[&["PING"]]);
        check("*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$1\r\nx\r\n", &[&["GET", ""], &["x"]]);
        check("PING\r\n\r\nSET  a 'b c'\n", &[&["PING"], &["SET", "a", "b c"]]);
        check("*0\r\n*-1\r\nPING\r\n", &[&["PING"]]);
        check("ECHO \"a\\x41\\n\\\"\" x\r\n", &[&["ECHO", "aA\n\"", "x"]]);
    }

    #[test]
    fn malformed_requests_get_the_errors_of_redis() {
        let closed = Limits { authenticated: false, ..OPEN };
        refuse("*abc\r\n", OPEN, ProtocolError::Count);
        refuse("*3\r\nGET\r\n", OPEN, ProtocolError::ExpectedBulk('G'));
        refuse("*1\r\n$-5\r\n", OPEN, ProtocolError::Length);
        refuse("*1\r\n$2147483648\r\n", OPEN, ProtocolError::Length);
        refuse("set \"a b\r\n", OPEN, ProtocolError::UnbalancedQuotes);
        refuse("*11\r\n", closed, ProtocolError::UnauthenticatedCount);
        refuse("*1\r\n$16385\r\n", closed, ProtocolError::UnauthenticatedLength);
        refuse(&"a".repeat(LINE_MAX + 1), OPEN, ProtocolError::InlineTooBig);
        refuse(&format!("*{}", "1".repeat(LINE_MAX + 1)), OPEN, ProtocolError::CountLineTooBig);
    }

    proptest! {
        /// Any requests, cut anywhere, come out as they went in.
        #[test]
        fn any_requests_in_any_pieces(
            requests in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 0..20),
            pieces in prop::collection::vec(1..50usize, 1..20),
        ) {
            let mut input = Vec::new();
            for request in &requests {
                input.extend(format!("*{}\r\n", request.len()).bytes());
                for arg in request {
                    input.extend(format!("${}\r\n", arg.len()).bytes());
                    input.extend(arg);
                    input.extend(b"\r\n");
                }
            }
            prop_assert_eq!(parse_in_pieces(&input, &pieces, OPEN).unwrap(), requests);
        }

        /// Garbage is refused or understood, never a panic.
        #[test]
        fn garbage_never_panics(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_in_pieces(&input, &[7], OPEN);
        }
    }
}

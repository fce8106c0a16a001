//! A small blocking client that hides nothing.
//!
//! | first byte | reply                  | | first byte | reply (RESP3 only)      |
//! |------------|------------------------|-|------------|-------------------------|
//! | `+`        | [`Reply::Simple`]      | | `_`        | [`Reply::Null`]         |
//! | `-`        | [`Reply::Error`]       | | `#`        | [`Reply::Boolean`]      |
//! | `:`        | [`Reply::Integer`]     | | `,`        | [`Reply::Double`]       |
//! | `$`        | [`Reply::Bulk`]        | | `(`        | [`Reply::BigNumber`]    |
//! | `$-1`      | [`Reply::NullBulk`]    | | `!`        | [`Reply::BulkError`]    |
//! | `*`        | [`Reply::Array`]       | | `=`        | [`Reply::Verbatim`]     |
//! | `*-1`      | [`Reply::NullArray`]   | | `%` `~` `>`| map, set, push          |
//! |            |                        | | `\|`       | [`Reply::Attributed`]   |

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take before the test fails.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A reply nested deeper than this is taken for garbage.
const DEPTH_MAX: usize = 64;

/// One reply, with the type that was on the wire.
#[derive(Clone, PartialEq)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    NullBulk,
    Array(Vec<Reply>),
    NullArray,
    Null,
    Boolean(bool),
    Double(f64),
    BigNumber(Vec<u8>),
    BulkError(Vec<u8>),
    Verbatim { format: Vec<u8>, text: Vec<u8> },
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    Attributed { attributes: Vec<(Reply, Reply)>, reply: Box<Reply> },
}

impl Reply {
    pub fn bulk(text: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(text.as_ref().to_vec())
    }

    pub fn simple(text: &str) -> Reply {
        Reply::Simple(text.as_bytes().to_vec())
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_) | Reply::BulkError(_))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Reply::Null | Reply::NullBulk | Reply::NullArray)
    }

    /// The bytes of a string, status or error.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Simple(bytes)
            | Reply::Error(bytes)
            | Reply::Bulk(bytes)
            | Reply::BigNumber(bytes)
            | Reply::BulkError(bytes)
            | Reply::Verbatim { text: bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// The same as text, for messages and for looking into INFO.
    pub fn text(&self) -> String {
        self.bytes().map_or_else(|| format!("{self:?}"), |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Reply::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn elements(&self) -> Option<&[Reply]> {
        match self {
            Reply::Array(elements) | Reply::Set(elements) | Reply::Push(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Binary-safe, on one line, in the manner of redis-cli.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) => write!(f, "+{}", text.escape_ascii()),
            Reply::Error(text) => write!(f, "-{}", text.escape_ascii()),
            Reply::Integer(value) => write!(f, ":{value}"),
            Reply::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::NullBulk => write!(f, "$-1"),
            Reply::Array(elements) => f.debug_list().entries(elements).finish(),
            Reply::NullArray => write!(f, "*-1"),
            Reply::Null => write!(f, "_"),
            Reply::Boolean(value) => write!(f, "#{value}"),
            Reply::Double(value) => write!(f, ",{value:?}"),
            Reply::BigNumber(digits) => write!(f, "({}", digits.escape_ascii()),
            Reply::BulkError(text) => write!(f, "!{}", text.escape_ascii()),
            Reply::Verbatim { format, text } => {
                write!(f, "={}:{}", format.escape_ascii(), text.escape_ascii())
            }
            Reply::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Reply::Set(elements) => {
                write!(f, "~")?;
                f.debug_list().entries(elements).finish()
            }
            Reply::Push(elements) => {
                write!(f, ">")?;
                f.debug_list().entries(elements).finish()
            }
            Reply::Attributed { attributes, reply } => write!(f, "|{attributes:?}| {reply:?}"),
        }
    }
}

/// One connection. The methods that return `io::Result` are for tests in which a server may die; the
/// others panic with what went wrong.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been parsed.
    parsed: usize,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, READ_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Client { stream, received: Vec::new(), parsed: 0 })
    }

    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }

    /// Sends one command and waits for its reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Reply {
        self.try_call(command).unwrap_or_else(|error| panic!("{}: {error}", show(command)))
    }

    /// The same for a command whose words hold no spaces: `run("SET key value")`.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Reply {
        self.call(&command.split_ascii_whitespace().collect::<Vec<_>>())
    }

    /// Sends all commands in one write, then reads one reply for each.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| encode(command, &mut bytes));
        self.write_raw(&bytes).unwrap_or_else(|error| panic!("writing a pipeline: {error}"));
        let read = |command: &Vec<A>| {
            self.receive().unwrap_or_else(|error| panic!("reply to {}: {error}", show(command)))
        };
        commands.iter().map(read).collect()
    }

    pub fn try_call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Reply> {
        self.send(command)?;
        self.receive()
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode(command, &mut bytes);
        self.write_raw(&bytes)
    }

    /// Sends a command as a person at a telnet prompt would.
    pub fn send_inline(&mut self, line: &str) -> io::Result<()> {
        self.write_raw(format!("{line}\r\n").as_bytes())
    }

    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next reply or push.
    ///
    /// # Errors
    /// `TimedOut` or `WouldBlock` when nothing came in time (the bytes that did come are kept),
    /// `UnexpectedEof` when the server closed, `InvalidData` when the bytes are no reply.
    pub fn receive(&mut self) -> io::Result<Reply> {
        loop {
            let mut input = Input { bytes: &self.received[self.parsed..], read: 0 };
            match input.reply(0) {
                Ok(reply) => {
                    self.parsed += input.read;
                    self.forget_parsed();
                    return Ok(reply);
                }
                Err(Unready::Incomplete) => self.fill()?,
                Err(Unready::Malformed(what)) => {
                    let rest = &self.received[self.parsed..];
                    let seen = rest[..rest.len().min(80)].escape_ascii();
                    return Err(io::Error::new(ErrorKind::InvalidData, format!("{what} in \"{seen}\"")));
                }
            }
        }
    }

    /// Whether the server has closed this connection, once everything it sent is read.
    pub fn is_closed(&mut self) -> bool {
        match self.receive() {
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            count => {
                self.received.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }

    fn forget_parsed(&mut self) {
        if self.parsed == self.received.len() {
            self.received.clear();
            self.parsed = 0;
        }
    }
}

/// Appends a command as an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(command: &[A], out: &mut Vec<u8>) {
    out.extend(format!("*{}\r\n", command.len()).bytes());
    for word in command {
        let word = word.as_ref();
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A command as a line that can be pasted into redis-cli: quotes where they are needed.
pub fn show<A: AsRef<[u8]>>(command: &[A]) -> String {
    let plain = |word: &[u8]| {
        !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(byte))
    };
    let word = |word: &A| match word.as_ref() {
        word if plain(word) => word.escape_ascii().to_string(),
        word => format!("\"{}\"", word.escape_ascii()),
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

enum Unready {
    Incomplete,
    Malformed(String),
}

struct Input<'a> {
    bytes: &'a [u8],
    read: usize,
}

impl Input<'_> {
    fn reply(&mut self, depth: usize) -> Result<Reply, Unready> {
        if depth > DEPTH_MAX {
            return Err(Unready::Malformed("too deep a reply".into()));
        }
        let line = self.line()?;
        let Some((kind, rest)) = line.split_first() else {
            return Err(Unready::Malformed("an empty line".into()));
        };
        Ok(match kind {
            b'+' => Reply::Simple(rest.to_vec()),
            b'-' => Reply::Error(rest.to_vec()),
            b':' => Reply::Integer(number(rest)?),
            b'$' => self.length(rest)?.map_or(Ok(Reply::NullBulk), |len| self.blob(len).map(Reply::Bulk))?,
            b'*' => match self.length(rest)? {
                Some(len) => Reply::Array(self.replies(len, depth)?),
                None => Reply::NullArray,
            },
            b'_' if rest.is_empty() => Reply::Null,
            b'#' if rest == b"t" => Reply::Boolean(true),
            b'#' if rest == b"f" => Reply::Boolean(false),
            b',' => Reply::Double(number(rest)?),
            b'(' => Reply::BigNumber(rest.to_vec()),
            b'!' => Reply::BulkError(self.some_blob(rest)?),
            b'=' => verbatim(self.some_blob(rest)?)?,
            b'%' => Reply::Map(self.pairs(rest, depth)?),
            b'~' => Reply::Set(self.some_replies(rest, depth)?),
            b'>' => Reply::Push(self.some_replies(rest, depth)?),
            b'|' => Reply::Attributed {
                attributes: self.pairs(rest, depth)?,
                reply: Box::new(self.reply(depth + 1)?),
            },
            _ => return Err(Unready::Malformed(format!("an unknown type '{}'", kind.escape_ascii()))),
        })
    }

    fn line(&mut self) -> Result<Vec<u8>, Unready> {
        let rest = &self.bytes[self.read..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Unready::Incomplete)?;
        self.read += end + 2;
        Ok(rest[..end].to_vec())
    }

    /// The length of a bulk string or array; `None` for -1.
    fn length(&self, digits: &[u8]) -> Result<Option<usize>, Unready> {
        match number::<i64>(digits)? {
            -1 => Ok(None),
            len => {
                usize::try_from(len).map(Some).map_err(|_| Unready::Malformed(format!("a length of {len}")))
            }
        }
    }

    fn some_length(&self, digits: &[u8]) -> Result<usize, Unready> {
        self.length(digits)?.ok_or_else(|| Unready::Malformed("a null where none is allowed".into()))
    }

    fn blob(&mut self, len: usize) -> Result<Vec<u8>, Unready> {
        let rest = &self.bytes[self.read..];
        if rest.len() < len.saturating_add(2) {
            return Err(Unready::Incomplete);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(Unready::Malformed("a string that does not end with CR LF".into()));
        }
        self.read += len + 2;
        Ok(rest[..len].to_vec())
    }

    fn some_blob(&mut self, digits: &[u8]) -> Result<Vec<u8>, Unready> {
        let len = self.some_length(digits)?;
        self.blob(len)
    }

    fn replies(&mut self, len: usize, depth: usize) -> Result<Vec<Reply>, Unready> {
        (0..len).map(|_| self.reply(depth + 1)).collect()
    }

    fn some_replies(&mut self, digits: &[u8], depth: usize) -> Result<Vec<Reply>, Unready> {
        let len = self.some_length(digits)?;
        self.replies(len, depth)
    }

    fn pairs(&mut self, digits: &[u8], depth: usize) -> Result<Vec<(Reply, Reply)>, Unready> {
        let len = self.some_length(digits)?;
        (0..len).map(|_| Ok((self.reply(depth + 1)?, self.reply(depth + 1)?))).collect()
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Result<T, Unready> {
    let parsed = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    parsed.ok_or_else(|| Unready::Malformed(format!("a number '{}'", digits.escape_ascii())))
}

fn verbatim(mut bytes: Vec<u8>) -> Result<Reply, Unready> {
    if bytes.get(3) != Some(&b':') {
        return Err(Unready::Malformed("a verbatim string without format".into()));
    }
    let text = bytes.split_off(4);
    bytes.truncate(3);
    Ok(Reply::Verbatim { format: bytes, text })
}

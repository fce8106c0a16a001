//! The snapshot on the wire: how it is framed. A pure decoder that holds no bytes.
//!
//! | bytes                                   | meaning                                                        |
//! |-----------------------------------------|----------------------------------------------------------------|
//! | `\n`                                    | the primary lives, and is still preparing the snapshot         |
//! | `$<length>\r\n`, the bytes              | a snapshot from a file. No line end follows it                 |
//! | `$EOF:<mark>\r\n`, the bytes, `<mark>`  | one that is made as it is sent; the mark is 40 random bytes    |
//! | `-<text>\r\n`                           | the primary gives up                                           |
//!
//! What follows the last byte is the stream, and may come in the same packet.

use memchr::{memchr, memmem};

const MARK: usize = 40;
/// No header is longer: `$EOF:` and the mark, or a length; an error has some words.
const LINE_MAX: usize = 1024;

/// Takes the payload apart. See [`next`](Self::next).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Header,
    Sized {
        left: u64,
    },
    Marked {
        mark: [u8; MARK],
    },
    Over,
}

/// A part of the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// More bytes are needed.
    More,
    /// The primary lives.
    Alive,
    /// The snapshot begins, of this length if that is known.
    Begin(Option<u64>),
    /// Bytes of the snapshot.
    Data(&'a [u8]),
    /// The snapshot was whole.
    End,
}

/// What is wrong with a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The primary gives up, in its own words.
    #[error("MASTER aborted replication with an error: {0}")]
    Aborted(String),
    /// It is not a payload.
    #[error(
        "Bad protocol from MASTER, the first byte is not '$' (we received '{0}'), are you sure the host and port are right?"
    )]
    NoPayload(String),
}

impl Payload {
    /// The next part of the payload, and how many bytes it takes: pass the rest the next time, with more behind it after
    /// [`Piece::More`]. After [`Piece::End`] nothing more is taken.
    ///
    /// # Errors
    /// [`PayloadError`]: the connection is of no use any more.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<(Piece<'a>, usize), PayloadError> {
        match &mut self.state {
            State::Header => self.header(bytes),
            State::Sized { left: 0 } => {
                self.state = State::Over;
                Ok((Piece::End, 0))
            }
            State::Sized { .. } | State::Marked { .. } if bytes.is_empty() => Ok((Piece::More, 0)),
            State::Sized { left } => {
                let there = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= there as u64;
                Ok((Piece::Data(&bytes[..there]), there))
            }
            State::Marked { mark } => match memmem::find(bytes, mark) {
                Some(0) => {
                    self.state = State::Over;
                    Ok((Piece::End, MARK))
                }
                Some(at) => Ok((Piece::Data(&bytes[..at]), at)),
                // The mark may have begun.
                None => match bytes.len().checked_sub(MARK - 1) {
                    None | Some(0) => Ok((Piece::More, 0)),
                    Some(data) => Ok((Piece::Data(&bytes[..data]), data)),
                },
            },
            State::Over => Ok((Piece::End, 0)),
        }
    }

    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<(Piece<'a>, usize), PayloadError> {
        if bytes.first() == Some(&b'\n') {
            return Ok((Piece::Alive, 1));
        }
        let shown = |line: &[u8]| line[..line.len().min(64)].escape_ascii().to_string();
        if bytes.first().is_some_and(|first| !matches!(first, b'$' | b'-')) {
            return Err(PayloadError::NoPayload(shown(bytes)));
        }
        let Some(end) = memchr(b'\n', &bytes[..bytes.len().min(LINE_MAX + 1)]) else {
            return if bytes.len() > LINE_MAX {
                Err(PayloadError::NoPayload(shown(bytes)))
            } else {
                Ok((Piece::More, 0))
            };
        };
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        if let Some(why) = line.strip_prefix(b"-") {
            return Err(PayloadError::Aborted(String::from_utf8_lossy(why).into_owned()));
        }
        let begin = match line.strip_prefix(b"$EOF:") {
            Some(mark) => {
                let mark = mark.first_chunk::<MARK>().ok_or_else(|| PayloadError::NoPayload(shown(line)))?;
                self.state = State::Marked { mark: *mark };
                None
            }
            None => {
                let digits = std::str::from_utf8(&line[1..]).ok();
                let left = digits.and_then(|digits| digits.parse::<u64>().ok());
                let left = left.ok_or_else(|| PayloadError::NoPayload(shown(line)))?;
                self.state = State::Sized { left };
                Some(left)
            }
        };
        Ok((Piece::Begin(begin), end + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    /// What was said, the data, and what is left behind the end.
    type Decoded = (Vec<String>, Vec<u8>, Vec<u8>);

    /// Decodes what comes in pieces of this size: what was said, the data, and what is left behind the end.
    fn decode(sent: &[u8], piece: usize) -> Result<Decoded, PayloadError> {
        let (mut payload, mut buffer, mut said, mut data) =
            (Payload::default(), Vec::new(), Vec::new(), Vec::new());
        let mut over = false;
        for part in sent.chunks(piece.max(1)) {
            buffer.extend_from_slice(part);
            while !over {
                let (piece, used) = payload.next(&buffer)?;
                match piece {
                    Piece::More => break,
                    Piece::Alive => said.push("alive".to_owned()),
                    Piece::Begin(len) => said.push(format!("begin {len:?}")),
                    Piece::Data(bytes) => data.extend_from_slice(bytes),
                    Piece::End => {
                        said.push("end".to_owned());
                        over = true;
                    }
                }
                buffer.drain(..used);
            }
        }
        Ok((said, data, buffer))
    }

    #[test]
    fn golden() {
        let mark = "m".repeat(MARK);
        for piece in [1, 7, 1000] {
            let sized = decode(b"\n\n$5\r\nREDIS*1\r\n", piece).unwrap();
            assert_eq!(sized.0, ["alive", "alive", "begin Some(5)", "end"]);
            assert_eq!((&sized.1[..], &sized.2[..]), (&b"REDIS"[..], &b"*1\r\n"[..]));
            let marked =
                decode(format!("$EOF:{mark}\r\nRE{}X{mark}*1", "m".repeat(39)).as_bytes(), piece).unwrap();
            assert_eq!(marked.0, ["begin None", "end"]);
            assert_eq!(
                (&marked.1[..], &marked.2[..]),
                (format!("RE{}X", "m".repeat(39)).as_bytes(), &b"*1"[..])
            );
            assert_eq!(decode(b"$0\r\nx", piece).unwrap().2, b"x");
            let aborted = decode(b"-ERR no\r\n", piece).unwrap_err();
            assert_eq!(aborted, PayloadError::Aborted("ERR no".to_owned()));
        }
        for wrong in [&b"+OK\r\n"[..], b"$x\r\n", b"$-1\r\n", b"$EOF:short\r\n", b"$99999999999999999999\r\n"]
        {
            assert!(
                matches!(decode(wrong, 1000), Err(PayloadError::NoPayload(_))),
                "{}",
                wrong.escape_ascii()
            );
        }
        assert!(decode(&[b'$'; LINE_MAX + 2], 10).is_err());
        // A line is too long however much of it has come, and whatever is behind it.
        let long = format!("$EOF:{mark}{}\r\n{mark}", "x".repeat(LINE_MAX));
        for piece in [1, 43, long.len()] {
            assert!(decode(long.as_bytes(), piece).is_err(), "in pieces of {piece}");
        }
    }

    proptest! {
        /// However it comes in pieces, the same is decoded.
        #[test]
        fn pieces_do_not_matter(data in proptest::collection::vec(b'a'..b'd', 0..300), after in any::<Vec<u8>>(), piece in 1usize..60) {
            let mark = [b'a'; MARK];
            let mut sent = [b"$EOF:", &mark[..], b"\r\nZ"].concat();
            sent.extend_from_slice(&data);
            // The first place where the mark stands counts; nothing before it may run into it.
            sent.push(b'Z');
            sent.extend_from_slice(&mark);
            sent.extend_from_slice(&after);
            prop_assert_eq!(decode(&sent, piece).unwrap(), decode(&sent, sent.len()).unwrap());
        }
    }
}

//! Which history the data of a node belong to, and whether a replica can go on in it.
//!
//! A history is a sequence of bytes with a random name. Two nodes that are at the same offset of the same history hold the
//! same data. A replica that becomes a primary begins a history of its own, which agrees with the old one up to that
//! point; it remembers the old name, so that the other replicas of its former primary can go on with it.
//!
//! | what happens                                   | id      | previous id, and how far it is good  |
//! |------------------------------------------------|---------|--------------------------------------|
//! | [`new`](History::new), [`renew`](History::renew)   | random  | none                                 |
//! | [`promote`](History::promote): no primary any more | random  | the id so far, up to the offset       |
//! | [`resume`](History::resume): a restart            | random  | the id that was saved, up to the offset that was |
//! | [`adopt`](History::adopt): a full synchronisation  | theirs  | none                                 |
//! | [`go_on_as`](History::go_on_as): `+CONTINUE id`    | theirs  | the id so far, up to the offset       |

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// No stream gets this far: an offset beyond it is wrong, whoever tells it. There is room above it to count on.
pub const OFFSET_MAX: u64 = 1 << 62;

/// The name of a history: 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplId([u8; 40]);

impl ReplId {
    /// From 20 random bytes.
    pub fn from_random(random: [u8; 20]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |n: usize| DIGITS[usize::from(random[n / 2] >> (4 * (1 - n % 2)) & 15)];
        Self(std::array::from_fn(digit))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As it is written.
    pub fn bytes(&self) -> [u8; 40] {
        self.0
    }

    /// From what came over the wire or from a file; case does not matter. `None`: not 40 printable characters.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 40] = text.try_into().ok()?;
        digits
            .iter()
            .all(u8::is_ascii_alphanumeric)
            .then(|| Self(digits.map(|digit| digit.to_ascii_lowercase())))
    }
}

impl FromStr for ReplId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        Self::parse(text.as_bytes()).ok_or(NotAnId)
    }
}

/// Not the name of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 40 hexadecimal digits")]
pub struct NotAnId;

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A history that the data also belonged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its name.
    pub id: ReplId,
    /// Bytes of it that this node has: it goes on differently behind them.
    pub end: u64,
}

/// The history of a node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name (`master_replid`).
    pub id: ReplId,
    /// The one before (`master_replid2`, `second_repl_offset`).
    pub previous: Option<Previous>,
}

/// What a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The history that it knows; `None` for `?`: it wants all.
    pub id: Option<ReplId>,
    /// Bytes of it that it has.
    pub has: u64,
}

impl Request {
    /// The arguments of `PSYNC`.
    pub fn parse(id: &[u8], wire_offset: i64) -> Self {
        // Whoever asks for the byte 0 or -1 has nothing.
        Self { id: ReplId::parse(id), has: u64::try_from(wire_offset.saturating_sub(1)).unwrap_or(0) }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on from here.
    Continue {
        /// The first byte that it lacks.
        from: u64,
    },
    /// It needs all data.
    FullSync(Why),
}

/// Why a replica cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does not want to.
    Asked,
    /// Its history is another one.
    OtherHistory,
    /// It has more of the previous history than this node ever had.
    BeyondPrevious,
    /// What it lacks is no longer there.
    TooOld,
    /// It has more than this node.
    Ahead,
}

impl History {
    /// A new one.
    pub fn new(id: ReplId) -> Self {
        Self { id, previous: None }
    }

    /// The data have become others, or nobody can know what they have in common with what they were.
    pub fn renew(&mut self, id: ReplId) {
        *self = Self::new(id);
    }

    /// A replica becomes a primary, having so many bytes of its primary's history.
    pub fn promote(&mut self, id: ReplId, offset: u64) {
        *self = Self { id, previous: Some(Previous { id: self.id, end: offset }) };
    }

    /// A primary starts with data that it saved at this offset of this history.
    pub fn resume(&mut self, id: ReplId, saved: ReplId, offset: u64) {
        *self = Self { id, previous: Some(Previous { id: saved, end: offset }) };
    }

    /// A replica has been sent all data of its primary.
    pub fn adopt(&mut self, id: ReplId) {
        self.renew(id);
    }

    /// A replica goes on with its primary, whose history has this name by now.
    pub fn go_on_as(&mut self, id: ReplId, offset: u64) {
        if id != self.id {
            self.promote(id, offset);
        }
    }

    /// Whether a replica can go on, when these bytes of the history are there. An empty range is a place to go on from too.
    pub fn decide(&self, request: Request, there: Option<Range<u64>>) -> Decision {
        let Some(id) = request.id else { return Decision::FullSync(Why::Asked) };
        if id != self.id {
            match self.previous {
                Some(previous) if previous.id == id && request.has <= previous.end => {}
                Some(previous) if previous.id == id => return Decision::FullSync(Why::BeyondPrevious),
                _ => return Decision::FullSync(Why::OtherHistory),
            }
        }
        match there {
            Some(there) if request.has > there.end => Decision::FullSync(Why::Ahead),
            Some(there) if request.has >= there.start => Decision::Continue { from: request.has },
            _ => Decision::FullSync(Why::TooOld),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ReplId {
        ReplId::from_random([n; 20])
    }

    #[test]
    fn ids() {
        assert_eq!(id(0xa7).to_string(), "a7".repeat(20));
        assert_eq!(ReplId::parse("A7".repeat(20).as_bytes()), Some(id(0xa7)));
        for bad in [&b"?"[..], b"", &[b'a'; 39], &[b'a'; 41], &[b' '; 40], &[0xff; 40]] {
            assert_eq!(ReplId::parse(bad), None);
        }
        assert_eq!(Request::parse(b"?", -1), Request { id: None, has: 0 });
        assert_eq!(Request::parse("01".repeat(20).as_bytes(), 8).has, 7);
        assert_eq!(Request::parse(b"?", i64::MIN).has, 0);
    }

    #[test]
    fn who_goes_on() {
        let mut history = History::new(id(1));
        history.promote(id(2), 100);
        let ask = |who: u8, has: u64| history.decide(Request { id: Some(id(who)), has }, Some(50..150));
        for (who, has, decision) in [
            (2, 150, Decision::Continue { from: 150 }),
            (2, 50, Decision::Continue { from: 50 }),
            (2, 49, Decision::FullSync(Why::TooOld)),
            (2, 151, Decision::FullSync(Why::Ahead)),
            (1, 100, Decision::Continue { from: 100 }),
            (1, 101, Decision::FullSync(Why::BeyondPrevious)),
            (1, 40, Decision::FullSync(Why::TooOld)),
            (3, 100, Decision::FullSync(Why::OtherHistory)),
        ] {
            assert_eq!(ask(who, has), decision, "{who} with {has} bytes");
        }
        assert_eq!(history.decide(Request { id: None, has: 0 }, Some(0..1)), Decision::FullSync(Why::Asked));
        let request = Request { id: Some(id(2)), has: 9 };
        assert_eq!(history.decide(request, None), Decision::FullSync(Why::TooOld));
        assert_eq!(history.decide(request, Some(9..9)), Decision::Continue { from: 9 });
    }

    #[test]
    fn what_happens_to_a_history() {
        let mut history = History::new(id(1));
        history.go_on_as(id(1), 7);
        assert_eq!(history, History::new(id(1)));
        history.go_on_as(id(2), 7);
        assert_eq!(history, History { id: id(2), previous: Some(Previous { id: id(1), end: 7 }) });
        history.promote(id(3), 9);
        assert_eq!(history.previous, Some(Previous { id: id(2), end: 9 }));
        history.adopt(id(4));
        assert_eq!(history, History::new(id(4)));
        history.resume(id(5), id(6), 3);
        assert_eq!(history, History { id: id(5), previous: Some(Previous { id: id(6), end: 3 }) });
    }
}

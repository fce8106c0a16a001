//! Expiry times among arguments: `EX`, `PX`, `EXAT`, `PXAT`, and what they mean in Unix milliseconds.
//!
//! | word | number is         | relative to |
//! |------|-------------------|-------------|
//! | EX   | seconds           | now         |
//! | PX   | milliseconds      | now         |
//! | EXAT | Unix seconds      |             |
//! | PXAT | Unix milliseconds |             |
//!
//! The whole grammar of a command is checked first, then the number, then whether it can be a time: so reading
//! the words and computing the deadline are two steps.

use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::number::parse_i64;

/// What the number of an expiry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl Unit {
    /// The unit of this word, in any case.
    pub(super) fn named(word: &[u8]) -> Option<Self> {
        // All of them have two or four letters and an X: spare most words the comparisons.
        if word.len() != 2 && word.len() != 4 {
            return None;
        }
        [(&b"EX"[..], Self::Ex), (b"PX", Self::Px), (b"EXAT", Self::ExAt), (b"PXAT", Self::PxAt)]
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|(_, unit)| unit)
    }

    /// Whether the number counts from now.
    pub(super) fn is_relative(self) -> bool {
        matches!(self, Self::Ex | Self::Px)
    }

    fn is_seconds(self) -> bool {
        matches!(self, Self::Ex | Self::ExAt)
    }

    /// The deadline in Unix milliseconds as SET and its kin reckon it: numbers below 1 are refused.
    /// `command` is the name in the error.
    pub(super) fn deadline(self, n: i64, now_ms: i64, command: &str) -> Result<i64, CommandError> {
        match self.any_deadline(n, now_ms, command)? {
            at if n > 0 && at > 0 => Ok(at),
            _ => Err(invalid(command)),
        }
    }

    /// The deadline in Unix milliseconds as EXPIRE and its kin reckon it: it may lie in the past.
    pub(super) fn any_deadline(self, n: i64, now_ms: i64, command: &str) -> Result<i64, CommandError> {
        let ms = if self.is_seconds() { n.checked_mul(1000) } else { Some(n) };
        let base = if self.is_relative() { now_ms } else { 0 };
        ms.and_then(|ms| ms.checked_add(base)).ok_or_else(|| invalid(command))
    }
}

/// An expiry as it was given: its unit, and its number not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry<'a> {
    pub(super) unit: Unit,
    pub(super) number: &'a [u8],
}

impl<'a> Expiry<'a> {
    /// Reads `EX n` or one of its kin, when that is what comes next and a number (or whatever) follows.
    pub(super) fn read(args: &mut Args<'a>) -> Option<Self> {
        let unit = Unit::named(args.peek()?)?;
        let mut ahead = *args;
        ahead.take();
        let number = ahead.take()?;
        *args = ahead;
        Some(Self { unit, number })
    }

    /// As [`Unit::deadline`], from the number as it was given.
    pub(super) fn deadline(self, now_ms: i64, command: &str) -> Result<i64, CommandError> {
        let n = parse_i64(self.number).ok_or(CommandError::NotInteger)?;
        self.unit.deadline(n, now_ms, command)
    }
}

/// Removes a key that was given a deadline in the past, with the effect and the event of that.
pub(super) fn remove_overdue(ctx: &mut Context<'_>, key: &[u8]) {
    ctx.keyspace.remove(key);
    let slot = ctx.keyspace.slot(key);
    ctx.keyspace.shard_mut(slot).stats.expired += 1;
    let name: &[u8] = if ctx.settings.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
    ctx.keyspace.propagate(&[name, key]);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Generic, "del", key);
}

/// The refusal of a time that cannot be.
pub(super) fn invalid(command: &str) -> CommandError {
    CommandError::InvalidExpire(command.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines() {
        let set = |unit: Unit, n| unit.deadline(n, 1_000, "set").ok();
        assert_eq!(set(Unit::Ex, 2), Some(3_000));
        assert_eq!(set(Unit::Px, 2), Some(1_002));
        assert_eq!(set(Unit::ExAt, 2), Some(2_000));
        assert_eq!(set(Unit::PxAt, 2), Some(2));
        for unit in [Unit::Ex, Unit::Px, Unit::ExAt, Unit::PxAt] {
            assert_eq!((set(unit, 0), set(unit, -1)), (None, None));
        }
        assert_eq!(set(Unit::Ex, i64::MAX / 1000), None);
        assert_eq!(set(Unit::ExAt, i64::MAX / 1000), Some(i64::MAX / 1000 * 1000));
        assert_eq!(set(Unit::Px, i64::MAX), None);
        assert_eq!(Unit::Ex.any_deadline(-2, 1_000, "expire").ok(), Some(-1_000));
        assert_eq!(Unit::ExAt.any_deadline(i64::MIN, 1_000, "expireat").ok(), None);
    }

    #[test]
    fn words() {
        let all: &[&[u8]] = &[b"SET", b"eX", b"10", b"NX", b"PXAT"];
        let mut args = Args::new(all);
        assert_eq!(Expiry::read(&mut args), Some(Expiry { unit: Unit::Ex, number: b"10" }));
        assert_eq!(Expiry::read(&mut args), None);
        assert!(args.word("NX"));
        assert_eq!(Expiry::read(&mut args), None);
        assert_eq!(args.peek(), Some(&b"PXAT"[..]));
    }
}

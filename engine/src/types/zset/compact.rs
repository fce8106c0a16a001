//! The compact encoding: member, score, member, score, ... in one listpack, in order.
//!
//! A score is stored as Redis stores it: an integer as such, anything else as the shortest text that reads back.
//! The negative zero is a whole number too and comes back as 0, here as in Redis.

use super::{Inserted, ZEntry, ZSetLimits};
use crate::hash::Hasher;
use crate::number::{format_f64, parse_f64};
use crate::types::listpack::{Listpack, LpEntry, LpIter, Pos};
use crate::types::walk::distinct;
use std::cmp::Ordering;

/// Whole scores up to here are stored as integers; the bound is Redis's.
const INTEGER_MAX: f64 = (1u64 << 62) as f64;
/// The longest text of a score, with the rest of its entry.
const SCORE_ENTRY_MAX: usize = 32;

/// A listpack that is no sorted set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The last member has no score.
    #[error("a sorted set with an odd number of entries")]
    Unpaired,
    /// A score is not a number.
    #[error("a sorted set with a score that is no number")]
    Score,
    /// Two entries have the same member.
    #[error("a sorted set with a member twice")]
    Duplicate,
}

/// What [`check`] found out.
pub(super) struct Checked {
    pub len: usize,
    /// Bytes of the longest member.
    pub longest: usize,
    pub in_order: bool,
}

/// Looks at every entry of a listpack which may come from outside.
pub(super) fn check(listpack: &Listpack, hasher: &Hasher) -> Result<Checked, Corrupt> {
    let mut checked = Checked { len: 0, longest: 0, in_order: true };
    let mut last: Option<ZEntry<'_>> = None;
    let mut entries = listpack.iter();
    while let Some(member) = entries.next() {
        let score = entries.next().ok_or(Corrupt::Unpaired)?;
        let entry = ZEntry { member, score: read_score(&score).ok_or(Corrupt::Score)? };
        if let Some(last) = &last {
            checked.in_order &= order(last, entry.score, entry.member_bytes(&mut [0; 20])) == Ordering::Less;
        }
        checked.len += 1;
        checked.longest = checked.longest.max(member.text_len());
        last = Some(entry);
    }
    distinct(listpack.iter().step_by(2), checked.len, hasher).map_err(|_| Corrupt::Duplicate)?;
    Ok(checked)
}

pub(super) fn len(listpack: &Listpack) -> usize {
    listpack.len() / 2
}

/// Whether one more member leaves the set within the limits.
pub(super) fn fits(listpack: &Listpack, member: &[u8], limits: &ZSetLimits) -> bool {
    len(listpack) < limits.listpack_entries
        && member.len() <= limits.listpack_value
        && listpack.would_fit(Listpack::entry_bytes(member) + SCORE_ENTRY_MAX)
}

/// The place and the score of a member.
pub(super) fn find(listpack: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let pos = listpack.find(member, 1)?;
    Some((pos, score_after(listpack, pos)))
}

/// Adds a member that is not there yet.
pub(super) fn insert(listpack: &mut Listpack, member: &[u8], score: f64) {
    // Scores that only grow are common: look at the last one first.
    let last = listpack.last().map(|pos| read_score(&listpack.get(pos)).unwrap_or(0.0));
    let place = match last {
        Some(last) if last >= score => pairs(listpack)
            .find(|(_, entry)| order(entry, score, member) == Ordering::Greater)
            .map(|(pos, _)| pos),
        _ => None,
    };
    let pos = place.map(|pos| listpack.insert_before(pos, member));
    if pos.is_none() {
        listpack.push_back(member);
    }
    write_score(listpack, pos, score);
}

/// Writes a score after the member at `member`, or at the end.
fn write_score(listpack: &mut Listpack, member: Option<Pos>, score: f64) {
    let whole = score.fract() == 0.0 && score.abs() <= INTEGER_MAX;
    match member {
        Some(pos) if whole => _ = listpack.insert_int_after(pos, score as i64),
        Some(pos) => _ = listpack.insert_after(pos, format_f64(score).as_bytes()),
        None if whole => listpack.push_back_int(score as i64),
        None => listpack.push_back(format_f64(score).as_bytes()),
    }
}

/// Gives the member at `pos` another score.
pub(super) fn update(listpack: &mut Listpack, pos: Pos, old: f64, member: &[u8], score: f64) -> Inserted {
    if old == score {
        return Inserted::Same;
    }
    listpack.remove_at(pos, 2);
    insert(listpack, member, score);
    Inserted::Updated
}

pub(super) fn rank(listpack: &Listpack, member: &[u8]) -> Option<(usize, f64)> {
    let (pos, score) = find(listpack, member)?;
    Some((listpack.iter_through(pos).count() / 2, score))
}

/// How many entries come before the first for which `before` does not hold.
pub(super) fn position(listpack: &Listpack, before: impl Fn(&ZEntry<'_>) -> bool) -> usize {
    pairs(listpack).take_while(|(_, entry)| before(entry)).count()
}

/// All entries, each with the position of its member.
pub(super) fn pairs(listpack: &Listpack) -> impl Iterator<Item = (Pos, ZEntry<'_>)> {
    let mut at = listpack.first();
    std::iter::from_fn(move || {
        let pos = at?;
        let score_pos = listpack.next(pos)?;
        at = listpack.next(score_pos);
        let score = read_score(&listpack.get(score_pos)).unwrap_or(0.0);
        Some((pos, ZEntry { member: listpack.get(pos), score }))
    })
}

/// Entries of a listpack, from one end or the other.
#[derive(Clone)]
pub(super) struct Entries<'a>(Option<LpIter<'a>>);

/// The entries from rank `start` on.
pub(super) fn entries_from(listpack: &Listpack, start: usize) -> Entries<'_> {
    Entries(listpack.seek(2 * start as isize).map(|pos| listpack.iter_from(pos)))
}

/// The entries up to rank `end`, which is not among them, to be walked backwards.
pub(super) fn entries_before(listpack: &Listpack, end: usize) -> Entries<'_> {
    Entries(listpack.seek(2 * end as isize - 1).map(|pos| listpack.iter_through(pos)))
}

impl<'a> Entries<'a> {
    pub(super) fn next(&mut self) -> Option<ZEntry<'a>> {
        let entries = self.0.as_mut()?;
        let member = entries.next()?;
        Some(ZEntry { member, score: read_score(&entries.next()?)? })
    }

    pub(super) fn next_back(&mut self) -> Option<ZEntry<'a>> {
        let entries = self.0.as_mut()?;
        let score = entries.next_back()?;
        Some(ZEntry { member: entries.next_back()?, score: read_score(&score)? })
    }
}

fn score_after(listpack: &Listpack, member: Pos) -> f64 {
    // Every member has a score that reads: what comes from outside went through `check`.
    listpack.next(member).and_then(|pos| read_score(&listpack.get(pos))).unwrap_or(0.0)
}

fn read_score(entry: &LpEntry<'_>) -> Option<f64> {
    match *entry {
        LpEntry::Int(n) => Some(n as f64),
        LpEntry::Str(text) => parse_f64(text),
    }
}

fn order(entry: &ZEntry<'_>, score: f64, member: &[u8]) -> Ordering {
    if entry.score < score {
        Ordering::Less
    } else if entry.score > score {
        Ordering::Greater
    } else {
        entry.member_bytes(&mut [0; 20]).cmp(member)
    }
}

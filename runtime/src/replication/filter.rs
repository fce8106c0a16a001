//! Which keys a copy in a program keeps: of chosen databases, slots and patterns.
//!
//! A command on keys that are all kept runs, one on keys that are all left out does not. Where some are and some are not:
//!
//! | command                                  | becomes of it                                             |
//! |------------------------------------------|-----------------------------------------------------------|
//! | DEL, UNLINK, TOUCH, MSET                 | runs on the keys that are kept                            |
//! | anything else (RENAME, SUNIONSTORE, ...) | cannot be run: what it read is not here. All data are asked for anew |

use crate::registry::Registered;
use baton_engine::glob::glob_match;
use baton_engine::slot::Slot;
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// Which keys are kept: those that are in one of each kind that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Databases; none for all.
    pub databases: Vec<usize>,
    /// Ranges of hash slots; none for all.
    pub slots: Vec<RangeInclusive<u16>>,
    /// Patterns of key names, as of KEYS; none for all.
    pub patterns: Vec<Vec<u8>>,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It runs.
    Keep,
    /// It does not run.
    Drop,
    /// It runs on the keys that are kept.
    Part,
    /// It cannot run.
    Mixed,
}

impl Filter {
    /// Whether everything is kept.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a database is kept.
    pub fn keeps_database(&self, db: usize) -> bool {
        self.databases.is_empty() || self.databases.contains(&db)
    }

    /// Whether a key is kept.
    pub fn keeps(&self, db: usize, key: &[u8]) -> bool {
        self.keeps_database(db) && self.keeps_name(key)
    }

    fn keeps_name(&self, key: &[u8]) -> bool {
        let slot = Slot::of(key).index() as u16;
        (self.slots.is_empty() || self.slots.iter().any(|range| range.contains(&slot)))
            && (self.patterns.is_empty()
                || self.patterns.iter().any(|pattern| glob_match(pattern, key, false)))
    }

    /// What becomes of a command.
    pub(super) fn judge(&self, command: &Registered, db: usize, args: &[&[u8]]) -> Verdict {
        let name = command.command.name;
        // Those that name another database beside the one that is selected.
        if matches!(name, "COPY" | "MOVE" | "SWAPDB") && !self.databases.is_empty() {
            return Verdict::Mixed;
        }
        if command.all_shards {
            return if name == "FLUSHALL" || self.keeps_database(db) { Verdict::Keep } else { Verdict::Drop };
        }
        if !self.keeps_database(db) {
            return Verdict::Drop;
        }
        let (mut kept, mut left_out) = (false, false);
        for spec in command.command.keys {
            let mut look = |at: usize| if self.keeps_name(args[at]) { kept = true } else { left_out = true };
            if spec.positions(args, &mut look).is_err() {
                return Verdict::Mixed;
            }
        }
        match (kept, left_out) {
            (_, false) => Verdict::Keep,
            (false, true) => Verdict::Drop,
            (true, true) if keys_apart(name).is_some() => Verdict::Part,
            (true, true) => Verdict::Mixed,
        }
    }

    /// The arguments with which a command runs; `None` if it does not.
    pub(super) fn keep<'a>(
        &self,
        command: &Registered,
        db: usize,
        args: &SmallVec<[&'a [u8]; 6]>,
    ) -> Option<SmallVec<[&'a [u8]; 6]>> {
        match self.judge(command, db, args) {
            Verdict::Keep => Some(args.clone()),
            Verdict::Drop | Verdict::Mixed => None,
            Verdict::Part => {
                let step = keys_apart(command.command.name)?;
                let of_kept = args[1..].chunks(step).filter(|part| self.keeps_name(part[0]));
                Some(args[..1].iter().chain(of_kept.flatten()).copied().collect())
            }
        }
    }
}

/// For commands that do the same to each key: how many arguments belong to one.
fn keys_apart(name: &str) -> Option<usize> {
    match name {
        "DEL" | "UNLINK" | "TOUCH" => Some(1),
        "MSET" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn what_becomes_of_commands() {
        let registry = Registry::new(&[]);
        let filter = Filter { databases: vec![0], patterns: vec![b"a*".to_vec()], ..Filter::default() };
        let check = |line: &str, db: usize, verdict: Verdict, runs: Option<&str>| {
            let args: SmallVec<[&[u8]; 6]> = line.split(' ').map(str::as_bytes).collect();
            let command = registry.find(args[0]).unwrap();
            assert_eq!(filter.judge(command, db, &args), verdict, "{line}");
            let kept =
                filter.keep(command, db, &args).map(|args| String::from_utf8(args.join(&b' ')).unwrap());
            assert_eq!(kept.as_deref(), runs, "{line}");
        };
        check("SET a 1", 0, Verdict::Keep, Some("SET a 1"));
        check("SET a 1", 1, Verdict::Drop, None);
        check("SET b 1", 0, Verdict::Drop, None);
        check("MSET a 1 b 2 a3 3", 0, Verdict::Part, Some("MSET a 1 a3 3"));
        check("DEL b a", 0, Verdict::Part, Some("DEL a"));
        check("RENAME a a2", 0, Verdict::Keep, Some("RENAME a a2"));
        check("RENAME a b", 0, Verdict::Mixed, None);
        check("RENAME c b", 0, Verdict::Drop, None);
        check("FLUSHDB", 1, Verdict::Drop, None);
        check("FLUSHALL", 1, Verdict::Keep, Some("FLUSHALL"));
        check("SWAPDB 0 1", 0, Verdict::Mixed, None);
    }

    #[test]
    fn which_keys() {
        let slot = Slot::of(b"k").index() as u16;
        let filter = Filter { slots: vec![slot..=slot], ..Filter::default() };
        assert!(filter.keeps(7, b"k") && filter.keeps(7, b"{k}x") && !filter.keeps(7, b"other"));
        assert!(Filter::default().is_all() && Filter::default().keeps(3, b"any") && !filter.is_all());
    }
}

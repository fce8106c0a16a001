//! The keys of a command line, also of those commands whose rows cannot say where they are.

use baton_engine::command::{Command, KeyFlag, KeyFlag::*};
use baton_engine::error::CommandError;

const READ: &[KeyFlag] = &[Ro, Access];
const CHANGED: &[KeyFlag] = &[Rw, Access, Update];
const OVERWRITTEN: &[KeyFlag] = &[Ow, Update];

/// Calls `found` with the place of each key in `line` (the name is at 0) and what is done with the key.
///
/// # Errors
/// The arguments do not name their keys properly. Some may have been found until then.
pub fn each(
    command: &Command,
    line: &[&[u8]],
    found: &mut impl FnMut(usize, &'static [KeyFlag]),
) -> Result<(), CommandError> {
    match command.name {
        "SORT" => sort(line).into_iter().for_each(|(at, flags)| found(at, flags)),
        "MIGRATE" => migrate(line).into_iter().for_each(|(at, flags)| found(at, flags)),
        // That of CONFIG bears the same name, and has no keys.
        "SET" if !command.keys.is_empty() => found(1, set_flags(line)),
        "BITFIELD" => found(1, bitfield_flags(line)),
        _ => {
            for spec in command.keys.iter().filter(|spec| !spec.flags.contains(&NotKey)) {
                spec.positions(line, &mut |at| found(at, spec.flags))?;
            }
        }
    }
    Ok(())
}

/// Places of the keys in `line`, each with what is done with the key.
///
/// # Errors
/// The arguments do not name their keys properly.
pub fn positions(
    command: &Command,
    line: &[&[u8]],
) -> Result<Vec<(usize, &'static [KeyFlag])>, CommandError> {
    let mut all = Vec::new();
    each(command, line, &mut |at, flags| all.push((at, flags)))?;
    Ok(all)
}

fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// The key that is sorted, and the last of those named by STORE.
fn sort(line: &[&[u8]]) -> Vec<(usize, &'static [KeyFlag])> {
    let (mut at, mut store) = (2, None);
    while let Some(arg) = line.get(at) {
        at += match arg {
            arg if is(arg, "LIMIT") => 3,
            arg if is(arg, "GET") || is(arg, "BY") => 2,
            arg if is(arg, "STORE") && at + 1 < line.len() => {
                store = Some(at + 1);
                1
            }
            _ => 1,
        };
    }
    std::iter::once((1, READ)).chain(store.map(|at| (at, OVERWRITTEN))).collect()
}

/// The third argument, or all that follow KEYS when it is empty.
fn migrate(line: &[&[u8]]) -> Vec<(usize, &'static [KeyFlag])> {
    const MOVED: &[KeyFlag] = &[Rw, Access, Delete];
    let mut at = 6;
    while let Some(arg) = line.get(at) {
        at += match arg {
            arg if is(arg, "KEYS") && !line[3].is_empty() => return Vec::new(),
            arg if is(arg, "KEYS") => return (at + 1..line.len()).map(|at| (at, MOVED)).collect(),
            arg if is(arg, "AUTH") => 2,
            arg if is(arg, "AUTH2") => 3,
            _ => 1,
        };
    }
    vec![(3, MOVED)]
}

fn set_flags(line: &[&[u8]]) -> &'static [KeyFlag] {
    let reads = line.get(3..).unwrap_or_default().iter().any(|arg| is(arg, "GET") || is(arg, "IFEQ"));
    if reads { CHANGED } else { OVERWRITTEN }
}

fn bitfield_flags(line: &[&[u8]]) -> &'static [KeyFlag] {
    let mut at = 2;
    while let Some(arg) = line.get(at) {
        let left = line.len() - at - 1;
        at += match arg {
            arg if is(arg, "GET") && left >= 2 => 3,
            arg if is(arg, "OVERFLOW") && left >= 1 => 2,
            _ => return CHANGED,
        };
    }
    READ
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, wanted: &str) {
        let args: Vec<&[u8]> = line.split(' ').map(|arg| arg.trim_matches('-').as_bytes()).collect();
        let command = baton_engine::commands::find(&args).copied();
        let command = command.unwrap_or(Command { name: "MIGRATE", ..Command::BASE });
        let found = positions(&command, &args).unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|(at, flags)| {
                let flags: Vec<&str> = flags.iter().map(|flag| flag.name()).collect();
                format!("{}:{}", String::from_utf8_lossy(args[*at]), flags.join(","))
            })
            .collect();
        assert_eq!(shown.join(" "), wanted, "{line}");
    }

    #[test]
    fn keys_and_what_is_done_with_them() {
        check("SET k v", "k:OW,update");
        check("SET k v GET", "k:RW,access,update");
        check("BITFIELD k GET u8 0", "k:RO,access");
        check("BITFIELD k GET u8 0 SET u8 0 1", "k:RW,access,update");
        check("SORT k BY store GET # LIMIT 0 1 STORE d", "k:RO,access d:OW,update");
        check("SORT k BY store", "k:RO,access");
        check("MIGRATE h 1 k 0 10", "k:RW,access,delete");
        check("MIGRATE h 1 - 0 10 COPY AUTH keys KEYS a b", "a:RW,access,delete b:RW,access,delete");
        check("MIGRATE h 1 k 0 10 KEYS a b", "");
        check("MSET a 1 b 2", "a:OW,update b:OW,update");
    }
}

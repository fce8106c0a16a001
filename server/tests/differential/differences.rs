//! What we do otherwise than the reference, Redis 7.0.15, because Redis 7.2 and Valkey do.
//!
//! Every row tolerates as little as it can: the command, the reply of the newer server and that of the
//! older one. Rows only excuse replies; texts that scripts may take along are in [`SCRIPT_TEXTS`]. Where the *effect* differs, the command must not be drawn at all.

use super::args::Words;
use super::compare::Compare;
use crate::support::client::Reply;
use baton_engine::number::{parse_i64, parse_prefix};

pub struct Difference {
    pub reason: &'static str,
    /// The command, the reply of the server under test, the reply of the reference.
    pub applies: fn(&Words, &Reply, &Reply) -> bool,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "7.2: small sets that are not all integers are listpacks, not hash tables",
        applies: |words, left, right| encodings(words, left, right, "listpack", "hashtable"),
    },
    Difference {
        reason: "7.2: small lists are one listpack without a quicklist around it",
        applies: |words, left, right| encodings(words, left, right, "listpack", "quicklist"),
    },
    Difference {
        reason: "ours: a short string made by BITOP or the like is kept inside its entry, as any other short string, \
                 and one that a command was about to change in place has a buffer of its own",
        applies: |words, left, right| {
            encodings(words, left, right, "embstr", "raw") || encodings(words, left, right, "raw", "embstr")
        },
    },
    Difference {
        reason: "ours: SORT leaves a sorted set as it is, where Redis turns it into a skip list to read it",
        applies: |words, left, right| encodings(words, left, right, "listpack", "skiplist"),
    },
    Difference {
        reason: "7.0: SORT takes an error that an earlier command left in errno for one of its own numbers",
        applies: |words, left, right| {
            is(words, 0, "SORT") && !left.is_error() && right.text().contains("converted into double")
        },
    },
    Difference {
        reason: "7.2: BITCOUNT and BITPOS check their arguments even if there is no such key",
        applies: |words, left, right| {
            (is(words, 0, "BITCOUNT") || is(words, 0, "BITPOS")) && left.is_error() && !is_syntax_error(right)
        },
    },
    Difference {
        reason: "Valkey 8: BITCOUNT takes a start without an end",
        applies: |words, left, right| {
            is(words, 0, "BITCOUNT") && words.len() == 3 && !is_syntax_error(left) && is_syntax_error(right)
        },
    },
    Difference {
        reason: "7.2: LPOS refuses the one number that has no opposite, whatever the key holds",
        applies: |words, left, _| is(words, 0, "LPOS") && left.text().contains("value must between"),
    },
    Difference {
        reason: "unspecified: which of the members at the same place come first, where COUNT ends a sorted search",
        applies: |words, left, right| {
            let ends = words.iter().any(|word| word.eq_ignore_ascii_case(b"COUNT"));
            let (Some(left), Some(right)) = (left.elements(), right.elements()) else { return false };
            let same_place = |left: &Reply, right: &Reply| match (left.elements(), right.elements()) {
                (Some([_, left @ ..]), Some([_, right @ ..])) => !left.is_empty() && left == right,
                _ => false,
            };
            words[0].to_ascii_uppercase().starts_with(b"GEO")
                && ends
                && left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left == right || same_place(left, right))
        },
    },
    Difference {
        reason: "7.4: XREAD takes + for the last entry",
        applies: |words, left, right| {
            let said = !left.is_error() || left.text().contains("+ ID is meaningless");
            words[0].to_ascii_uppercase().starts_with(b"XREAD")
                && words.contains(&b"+".to_vec())
                && said
                && right.text().contains("Invalid stream ID")
        },
    },
    Difference {
        reason: "7.2: how a list of streams without as many ids is refused",
        applies: |_, left, right| {
            left.text().starts_with("ERR Unbalanced") && right.text().starts_with("ERR Unbalanced")
        },
    },
    Difference {
        reason: "7.2: a timeout too large is out of range, not negative",
        applies: |_, left, right| {
            *left == error("ERR timeout is out of range") && *right == error("ERR timeout is negative")
        },
    },
    Difference {
        reason: "Valkey: SCAN refuses a TYPE that no module or type has",
        applies: |words, left, _| is(words, 0, "SCAN") && left.text().contains("unknown type name"),
    },
    Difference {
        reason: "Valkey: UNSUBSCRIBE and its kin are refused where nothing is subscribed",
        applies: |words, left, _| {
            let first = left.elements().and_then(<[Reply]>::first).unwrap_or(left);
            words[0].to_ascii_uppercase().ends_with(b"UNSUBSCRIBE") && first.text().starts_with("NOSUB")
        },
    },
    Difference {
        reason: "7.2: a command with more elements than a compact encoding may hold converts the key \
                 before it looks at them, even if they are no new ones",
        applies: |words, left, right| {
            encodings(words, left, right, "skiplist", "listpack")
                || encodings(words, left, right, "hashtable", "listpack")
                || encodings(words, left, right, "hashtable", "intset")
        },
    },
    Difference {
        reason: "7.2: SINTERSTORE only overwrites its destination",
        applies: |words, left, right| {
            is(words, 1, "GETKEYSANDFLAGS")
                && is(words, 2, "SINTERSTORE")
                && Compare::SameLength.agrees(left, right)
        },
    },
    Difference {
        reason: "Where the number of keys is none, but begins with one, Redis finds the keys all the same, and does not know any \
                 more what is done with them",
        applies: |words, left, right| {
            let begins_with_one = |n: &Vec<u8>| parse_i64(n).is_none() && parse_prefix(n) > 0;
            is(words, 1, "GETKEYSANDFLAGS")
                && words.iter().skip(3).take(2).any(begins_with_one)
                && Compare::SameLength.agrees(left, right)
        },
    },
    Difference {
        reason: "7.2: SPOP with a count takes from a listpack in place, where 7.0 builds a new set of what is \
                 left, which may be an intset",
        applies: |words, left, right| encodings(words, left, right, "listpack", "intset"),
    },
    Difference {
        reason: "7.4: a cursor must be plain digits, and is looked at before everything else",
        applies: |words, left, _| {
            let cursor_at = if is(words, 0, "SCAN") { 1 } else { 2 };
            let is_plain = |cursor: &Vec<u8>| !cursor.is_empty() && cursor.iter().all(u8::is_ascii_digit);
            words[0].to_ascii_uppercase().ends_with(b"SCAN")
                && *left == error("ERR invalid cursor")
                && !words.get(cursor_at).is_some_and(is_plain)
        },
    },
    Difference {
        reason: "Valkey: other texts of errors, whose length the script has returned",
        applies: |words, left, right| {
            let (Reply::Integer(left), Reply::Integer(right)) = (left, right) else { return false };
            let name = words[0].to_ascii_uppercase();
            let longer =
                |(newer, older): &(&str, &str)| older.len() as i64 - newer.len() as i64 == right - left;
            (name.starts_with(b"EVAL") || name.starts_with(b"FCALL")) && SCRIPT_TEXTS.iter().any(longer)
        },
    },
    Difference {
        reason: "Valkey: other texts of errors, which the script has packed or counted",
        applies: |_, left, right| {
            let (left, right) = (format!("{left:?}"), format!("{right:?}"));
            SCRIPT_TEXTS.iter().any(|(newer, older)| left.contains(newer) && right.contains(older))
        },
    },
];

/// Parts of texts that scripts see, or that are said about them: in the newer server, and in the reference.
pub const SCRIPT_TEXTS: &[(&str, &str)] = &[
    // Valkey: functions are named after `server`.
    ("server.setresp()", "redis.setresp()"),
    ("server.set_repl() requires one argument", "redis.set_repl() requires two arguments"),
    ("server.log()", "redis.log()"),
    ("server.register_function", "redis.register_function"),
    ("to server.acl_check_cmd()", "to redis.acl_check_cmd()"),
    // Valkey: some texts do not say that this is Redis.
    ("Command arguments must be", "Lua redis lib command arguments must be"),
    (
        "Please specify at least one argument for this call",
        "Please specify at least one argument for this redis lib call",
    ),
    ("Unknown command called from script", "Unknown Redis command called from script"),
    ("Wrong number of args calling command", "Wrong number of args calling Redis command"),
    ("Invalid log level", "Invalid debug level"),
];

/// Errors that the reference tells without their place where a function of C found them: ours have it always.
pub const WITHOUT_PLACE: &[&str] =
    &["Attempt to modify a readonly table", "table index is nil", "table index is NaN"];

/// Commands that must not be drawn: newer servers do something else than the reference, or it differs from itself.
pub fn differs_in_effect(words: &Words) -> bool {
    // 7.2: refused, where 7.0 removes elements.
    let removes = is(words, 0, "LREM") && is(words, 2, "-9223372036854775808");
    // 7.4: refused, where 7.0 goes on from the last place of its table: what comes depends on the seed of its hash.
    let cursor_at = if is(words, 0, "SCAN") { 1 } else { 2 };
    let from_the_end = words[0].to_ascii_uppercase().ends_with(b"SCAN") && is(words, cursor_at, "-1");
    removes || from_the_end
}

fn error(text: &str) -> Reply {
    Reply::Error(text.as_bytes().to_vec())
}

fn is_syntax_error(reply: &Reply) -> bool {
    *reply == error("ERR syntax error")
}

fn encodings(words: &Words, left: &Reply, right: &Reply, newer: &str, older: &str) -> bool {
    is(words, 0, "OBJECT")
        && is(words, 1, "ENCODING")
        && *left == Reply::bulk(newer)
        && *right == Reply::bulk(older)
}

/// Whether word number `at` is `name`, in any case.
fn is(words: &Words, at: usize, name: &str) -> bool {
    words.get(at).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

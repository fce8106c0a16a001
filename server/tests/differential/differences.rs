//! What we do otherwise than the reference, Redis 7.0.15, because Redis 7.2 and Valkey do.
//!
//! Every row tolerates as little as it can: the command, the reply of the newer server and that of the
//! older one. Rows only excuse replies. Where the *effect* differs, the command must not be drawn at all.

use super::args::Words;
use crate::support::client::Reply;

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
];

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

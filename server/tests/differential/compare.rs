//! When two replies count as the same.

use std::cmp::Ordering;

use super::args::Words;
use super::differences::{SCRIPT_TEXTS, WITHOUT_PLACE};
use crate::support::client::Reply;

/// How the replies to a command are compared. Errors must always be equal to the byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    Exact,
    /// The elements come in the order of a hash table.
    Unordered,
    /// The elements of each element do.
    UnorderedWithin,
    /// The pairs do: a map, or a flat list of keys and values.
    Pairs,
    /// Strings that are numbers are compared as numbers: 7.0 writes 17 digits, later versions the fewest.
    Floats,
    UnorderedFloats,
    /// SORT ALPHA compares by strcoll, to which strings that differ after a zero byte are equal.
    ExactUnlessZeroBytes,
    /// Integers this far apart are equal: the servers did not run the command in the same instant.
    Ttl {
        tolerance: i64,
    },
    /// Any elements, but as many.
    SameLength,
    /// An implementation detail: any value of the same type.
    SameKind,
    /// A random choice: as many elements, all of them among what the next command of the group reads.
    Pick {
        from: &'static [&'static str],
        by_key: bool,
    },
    /// SPOP: afterwards the choices of both servers are removed from both.
    Popped,
    /// What is told of a stream: times, and what newer servers tell besides, are left out.
    StreamInfo,
    /// What a script returns: maps and sets come in any order, `unordered` lists do too.
    Script {
        unordered: bool,
    },
    /// A cursor: followed to its end, then all that was seen is compared.
    Scan,
    /// What a subscriber is sent, until it is answered a PING.
    Messages,
    /// The reply of EXEC: each element by the rule of its command.
    Exec,
}

impl Compare {
    pub fn needs_more_than_replies(self) -> bool {
        matches!(self, Compare::Pick { .. } | Compare::Popped | Compare::Scan)
    }

    /// Whether two replies count as the same, as far as the replies alone can tell.
    pub fn agrees(self, left: &Reply, right: &Reply) -> bool {
        let in_script = matches!(self, Compare::Script { .. });
        if !in_script && (left.is_error() || right.is_error()) {
            return left == right;
        }
        match self {
            Compare::Ttl { tolerance } => match (left, right) {
                (Reply::Integer(left), Reply::Integer(right)) if *left >= 0 && *right >= 0 => {
                    left.abs_diff(*right) <= tolerance.unsigned_abs()
                }
                _ => left == right,
            },
            Compare::SameKind => kind(left) == kind(right),
            Compare::SameLength => kind(left) == kind(right) && len(left) == len(right),
            Compare::ExactUnlessZeroBytes => {
                left == right
                    || has_zero_bytes(left)
                        && Compare::Unordered.canonical(left) == Compare::Unordered.canonical(right)
            }
            _ => self.canonical(left) == self.canonical(right),
        }
    }

    /// The reply with everything evened out that may differ.
    pub fn canonical(self, reply: &Reply) -> Reply {
        match self {
            Compare::Unordered => sorted(reply),
            Compare::UnorderedWithin => map_elements(reply, &|outer| map_elements(outer, &sorted)),
            Compare::Pairs => match reply {
                Reply::Map(_) => Reply::Map(sorted_pairs(reply)),
                _ => Reply::Array(
                    sorted_pairs(reply).into_iter().map(|(k, v)| Reply::Array(vec![k, v])).collect(),
                ),
            },
            Compare::Floats => floats(reply),
            Compare::UnorderedFloats => sorted(&floats(reply)),
            Compare::StreamInfo => without_times(reply),
            Compare::Script { unordered } => of_script(reply, unordered),
            _ => reply.clone(),
        }
    }
}

/// Whether `picks` are a possible random choice from what `reader` replied.
pub fn is_pick_of(words: &Words, picks: &Reply, reader: &Words, members: &Reply) -> bool {
    let with_values = words
        .iter()
        .any(|word| matches!(word.to_ascii_uppercase().as_slice(), b"WITHSCORES" | b"WITHVALUES"));
    let paired = matches!(reader[0].as_slice(), b"HGETALL" | b"ZRANGE");
    let known: Vec<(Reply, Reply)> = match paired {
        true => pairs(members),
        false => {
            members.elements().unwrap_or_default().iter().map(|key| (key.clone(), Reply::Null)).collect()
        }
    };
    let single = [picks.clone()];
    let picked: Vec<(Reply, Reply)> = match picks.elements() {
        _ if picks.is_null() => Vec::new(),
        Some(_) if with_values => pairs(picks),
        Some(elements) => elements.iter().map(|key| (key.clone(), Reply::Null)).collect(),
        None => single.iter().map(|key| (key.clone(), Reply::Null)).collect(),
    };
    let may_repeat = words.get(2).is_some_and(|count| count.starts_with(b"-"));
    let distinct = picked.iter().enumerate().all(|(at, (key, _))| picked[..at].iter().all(|(k, _)| k != key));
    let known_to_reader =
        |(key, value): &(Reply, Reply)| known.iter().any(|(k, v)| k == key && (!with_values || v == value));
    (may_repeat || distinct) && picked.iter().all(known_to_reader)
}

/// Everything a cursor returned, without repetitions. `name` is the command's.
pub fn scanned(name: &[u8], elements: &[Reply]) -> Vec<Reply> {
    let flat = Reply::Array(elements.to_vec());
    let mut seen = match name.to_ascii_uppercase().as_slice() {
        b"HSCAN" => pairs(&flat).into_iter().map(|(k, v)| Reply::Array(vec![k, v])).collect(),
        b"ZSCAN" => pairs(&flat).into_iter().map(|(k, v)| Reply::Array(vec![k, floats(&v)])).collect(),
        _ => elements.to_vec(),
    };
    seen.sort_by(order);
    seen.dedup();
    seen
}

/// What a subscriber saw. One message reaches its patterns in the order of a hash table.
pub fn messages(seen: &[Reply]) -> Vec<Reply> {
    let by_pattern = |message: &Reply| {
        let kind = message.elements().and_then(|elements| elements.first()).and_then(Reply::bytes);
        kind == Some(b"pmessage")
    };
    let (mut patterns, mut others): (Vec<Reply>, Vec<Reply>) = seen.iter().cloned().partition(by_pattern);
    patterns.sort_by(order);
    others.append(&mut patterns);
    others
}

/// Keys and values of a map, of a list of pairs, or of a flat list.
fn pairs(reply: &Reply) -> Vec<(Reply, Reply)> {
    let pair = |two: &[Reply]| match two {
        [key, value] => Some((key.clone(), value.clone())),
        _ => None,
    };
    match reply {
        Reply::Map(pairs) => pairs.clone(),
        _ => {
            let elements = reply.elements().unwrap_or_default();
            let nested: Option<Vec<_>> =
                elements.iter().map(|element| element.elements().and_then(pair)).collect();
            // An odd element at the end of a flat list is kept, so that it is noticed.
            nested.unwrap_or_else(|| {
                let flat = elements.chunks(2);
                flat.map(|two| pair(two).unwrap_or((two[0].clone(), Reply::NullArray))).collect()
            })
        }
    }
}

fn sorted_pairs(reply: &Reply) -> Vec<(Reply, Reply)> {
    let mut pairs = pairs(reply);
    pairs.sort_by(|(left, left_value), (right, right_value)| {
        order(left, right).then_with(|| order(left_value, right_value))
    });
    pairs
}

fn sorted(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    if let Reply::Array(elements) | Reply::Set(elements) | Reply::Push(elements) = &mut reply {
        elements.sort_by(order);
    }
    reply
}

fn map_elements(reply: &Reply, change: &dyn Fn(&Reply) -> Reply) -> Reply {
    let all = |elements: &[Reply]| elements.iter().map(change).collect();
    match reply {
        Reply::Array(elements) => Reply::Array(all(elements)),
        Reply::Set(elements) => Reply::Set(all(elements)),
        Reply::Push(elements) => Reply::Push(all(elements)),
        other => other.clone(),
    }
}

fn floats(reply: &Reply) -> Reply {
    match reply {
        Reply::Bulk(bytes) => {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<f64>().ok());
            match number {
                Some(number) if !number.is_nan() && has_styles(bytes) => canonical_float(number),
                _ => reply.clone(),
            }
        }
        Reply::Map(pairs) => Reply::Map(pairs.iter().map(|(k, v)| (k.clone(), floats(v))).collect()),
        _ => map_elements(reply, &floats),
    }
}

/// What depends on the clock, on the tree that holds a stream, or on how new the server is.
const STREAM_TIMES: &[&[u8]] = &[b"radix-tree-nodes", b"seen-time", b"active-time", b"idle", b"inactive"];
/// No count and no number of the tests is so large: it is a time, or how long ago one was.
const LEAST_TIME: i64 = 40_000_000;

fn without_times(reply: &Reply) -> Reply {
    let is_time = |name: &Reply| name.bytes().is_some_and(|name| STREAM_TIMES.contains(&name));
    match reply {
        Reply::Integer(LEAST_TIME..) => Reply::Null,
        Reply::Map(pairs) => {
            let kept = pairs.iter().filter(|(name, _)| !is_time(name));
            Reply::Array(kept.flat_map(|(name, value)| [name.clone(), without_times(value)]).collect())
        }
        // XPENDING: id, consumer, milliseconds, deliveries.
        Reply::Array(four)
            if matches!(
                &four[..],
                [Reply::Bulk(_), Reply::Bulk(_), Reply::Integer(_), Reply::Integer(_)]
            ) =>
        {
            Reply::Array(vec![four[0].clone(), four[1].clone(), four[3].clone()])
        }
        Reply::Array(elements) => {
            let mut kept = Vec::new();
            let mut rest = elements.iter();
            while let Some(element) = rest.next() {
                if is_time(element) {
                    rest.next();
                } else {
                    kept.push(without_times(element));
                }
            }
            Reply::Array(kept)
        }
        other => other.clone(),
    }
}

/// A value of a script, as far as two interpreters can agree about it.
fn of_script(reply: &Reply, unordered: bool) -> Reply {
    let all = |elements: &[Reply]| elements.iter().map(|element| of_script(element, unordered)).collect();
    match reply {
        Reply::Array(elements) if unordered => sorted(&Reply::Array(all(elements))),
        Reply::Array(elements) => Reply::Array(all(elements)),
        Reply::Set(elements) => sorted(&Reply::Set(all(elements))),
        Reply::Map(pairs) => {
            let pairs =
                pairs.iter().map(|(key, value)| (of_script(key, unordered), of_script(value, unordered)));
            Reply::Map(sorted_pairs(&Reply::Map(pairs.collect())))
        }
        Reply::Bulk(bytes) => floats(&Reply::Bulk(script_text(bytes))),
        // Which of several is named is unspecified.
        Reply::Error(bytes) if bytes.starts_with(b"ERR Function ") && bytes.ends_with(b" already exists") => {
            Reply::Error(b"ERR Function _ already exists".to_vec())
        }
        // The reference lets line ends through.
        Reply::Error(bytes) => Reply::Error(up_to_zero(&replaced(&script_text(bytes), b"\n", b" "))),
        Reply::Simple(bytes) => Reply::Simple(up_to_zero(bytes)),
        other => other.clone(),
    }
}

/// A line that a script gave: to Redis it ends at a zero byte, but for the place of an error.
fn up_to_zero(line: &[u8]) -> Vec<u8> {
    let place = find(line, b" script: ").unwrap_or(line.len());
    let end = line.iter().position(|byte| *byte == 0).unwrap_or(place).min(place);
    [&line[..end], &line[place..]].concat()
}

/// A text of a script as the reference words it, without the addresses of tables and functions.
fn script_text(text: &[u8]) -> Vec<u8> {
    let mut text = without_digits_after(text, b": 0x", u8::is_ascii_hexdigit);
    if WITHOUT_PLACE.iter().any(|part| find(&text, part.as_bytes()).is_some()) {
        for place in [&b"user_script:"[..], b"user_function:"] {
            text = replaced(
                &without_digits_after(&text, place, u8::is_ascii_digit),
                &[place, b": "].concat(),
                b"",
            );
        }
    }
    for (newer, older) in SCRIPT_TEXTS {
        text = replaced(&text, newer.as_bytes(), older.as_bytes());
    }
    text
}

fn without_digits_after(text: &[u8], mark: &[u8], is_digit: fn(&u8) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, mark) {
        let (before, after) = rest.split_at(at + mark.len());
        kept.extend_from_slice(before);
        rest = &after[after.iter().take_while(|byte| is_digit(byte)).count()..];
    }
    kept.extend_from_slice(rest);
    kept
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, from) {
        kept.extend_from_slice(&rest[..at]);
        kept.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    kept.extend_from_slice(rest);
    kept
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Whether a number of this form has another one: a member `07` is not the member `7`.
fn has_styles(digits: &[u8]) -> bool {
    digits == b"-0" || digits.len() > 16 || digits.iter().any(|byte| b".eE".contains(byte))
}

/// Whole numbers as their digits, as both styles write them; others as doubles. A listpack keeps no
/// negative zero, so that there is none.
fn canonical_float(number: f64) -> Reply {
    if number.fract() == 0.0 && number.abs() < 1e21 {
        return Reply::bulk(format!("{:.0}", number + 0.0));
    }
    Reply::Double(number)
}

/// Any total order will do.
fn order(left: &Reply, right: &Reply) -> Ordering {
    match (left.bytes(), right.bytes()) {
        (Some(left), Some(right)) => left.cmp(right),
        _ => format!("{left:?}").cmp(&format!("{right:?}")),
    }
}

fn kind(reply: &Reply) -> std::mem::Discriminant<Reply> {
    std::mem::discriminant(reply)
}

fn len(reply: &Reply) -> Option<usize> {
    match reply {
        Reply::Map(pairs) => Some(pairs.len()),
        _ => reply.elements().map(<[Reply]>::len),
    }
}

fn has_zero_bytes(reply: &Reply) -> bool {
    let elements = reply.elements().unwrap_or_default();
    elements.iter().any(|element| element.bytes().is_some_and(|bytes| bytes.contains(&0)))
}

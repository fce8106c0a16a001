//! Replies to values of Lua, and back.
//!
//! | reply                  | value                              | reply (RESP3)  | value                                        |
//! |------------------------|------------------------------------|----------------|----------------------------------------------|
//! | integer                | number, without its fraction       | null           | nil                                          |
//! | string                 | string                             | map            | `{map = {..}}`                               |
//! | array                  | table, up to its first nil         | set            | `{set = {member = true, ..}}`                |
//! | status                 | `{ok = ..}`                        | double         | `{double = ..}`                              |
//! | error                  | `{err = ..}`                       | big number     | `{big_number = ..}`                          |
//! | null                   | false                              | boolean        | boolean                                      |
//! | 1 and null             | true and false                     | verbatim       | `{verbatim_string = {string = .., format = ..}}` |

use super::lua::{Kind, MEMORY_MAX, Raise, Stack};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Out;

/// Pushes the value of a reply, which the engine has written.
pub(super) fn push(stack: &mut Stack<'_>, reply: &[u8]) -> Result<(), Raise> {
    Input { left: reply }.value(stack)
}

struct Input<'r> {
    left: &'r [u8],
}

/// More than Lua takes for any value that is not longer in its reply.
const VALUE_BYTES: usize = 256;

const CUT: &str = "a reply ended before its time";

impl<'r> Input<'r> {
    fn line(&mut self) -> Result<(u8, &'r [u8]), Raise> {
        let end = memchr::memchr(b'\r', self.left).ok_or(Raise::from(CUT))?;
        let (line, rest) = self.left.split_at(end);
        self.left = rest.get(2..).ok_or(Raise::from(CUT))?;
        let (kind, line) = line.split_first().ok_or(Raise::from(CUT))?;
        Ok((*kind, line))
    }

    fn text(&mut self, len: usize) -> Result<&'r [u8], Raise> {
        let text = self.left.get(..len).ok_or(Raise::from(CUT))?;
        self.left = self.left.get(len + 2..).ok_or(Raise::from(CUT))?;
        Ok(text)
    }

    fn value(&mut self, stack: &mut Stack<'_>) -> Result<(), Raise> {
        if !stack.room(6) {
            return Err("reached lua stack limit".into());
        }
        stack.claim(self.left.len().min(VALUE_BYTES))?;
        let (kind, line) = self.line()?;
        let number = || parse_i64(line).ok_or(Raise::from(CUT));
        match kind {
            b'$' => match number()? {
                -1 => stack.push_boolean(false),
                len => stack.push_bytes(self.text(len as usize)?),
            },
            b':' => stack.push_number(number()? as f64),
            b'+' => {
                stack.new_table(0, 1);
                stack.push_bytes(b"ok");
                stack.push_bytes(line);
                stack.raw_set(-3);
            }
            b'-' => {
                stack.new_table(0, 2);
                stack.push_bytes(line);
                stack.raw_set_field(-2, "err");
                // It has been counted where it arose.
                stack.push_boolean(true);
                stack.raw_set_field(-2, "ignore_error_stats_update");
            }
            b'*' | b'>' => match number()? {
                -1 => stack.push_boolean(false),
                len => {
                    stack.new_table(len as usize, 0);
                    for index in 1..=len {
                        self.value(stack)?;
                        stack.raw_set_index(-2, index as i32);
                    }
                }
            },
            b'%' => self.wrapped(stack, "map", number()?, |input, stack| input.value(stack))?,
            b'~' => self.wrapped(stack, "set", number()?, |_, stack| {
                stack.push_boolean(true);
                Ok(())
            })?,
            b'_' => stack.push_nil(),
            b'#' => stack.push_boolean(line == b"t"),
            b',' => {
                let text = std::str::from_utf8(line).unwrap_or_default();
                let number = text.parse().map_err(|_| Raise::from(CUT))?;
                stack.new_table(0, 1);
                stack.push_number(number);
                stack.raw_set_field(-2, "double");
            }
            b'(' => {
                stack.new_table(0, 1);
                stack.push_bytes(line);
                stack.raw_set_field(-2, "big_number");
            }
            b'=' => {
                let text = self.text(number()? as usize)?;
                stack.new_table(0, 1);
                stack.new_table(0, 2);
                stack.push_bytes(text.get(4..).unwrap_or_default());
                stack.raw_set_field(-2, "string");
                stack.push_bytes(text.get(..3).unwrap_or_default());
                stack.raw_set_field(-2, "format");
                stack.raw_set_field(-2, "verbatim_string");
            }
            _ => return Err(CUT.into()),
        }
        Ok(())
    }

    /// A table in a table: keys, and what `value` says belongs to each.
    fn wrapped(
        &mut self,
        stack: &mut Stack<'_>,
        name: &str,
        len: i64,
        value: impl Fn(&mut Self, &mut Stack<'_>) -> Result<(), Raise>,
    ) -> Result<(), Raise> {
        stack.new_table(0, 1);
        stack.new_table(0, len as usize);
        for _ in 0..len {
            self.value(stack)?;
            value(self, stack)?;
            if stack.can_be_key(-2) {
                stack.raw_set(-3);
            } else {
                stack.pop(2);
            }
        }
        stack.raw_set_field(-2, name);
        Ok(())
    }
}

/// Whether a reply is an error that still has to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Reply,
    Error,
    CountedError,
}

/// How values become replies.
#[derive(Clone, Copy)]
struct How {
    /// What the script has chosen. `out` speaks as the client does.
    resp3: bool,
    /// How long all that is written may be.
    end: usize,
}

/// Writes the value on the top as a reply, and pops it. `resp3` is what the script has chosen.
pub(super) fn write(stack: &mut Stack<'_>, resp3: bool, out: &mut Out) -> Written {
    let start = out.len();
    let end = start + MEMORY_MAX;
    let written = write_value(stack, How { resp3, end }, out);
    if out.len() > end {
        out.truncate(start);
        out.error(&CommandError::text("ERR the reply of the script is too long"));
        return Written::Error;
    }
    written
}

fn write_value(stack: &mut Stack<'_>, how: How, out: &mut Out) -> Written {
    let mut written = Written::Reply;
    if !stack.room(6) {
        out.error(&CommandError::text("ERR reached lua stack limit"));
        stack.pop(1);
        return written;
    }
    match stack.kind(-1) {
        // Tables in several places are written several times: of a few there may become any number.
        _ if out.len() > how.end => {}
        Kind::String => out.bulk(stack.bytes(-1)),
        Kind::Boolean if how.resp3 => out.boolean(stack.boolean(-1)),
        Kind::Boolean if stack.boolean(-1) => out.integer(1),
        Kind::Number => out.integer(integer(stack.number(-1))),
        Kind::Table => written = write_table(stack, how, out),
        _ => out.null(),
    }
    stack.pop(1);
    written
}

/// A number as C makes a `long long` of it.
fn integer(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

/// Writes the table on the top, which stays there.
fn write_table(stack: &mut Stack<'_>, how: How, out: &mut Out) -> Written {
    if stack.raw_get_field(-1, "err") == Kind::String {
        let line = stack.bytes(-1).to_vec();
        let counted =
            stack.raw_get_field(-2, "ignore_error_stats_update") == Kind::Boolean && stack.boolean(-1);
        stack.pop(2);
        out.error(&CommandError::Quoting(line.into()));
        return if counted { Written::CountedError } else { Written::Error };
    }
    stack.pop(1);
    let simple = write_status(stack, out) || write_number(stack, out) || write_text(stack, out);
    if !simple && !write_map(stack, how, out) && !write_set(stack, how, out) {
        write_array(stack, how, out);
    }
    Written::Reply
}

/// Whether the table on the top has a field of this kind; if so it is on the top now.
fn has(stack: &mut Stack<'_>, name: &str, kind: Kind) -> bool {
    let found = stack.raw_get_field(-1, name) == kind;
    if !found {
        stack.pop(1);
    }
    found
}

/// A line must not end before its end.
fn in_a_line(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte })
}

fn write_status(stack: &mut Stack<'_>, out: &mut Out) -> bool {
    if !has(stack, "ok", Kind::String) {
        return false;
    }
    let bytes = out.bytes_mut();
    bytes.push(b'+');
    bytes.extend(in_a_line(stack.bytes(-1)));
    bytes.extend_from_slice(b"\r\n");
    stack.pop(1);
    true
}

fn write_number(stack: &mut Stack<'_>, out: &mut Out) -> bool {
    if has(stack, "double", Kind::Number) {
        out.double(stack.number(-1));
    } else if has(stack, "big_number", Kind::String) {
        let digits: Vec<u8> = in_a_line(stack.bytes(-1)).collect();
        out.big_number(&digits);
    } else {
        return false;
    }
    stack.pop(1);
    true
}

fn write_text(stack: &mut Stack<'_>, out: &mut Out) -> bool {
    if !has(stack, "verbatim_string", Kind::Table) {
        return false;
    }
    let mut is_text = false;
    if has(stack, "format", Kind::String) {
        let mut format: String = String::from_utf8_lossy(stack.bytes(-1)).chars().take(3).collect();
        format.extend(std::iter::repeat_n(' ', 3_usize.saturating_sub(format.len())));
        stack.pop(1);
        is_text = format.len() == 3 && has(stack, "string", Kind::String);
        if is_text {
            out.verbatim(&format, stack.bytes(-1));
            stack.pop(1);
        }
    }
    stack.pop(1);
    is_text
}

fn write_map(stack: &mut Stack<'_>, how: How, out: &mut Out) -> bool {
    if !has(stack, "map", Kind::Table) {
        return false;
    }
    let (place, mut count) = (out.deferred(), 0);
    stack.push_nil();
    while stack.next(-2) {
        stack.push(-2);
        write_value(stack, how, out);
        write_value(stack, how, out);
        count += 1;
    }
    out.fill_map(place, count);
    stack.pop(1);
    true
}

fn write_set(stack: &mut Stack<'_>, how: How, out: &mut Out) -> bool {
    if !has(stack, "set", Kind::Table) {
        return false;
    }
    let (place, mut count) = (out.deferred(), 0);
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        stack.push(-1);
        write_value(stack, how, out);
        count += 1;
    }
    out.fill_set(place, count);
    stack.pop(1);
    true
}

fn write_array(stack: &mut Stack<'_>, how: How, out: &mut Out) {
    // As many as there are, as a rule; where nil comes earlier the header is written anew.
    let expected = stack.length(-1);
    let start = out.len();
    out.array(expected);
    let (header, mut count) = (out.len(), 0);
    loop {
        if stack.raw_get_index(-1, count as i32 + 1) == Kind::Nil {
            stack.pop(1);
            break;
        }
        write_value(stack, how, out);
        count += 1;
    }
    if count != expected {
        let elements = out.as_bytes()[header..].to_vec();
        out.truncate(start);
        out.array(count);
        out.bytes_mut().extend_from_slice(&elements);
    }
}

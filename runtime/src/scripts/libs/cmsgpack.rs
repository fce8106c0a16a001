//! `cmsgpack`: values as MessagePack.
//!
//! A table whose keys are 1 to n becomes an array, any other a map. Tables in tables are followed for 16 levels: what is
//! deeper becomes nil. Lengths in what is unpacked are claims: nothing is allocated for them.

use crate::scripts::lua::{Function, Kind, Raise, Returned, Stack};

pub(super) const FUNCTIONS: &[(&str, Function)] =
    &[("pack", pack), ("unpack", unpack), ("unpack_one", unpack_one), ("unpack_limit", unpack_limit)];

const NESTING_MAX: usize = 16;

/// More than Lua takes for any value that is not longer in what it is unpacked from.
const VALUE_BYTES: usize = 128;

pub(super) fn set_constants(stack: &mut Stack<'_>) {
    for (name, value) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd."),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        stack.push_bytes(value.as_bytes());
        stack.raw_set_field(-2, name);
    }
}

fn pack(stack: &mut Stack<'_>) -> Returned {
    let count = stack.top();
    if count == 0 {
        return Err(stack.bad_argument(0, "MessagePack pack needs input."));
    }
    if !stack.room(count) {
        return Err(stack.bad_argument(0, "Too many arguments for MessagePack pack."));
    }
    let mut out = Vec::new();
    for at in 1..=count {
        stack.push(at);
        encode(stack, &mut out, 0)?;
    }
    stack.spend(out.len())?;
    stack.push_bytes(&out);
    Ok(1)
}

/// Encodes the value on the top, and pops it.
fn encode(stack: &mut Stack<'_>, out: &mut Vec<u8>, level: usize) -> Result<(), Raise> {
    // Tables in several places are written several times: of a few there may become any number.
    stack.spend(out.len())?;
    match stack.kind(-1) {
        Kind::String => encode_string(stack.bytes(-1), out),
        Kind::Boolean => out.push(if stack.boolean(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => encode_number(stack.number(-1), out),
        Kind::Table if level < NESTING_MAX => encode_table(stack, out, level)?,
        _ => out.push(0xc0),
    }
    stack.pop(1);
    Ok(())
}

fn encode_string(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend([0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend((len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn encode_number(number: f64, out: &mut Vec<u8>) {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let is_integer = number.trunc() == number && (-LIMIT..LIMIT).contains(&number);
    if is_integer {
        return encode_integer(number as i64, out);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend(short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(number.to_be_bytes());
    }
}

fn encode_integer(n: i64, out: &mut Vec<u8>) {
    let (tag, len) = match n {
        -32..=0x7f => return out.push(n as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(tag);
    out.extend_from_slice(&n.to_be_bytes()[8 - len..]);
}

/// The head of an array or a map.
fn encode_head(count: usize, [short, middle, long]: [u8; 3], out: &mut Vec<u8>) {
    match count {
        0..=15 => out.push(short | count as u8),
        16..=0xffff => {
            out.push(middle);
            out.extend((count as u16).to_be_bytes());
        }
        _ => {
            out.push(long);
            out.extend((count as u32).to_be_bytes());
        }
    }
}

fn encode_table(stack: &mut Stack<'_>, out: &mut Vec<u8>, level: usize) -> Result<(), Raise> {
    if !stack.room(5) {
        return Err("stack overflow (in function mp_encode_lua_table_as_map)".into());
    }
    let (mut count, mut highest, mut is_array) = (0_usize, 0.0_f64, true);
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        let key = if stack.kind(-1) == Kind::Number { stack.number(-1) } else { 0.0 };
        is_array &= key > 0.0 && key.trunc() == key && key <= f64::from(i32::MAX);
        highest = highest.max(key);
        count += 1;
    }
    if is_array && highest == count as f64 {
        encode_head(count, [0x90, 0xdc, 0xdd], out);
        for index in 1..=count {
            stack.raw_get_index(-1, index as i32);
            encode(stack, out, level + 1)?;
        }
        return Ok(());
    }
    encode_head(count, [0x80, 0xde, 0xdf], out);
    stack.push_nil();
    while stack.next(-2) {
        stack.push(-2);
        encode(stack, out, level + 1)?;
        encode(stack, out, level + 1)?;
    }
    Ok(())
}

fn unpack(stack: &mut Stack<'_>) -> Returned {
    decode_values(stack, None)
}

fn unpack_one(stack: &mut Stack<'_>) -> Returned {
    let offset = optional_integer(stack, 2)?;
    decode_values(stack, Some((1, offset)))
}

fn unpack_limit(stack: &mut Stack<'_>) -> Returned {
    let limit = stack.number_argument(2)? as i64;
    let offset = optional_integer(stack, 3)?;
    // Nothing said about either is as `unpack`.
    decode_values(stack, (limit != 0 || offset != 0).then_some((limit, offset)))
}

fn optional_integer(stack: &Stack<'_>, at: i32) -> Result<i64, Raise> {
    match stack.kind(at) {
        Kind::None | Kind::Nil => Ok(0),
        _ => Ok(stack.number_argument(at)? as i64),
    }
}

/// Decodes values one after the other: all there are, or so many from an offset on; then with the offset of what is left.
fn decode_values(stack: &mut Stack<'_>, part: Option<(i64, i64)>) -> Returned {
    let data = stack.string_argument(1)?.to_vec();
    stack.set_top(1);
    let (limit, offset) = part.unwrap_or((i64::from(i32::MAX), 0));
    if offset < 0 || limit < 0 {
        let text = format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            data.len()
        );
        return Err(text.into());
    }
    let Some(left) = data.get(offset as usize..) else {
        let text = format!("Start offset {} greater than input length {}.", offset as i32, data.len());
        return Err(text.into());
    };
    let mut input = Input { left };
    let mut count = 0;
    while !input.left.is_empty() && count < limit {
        input.value(stack)?;
        count += 1;
    }
    if part.is_some() {
        if !stack.room(1) {
            return Err("stack overflow (in function mp_unpack_full)".into());
        }
        let offset = if input.left.is_empty() { -1.0 } else { (data.len() - input.left.len()) as f64 };
        stack.push_number(offset);
        stack.insert(2);
        count += 1;
    }
    Ok(count as usize)
}

/// MessagePack that is being read.
struct Input<'d> {
    left: &'d [u8],
}

const MISSING: &str = "Missing bytes in input.";

impl<'d> Input<'d> {
    fn take(&mut self, len: usize) -> Result<&'d [u8], Raise> {
        let (bytes, left) = self.left.split_at_checked(len).ok_or(Raise::from(MISSING))?;
        self.left = left;
        Ok(bytes)
    }

    /// A number of so many bytes.
    fn unsigned(&mut self, len: usize) -> Result<u64, Raise> {
        Ok(self.take(len)?.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, len: usize) -> Result<i64, Raise> {
        let shift = 64 - 8 * len as u32;
        Ok(((self.unsigned(len)? << shift) as i64) >> shift)
    }

    /// Pushes the next value.
    fn value(&mut self, stack: &mut Stack<'_>) -> Result<(), Raise> {
        if self.left.is_empty() {
            return Err(MISSING.into());
        }
        if !stack.room(1) {
            let text =
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
            return Err(text.into());
        }
        stack.spend(VALUE_BYTES)?;
        match self.take(1)?[0] {
            n @ 0..=0x7f => stack.push_number(f64::from(n)),
            n @ 0xe0..=0xff => stack.push_number(f64::from(n as i8)),
            tag @ 0xcc..=0xcf => {
                let n = self.unsigned(1 << (tag - 0xcc))?;
                // The largest ones come as negative numbers: the library knows signed integers alone.
                stack.push_number(n as i64 as f64);
            }
            tag @ 0xd0..=0xd3 => {
                let n = self.signed(1 << (tag - 0xd0))?;
                stack.push_number(n as f64);
            }
            0xc0 => stack.push_nil(),
            tag @ (0xc2 | 0xc3) => stack.push_boolean(tag == 0xc3),
            0xca => {
                let bits = self.unsigned(4)? as u32;
                stack.push_number(f64::from(f32::from_bits(bits)));
            }
            0xcb => {
                let bits = self.unsigned(8)?;
                stack.push_number(f64::from_bits(bits));
            }
            tag @ 0xa0..=0xbf => self.string(stack, u64::from(tag & 0x1f))?,
            tag @ 0xd9..=0xdb => {
                let len = self.unsigned(1 << (tag - 0xd9))?;
                self.string(stack, len)?;
            }
            tag @ 0x90..=0x9f => self.array(stack, u64::from(tag & 0xf))?,
            tag @ (0xdc | 0xdd) => {
                let len = self.unsigned(2 << (tag - 0xdc))?;
                self.array(stack, len)?;
            }
            tag @ 0x80..=0x8f => self.map(stack, u64::from(tag & 0xf))?,
            tag @ (0xde | 0xdf) => {
                let len = self.unsigned(2 << (tag - 0xde))?;
                self.map(stack, len)?;
            }
            _ => return Err("Bad data format in input.".into()),
        }
        Ok(())
    }

    fn string(&mut self, stack: &mut Stack<'_>, len: u64) -> Result<(), Raise> {
        let bytes = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        stack.push_bytes(bytes);
        Ok(())
    }

    /// One level deeper. The stack of Lua ends before ours does: each level takes some of both.
    fn nested(
        &mut self,
        stack: &mut Stack<'_>,
        read: impl FnOnce(&mut Self, &mut Stack<'_>) -> Result<(), Raise>,
    ) -> Result<(), Raise> {
        if !stack.room(3) {
            return Err("stack overflow (in function mp_decode_to_lua_array)".into());
        }
        stack.new_table(0, 0);
        read(self, stack)?;
        Ok(())
    }

    fn array(&mut self, stack: &mut Stack<'_>, len: u64) -> Result<(), Raise> {
        self.nested(stack, |input, stack| {
            for index in 1..=len {
                input.value(stack)?;
                stack.raw_set_index(-2, index as i32);
            }
            Ok(())
        })
    }

    fn map(&mut self, stack: &mut Stack<'_>, len: u64) -> Result<(), Raise> {
        self.nested(stack, |input, stack| {
            for _ in 0..len {
                input.value(stack)?;
                input.value(stack)?;
                match stack.kind(-2) {
                    Kind::Nil => return Err("table index is nil".into()),
                    _ if !stack.can_be_key(-2) => return Err("table index is NaN".into()),
                    _ => stack.raw_set(-3),
                }
            }
            Ok(())
        })
    }
}

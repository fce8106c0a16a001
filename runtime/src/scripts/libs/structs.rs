//! `struct`: numbers and strings as bytes, by a format.
//!
//! | option        | is                                   | option  | is                                        |
//! |---------------|--------------------------------------|---------|-------------------------------------------|
//! | `b` `B`       | one byte, signed or not              | `f` `d` | a float of 4 or 8 bytes                   |
//! | `h` `H`       | two bytes                            | `x`     | a byte that is skipped                    |
//! | `l` `L`       | eight bytes                          | `cN`    | N bytes; `c0`: all, or as many as read    |
//! | `T`           | eight bytes, unsigned                | `s`     | a string up to a zero byte                |
//! | `iN` `IN`     | N bytes, 4 without N                 | `<` `>` | little or big endian from here on         |
//! |               |                                      | `!N`    | align to N from here on, 8 without N      |

use crate::scripts::lua::{Function, Raise, Returned, Stack};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[("pack", pack), ("unpack", unpack), ("size", size)];

/// The longest integer.
const INTEGER_MAX: i32 = 32;
/// What `!` aligns to.
const ALIGN: i32 = 8;

/// A format being read.
struct Format {
    text: Vec<u8>,
    at: usize,
    big_endian: bool,
    align: usize,
}

/// One option of it.
struct Item {
    option: u8,
    /// Bytes that it takes; for `c` the number behind it.
    size: usize,
}

impl Format {
    fn of(stack: &Stack<'_>) -> Result<Self, Raise> {
        let text = stack.string_argument(1)?;
        // It is read as C does.
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Ok(Self { text: text[..end].to_vec(), at: 0, big_endian: false, align: 1 })
    }

    fn number(&mut self, otherwise: i32) -> Result<i32, Raise> {
        let mut number: Option<i32> = None;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            let next = number.unwrap_or(0).checked_mul(10);
            let next = next.and_then(|n| n.checked_add(i32::from(digit - b'0')));
            number = Some(next.ok_or(Raise::from("integral size overflow"))?);
            self.at += 1;
        }
        Ok(number.unwrap_or(otherwise))
    }

    fn next(&mut self) -> Result<Option<Item>, Raise> {
        let Some(option) = self.text.get(self.at).copied() else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'f' => 4,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'c' => self.number(1)? as usize,
            b'i' | b'I' => match self.number(4)? {
                size @ ..=INTEGER_MAX => size as usize,
                size => {
                    let text = format!("integral size {size} is larger than limit of {INTEGER_MAX}");
                    return Err(text.into());
                }
            },
            _ => 0,
        };
        Ok(Some(Item { option, size }))
    }

    /// Bytes between a position and the next where an item may begin.
    fn padding(&self, position: usize, item: &Item) -> usize {
        if item.size == 0 || item.option == b'c' {
            return 0;
        }
        let size = item.size.min(self.align);
        size.wrapping_sub(position & size.wrapping_sub(1)) & size.wrapping_sub(1)
    }

    /// An option that says how others are meant.
    fn control(&mut self, stack: &Stack<'_>, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.number(ALIGN)?;
                if align <= 0 || align & (align - 1) != 0 {
                    return Err(format!("alignment {align} is not a power of 2").into());
                }
                self.align = align as usize;
            }
            other => {
                // As it came: it may be a part of a letter.
                return Err(stack.bad_argument(1, [b"invalid format option '", &[other][..], b"'"].concat()));
            }
        }
        Ok(())
    }

    fn put(&self, little_endian: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(little_endian);
        if self.big_endian {
            out[start..].reverse();
        }
    }

    /// An integer from its bytes. Of a longer one the low eight count.
    fn integer(&self, bytes: &[u8], signed: bool) -> f64 {
        let join = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        let all = if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        if !signed {
            return all as f64;
        }
        let mask = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
        (if all & mask == 0 { all } else { all | mask }) as i64 as f64
    }

    fn bytes<const N: usize>(&self, bytes: &[u8]) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&bytes[..N]);
        if self.big_endian {
            array.reverse();
        }
        array
    }
}

fn pack(stack: &mut Stack<'_>) -> Returned {
    let mut format = Format::of(stack)?;
    // An argument that is missing is said to be nil.
    stack.push_nil();
    let mut out = Vec::new();
    let mut argument = 2;
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), &item), 0);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = stack.number_argument(argument)?;
                argument += 1;
                let value = if number < 0.0 { number as i64 as u64 } else { number as u64 };
                let mut bytes = [0; INTEGER_MAX as usize];
                bytes[..8].copy_from_slice(&value.to_le_bytes());
                format.put(&bytes[..item.size], &mut out);
            }
            b'x' => out.push(0),
            b'f' => {
                format.put(&(stack.number_argument(argument)? as f32).to_le_bytes(), &mut out);
                argument += 1;
            }
            b'd' => {
                format.put(&stack.number_argument(argument)?.to_le_bytes(), &mut out);
                argument += 1;
            }
            b'c' | b's' => {
                let text = stack.string_argument(argument)?;
                argument += 1;
                let wanted = if item.size == 0 { text.len() } else { item.size };
                let Some(part) = text.get(..wanted) else {
                    return Err(stack.bad_argument(argument, "string too short"));
                };
                out.extend_from_slice(part);
                if item.option == b's' {
                    out.push(0);
                }
            }
            option => format.control(stack, option)?,
        }
    }
    stack.push_bytes(&out);
    Ok(1)
}

fn unpack(stack: &mut Stack<'_>) -> Returned {
    let mut format = Format::of(stack)?;
    let data = stack.string_argument(2)?.to_vec();
    let first = if stack.top() < 3 { 1.0 } else { stack.number_argument(3)? };
    // As an unsigned number: a negative one is far beyond the end.
    let mut position = match first as i64 as u64 {
        0 => return Err(stack.bad_argument(3, "offset must be 1 or greater")),
        first => (first - 1) as usize,
    };
    let mut count = 0;
    while let Some(mut item) = format.next()? {
        let short = |stack: &Stack<'_>| Err(stack.bad_argument(2, "data string too short"));
        position = position.saturating_add(format.padding(position, &item));
        if !fits(&data, position, item.size) {
            return short(stack);
        }
        if !stack.room(2) {
            return Err("stack overflow (too many results)".into());
        }
        let bytes = &data[position..];
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = item.option.is_ascii_lowercase();
                stack.push_number(format.integer(&bytes[..item.size], signed));
                count += 1;
            }
            b'x' => {}
            b'f' => {
                stack.push_number(f64::from(f32::from_le_bytes(format.bytes(bytes))));
                count += 1;
            }
            b'd' => {
                stack.push_number(f64::from_le_bytes(format.bytes(bytes)));
                count += 1;
            }
            b'c' => {
                if item.size == 0 {
                    if count == 0 || !stack.is_number(-1) {
                        return Err("format 'c0' needs a previous size".into());
                    }
                    let size = stack.number(-1);
                    stack.pop(1);
                    count -= 1;
                    item.size = if size < 0.0 { usize::MAX } else { size as usize };
                    if !fits(&data, position, item.size) {
                        return short(stack);
                    }
                }
                stack.push_bytes(&bytes[..item.size]);
                count += 1;
            }
            b's' => {
                let Some(len) = bytes.iter().position(|byte| *byte == 0) else {
                    return Err("unfinished string in data".into());
                };
                stack.push_bytes(&bytes[..len]);
                item.size = len + 1;
                count += 1;
            }
            option => format.control(stack, option)?,
        }
        position += item.size;
    }
    stack.push_number((position + 1) as f64);
    Ok(count + 1)
}

fn fits(data: &[u8], position: usize, size: usize) -> bool {
    size <= data.len() && position <= data.len() - size
}

fn size(stack: &mut Stack<'_>) -> Returned {
    let mut format = Format::of(stack)?;
    let mut position = 0_usize;
    while let Some(item) = format.next()? {
        position = position.wrapping_add(format.padding(position, &item));
        match item.option {
            b's' => return Err(stack.bad_argument(1, "option 's' has no fixed size")),
            b'c' if item.size == 0 => return Err(stack.bad_argument(1, "option 'c0' has no fixed size")),
            option if !option.is_ascii_alphanumeric() => format.control(stack, option)?,
            _ => {}
        }
        position = position.wrapping_add(item.size);
    }
    stack.push_number(position as f64);
    Ok(1)
}

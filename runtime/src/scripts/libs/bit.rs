//! `bit`: operations on the 32 bits of a number.

use crate::scripts::lua::{Function, Kind, Raise, Returned, Stack};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("tobit", |stack| unary(stack, |bits| bits)),
    ("bnot", |stack| unary(stack, |bits| !bits)),
    ("bswap", |stack| unary(stack, u32::swap_bytes)),
    ("band", |stack| fold(stack, |a, b| a & b)),
    ("bor", |stack| fold(stack, |a, b| a | b)),
    ("bxor", |stack| fold(stack, |a, b| a ^ b)),
    ("lshift", |stack| shift(stack, |bits, by| bits << by)),
    ("rshift", |stack| shift(stack, |bits, by| bits >> by)),
    ("arshift", |stack| shift(stack, |bits, by| ((bits as i32) >> by) as u32)),
    ("rol", |stack| shift(stack, u32::rotate_left)),
    ("ror", |stack| shift(stack, u32::rotate_right)),
    ("tohex", tohex),
];

/// The low bits of a number, rounded to an integer: 2^52 + 2^51 moves them to the end of the mantissa.
fn bits(stack: &Stack<'_>, at: i32) -> Result<u32, Raise> {
    const TO_THE_END: f64 = 6_755_399_441_055_744.0;
    let bits = (stack.number(at) + TO_THE_END).to_bits() as u32;
    if bits == 0 {
        stack.number_argument(at)?;
    }
    Ok(bits)
}

fn give(stack: &mut Stack<'_>, bits: u32) -> Returned {
    stack.push_number(f64::from(bits as i32));
    Ok(1)
}

fn unary(stack: &mut Stack<'_>, operation: fn(u32) -> u32) -> Returned {
    let bits = bits(stack, 1)?;
    give(stack, operation(bits))
}

fn fold(stack: &mut Stack<'_>, operation: fn(u32, u32) -> u32) -> Returned {
    let mut result = bits(stack, 1)?;
    for at in (2..=stack.top()).rev() {
        result = operation(result, bits(stack, at)?);
    }
    give(stack, result)
}

fn shift(stack: &mut Stack<'_>, operation: fn(u32, u32) -> u32) -> Returned {
    let (bits, by) = (bits(stack, 1)?, bits(stack, 2)?);
    give(stack, operation(bits, by & 31))
}

fn tohex(stack: &mut Stack<'_>) -> Returned {
    let number = bits(stack, 1)?;
    let digits = if stack.kind(2) == Kind::None { 8 } else { bits(stack, 2)? as i32 };
    let text = if digits < 0 { format!("{number:08X}") } else { format!("{number:08x}") };
    let wanted = digits.unsigned_abs().min(8) as usize;
    stack.push_bytes(&text.as_bytes()[8 - wanted..]);
    Ok(1)
}

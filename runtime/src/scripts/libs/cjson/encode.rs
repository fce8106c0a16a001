//! Values to JSON.

use super::{Config, InvalidNumbers};
use crate::scripts::lua::{Kind, Raise, Returned, Stack};

pub(super) fn encode(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 {
        return Err(stack.bad_argument(1, "expected 1 argument"));
    }
    let config = stack.shared().json.get();
    let mut out = Vec::with_capacity(64);
    value(stack, &config, 0, &mut out)?;
    stack.spend(out.len())?;
    stack.push_bytes(&out);
    Ok(1)
}

fn refuse(stack: &Stack<'_>, at: i32, why: &str) -> Raise {
    format!("Cannot serialise {}: {why}", stack.kind_name(at)).into()
}

/// The value on the top, which stays there.
fn value(stack: &mut Stack<'_>, config: &Config, depth: i32, out: &mut Vec<u8>) -> Result<(), Raise> {
    // Tables in several places are written several times: of a few there may become any number.
    stack.spend(out.len())?;
    match stack.kind(-1) {
        Kind::String => string(stack.bytes(-1), out),
        Kind::Number => number(stack, config, -1, out)?,
        Kind::Boolean => out.extend_from_slice(if stack.boolean(-1) { b"true" } else { b"false" }),
        Kind::Nil => out.extend_from_slice(b"null"),
        Kind::Table => {
            let depth = depth + 1;
            if depth > config.encode_depth || !stack.room(4) {
                return Err(format!("Cannot serialise, excessive nesting ({depth})").into());
            }
            match array_length(stack, config)? {
                Some(len @ 1..) => array(stack, config, depth, len, out)?,
                _ => object(stack, config, depth, out)?,
            }
        }
        _ if stack.is_null(-1) => out.extend_from_slice(b"null"),
        _ => return Err(refuse(stack, -1, "type not supported")),
    }
    Ok(())
}

/// The length of the array on the top; none if it is not only that, or too sparse to be written as one.
fn array_length(stack: &mut Stack<'_>, config: &Config) -> Result<Option<i32>, Raise> {
    let (mut highest, mut items) = (0_i32, 0_i32);
    stack.push_nil();
    while stack.next(-2) {
        let key = if stack.kind(-2) == Kind::Number { stack.number(-2) } else { 0.0 };
        if key < 1.0 || key.floor() != key {
            stack.pop(2);
            return Ok(None);
        }
        stack.pop(1);
        highest = highest.max(key as i32);
        items += 1;
    }
    let is_sparse = config.sparse_ratio > 0
        && i64::from(highest) > i64::from(items) * i64::from(config.sparse_ratio)
        && highest > config.sparse_safe;
    match (is_sparse, config.sparse_convert) {
        (false, _) => Ok(Some(highest)),
        (true, true) => Ok(None),
        (true, false) => Err(refuse(stack, -1, "excessively sparse array")),
    }
}

fn array(
    stack: &mut Stack<'_>,
    config: &Config,
    depth: i32,
    len: i32,
    out: &mut Vec<u8>,
) -> Result<(), Raise> {
    out.push(b'[');
    for index in 1..=len {
        if index > 1 {
            out.push(b',');
        }
        stack.raw_get_index(-1, index);
        value(stack, config, depth, out)?;
        stack.pop(1);
    }
    out.push(b']');
    Ok(())
}

fn object(stack: &mut Stack<'_>, config: &Config, depth: i32, out: &mut Vec<u8>) -> Result<(), Raise> {
    out.push(b'{');
    let mut is_first = true;
    stack.push_nil();
    while stack.next(-2) {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        match stack.kind(-2) {
            Kind::Number => {
                out.push(b'"');
                number(stack, config, -2, out)?;
                out.extend_from_slice(b"\":");
            }
            Kind::String => {
                string(stack.bytes(-2), out);
                out.push(b':');
            }
            _ => return Err(refuse(stack, -2, "table key must be a number or string")),
        }
        value(stack, config, depth, out)?;
        stack.pop(1);
    }
    out.push(b'}');
    Ok(())
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' | b'/' => out.extend([b'\\', *byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn number(stack: &Stack<'_>, config: &Config, at: i32, out: &mut Vec<u8>) -> Result<(), Raise> {
    let number = stack.number(at);
    if !number.is_finite() {
        match config.encode_invalid {
            InvalidNumbers::Off => return Err(refuse(stack, at, "must not be NaN or Inf")),
            InvalidNumbers::Null => out.extend_from_slice(b"null"),
            InvalidNumbers::On if number.is_nan() => out.extend_from_slice(b"nan"),
            InvalidNumbers::On if number > 0.0 => out.extend_from_slice(b"inf"),
            InvalidNumbers::On => out.extend_from_slice(b"-inf"),
        }
        return Ok(());
    }
    general(number, config.precision as usize, out);
    Ok(())
}

/// Prints a finite number as `printf("%.{digits}g")` does.
fn general(number: f64, digits: usize, out: &mut Vec<u8>) {
    if number.trunc() == number
        && number.abs() < 1e9
        && digits >= 9
        && (number != 0.0 || number.is_sign_positive())
    {
        return out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let without_zeros = |text: &str| {
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
        text.to_owned()
    };
    if (-4..digits as i32).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        out.extend_from_slice(without_zeros(&format!("{number:.decimals$}")).as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let text = format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_printf_has_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (1e14, "1e+14"),
            (1e13, "10000000000000"),
            (123_456_789_012_345.0, "1.2345678901234e+14"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e300, "1e+300"),
            (1.0 / 3.0, "0.33333333333333"),
            (99_999_999_999_999.9, "1e+14"),
            (5e-324, "4.9406564584125e-324"),
        ] {
            let mut out = Vec::new();
            general(number, 14, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}

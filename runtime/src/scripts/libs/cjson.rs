//! `cjson`: values as JSON.
//!
//! What a script changes of the settings holds for its run.

mod decode;
mod encode;

use crate::scripts::lua::{Function, Kind, Raise, Returned, Stack};
use crate::scripts::sandbox::set_functions;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("encode", encode::encode),
    ("decode", decode::decode),
    ("encode_sparse_array", |stack| configure(stack, sparse_array)),
    ("encode_max_depth", |stack| {
        configure(stack, |stack, config| integer(stack, 1, &mut config.encode_depth, 1, i32::MAX))
    }),
    ("decode_max_depth", |stack| {
        configure(stack, |stack, config| integer(stack, 1, &mut config.decode_depth, 1, i32::MAX))
    }),
    ("encode_number_precision", |stack| {
        configure(stack, |stack, config| integer(stack, 1, &mut config.precision, 1, 14))
    }),
    ("encode_keep_buffer", |stack| {
        configure(stack, |stack, config| boolean(stack, 1, &mut config.keep_buffer))
    }),
    ("encode_invalid_numbers", |stack| configure(stack, encode_invalid_numbers)),
    ("decode_invalid_numbers", |stack| {
        configure(stack, |stack, config| boolean(stack, 1, &mut config.decode_invalid))
    }),
    ("new", new),
];

/// What becomes of numbers that JSON does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidNumbers {
    /// They are an error.
    Off,
    /// They are written all the same.
    On,
    /// They become null.
    Null,
}

/// The settings.
#[derive(Clone, Copy, Debug)]
pub(in crate::scripts) struct Config {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth: i32,
    decode_depth: i32,
    encode_invalid: InvalidNumbers,
    decode_invalid: bool,
    keep_buffer: bool,
    precision: i32,
}

impl Config {
    /// As every run begins.
    pub(in crate::scripts) const DEFAULT: Self = Self {
        sparse_convert: false,
        sparse_ratio: 2,
        sparse_safe: 10,
        encode_depth: 1000,
        decode_depth: 1000,
        encode_invalid: InvalidNumbers::Off,
        decode_invalid: true,
        keep_buffer: true,
        precision: 14,
    };
}

pub(super) fn set_constants(stack: &mut Stack<'_>) {
    stack.push_null();
    stack.raw_set_field(-2, "null");
    for (name, value) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        stack.push_bytes(value.as_bytes());
        stack.raw_set_field(-2, name);
    }
}

fn new(stack: &mut Stack<'_>) -> Returned {
    stack.new_table(0, FUNCTIONS.len() + 3);
    set_functions(stack, FUNCTIONS);
    set_constants(stack);
    Ok(1)
}

fn configure(
    stack: &mut Stack<'_>,
    change: fn(&mut Stack<'_>, &mut Config) -> Result<(), Raise>,
) -> Returned {
    let (mut config, arguments) = (stack.shared().json.get(), stack.top());
    change(stack, &mut config)?;
    stack.shared().json.set(config);
    Ok((stack.top() - arguments) as usize)
}

/// At most so many arguments.
fn at_most(stack: &mut Stack<'_>, count: i32) -> Result<(), Raise> {
    if stack.top() > count { Err(stack.bad_argument(count + 1, "found too many arguments")) } else { Ok(()) }
}

fn is_given(stack: &Stack<'_>, at: i32, arguments: i32) -> bool {
    at <= arguments && !matches!(stack.kind(at), Kind::None | Kind::Nil)
}

/// An argument that sets an integer, and the integer as the result.
fn integer_option(
    stack: &mut Stack<'_>,
    at: i32,
    arguments: i32,
    setting: &mut i32,
    min: i32,
    max: i32,
) -> Result<(), Raise> {
    if is_given(stack, at, arguments) {
        let value = stack.number_argument(at)?;
        if !(f64::from(min)..=f64::from(max)).contains(&value.trunc()) {
            return Err(stack.bad_argument(at, format!("expected integer between {min} and {max}")));
        }
        *setting = value as i32;
    }
    stack.push_number(f64::from(*setting));
    Ok(())
}

/// An argument that sets a boolean, and the boolean as the result.
fn boolean_option(stack: &mut Stack<'_>, at: i32, arguments: i32, setting: &mut bool) -> Result<(), Raise> {
    if is_given(stack, at, arguments) {
        *setting = match stack.kind(at) {
            Kind::Boolean => stack.boolean(at),
            _ => {
                let text = String::from_utf8_lossy(stack.string_argument(at)?).into_owned();
                return Err(stack.bad_argument(at, format!("invalid option '{text}'")));
            }
        };
    }
    stack.push_boolean(*setting);
    Ok(())
}

fn integer(stack: &mut Stack<'_>, at: i32, setting: &mut i32, min: i32, max: i32) -> Result<(), Raise> {
    at_most(stack, 1)?;
    let arguments = stack.top();
    integer_option(stack, at, arguments, setting, min, max)
}

fn boolean(stack: &mut Stack<'_>, at: i32, setting: &mut bool) -> Result<(), Raise> {
    at_most(stack, 1)?;
    let arguments = stack.top();
    boolean_option(stack, at, arguments, setting)
}

fn sparse_array(stack: &mut Stack<'_>, config: &mut Config) -> Result<(), Raise> {
    at_most(stack, 3)?;
    let arguments = stack.top();
    boolean_option(stack, 1, arguments, &mut config.sparse_convert)?;
    integer_option(stack, 2, arguments, &mut config.sparse_ratio, 0, i32::MAX)?;
    integer_option(stack, 3, arguments, &mut config.sparse_safe, 0, i32::MAX)
}

fn encode_invalid_numbers(stack: &mut Stack<'_>, config: &mut Config) -> Result<(), Raise> {
    at_most(stack, 1)?;
    if is_given(stack, 1, stack.top()) {
        config.encode_invalid = match stack.kind(1) {
            Kind::Boolean if stack.boolean(1) => InvalidNumbers::On,
            Kind::Boolean => InvalidNumbers::Off,
            _ => match stack.string_argument(1)? {
                b"off" => InvalidNumbers::Off,
                b"on" => InvalidNumbers::On,
                b"null" => InvalidNumbers::Null,
                other => {
                    let why = format!("invalid option '{}'", String::from_utf8_lossy(other));
                    return Err(stack.bad_argument(1, &why));
                }
            },
        };
    }
    match config.encode_invalid {
        InvalidNumbers::Null => stack.push_bytes(b"null"),
        other => stack.push_boolean(other == InvalidNumbers::On),
    }
    Ok(())
}

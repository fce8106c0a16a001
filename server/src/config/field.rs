//! How one setting is read and shown: the [`Field`] trait, and its implementation for plain values.
//! Settings with a shape of their own (`save`, `bind`, ...) are in `shapes.rs`, choices in `choices.rs`.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::text;

/// Why a value was refused, in the words that the operator reads.
pub type Reason = Cow<'static, str>;

/// What values a setting takes, beyond what its Rust type says.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// `no`; `yes` is refused for this reason.
    OnlyNo(&'static str),
    /// A decimal integer between two bounds, both allowed.
    Int(i64, i64),
    /// Like `Int` between 0 and the bound, written in octal.
    Octal(i64),
    /// A number of bytes between two bounds, with units.
    Memory(u64, u64),
    /// Text; empty is a value like any other.
    Text,
    /// Text; empty means that it isn't set.
    Name,
    /// Text that passes a test.
    Checked(fn(&[u8]) -> Result<(), &'static str>),
    /// The Rust type alone decides.
    Own,
}

/// When a value is being set, which matters to settings that add up over lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// While the configuration is loaded, and no line named this setting before.
    FirstLine,
    /// While it's loaded, by a further line.
    LaterLine,
    /// By `CONFIG SET`.
    Running,
}

/// A value that a line of the configuration can set.
pub trait Field {
    /// Takes the value over from `args`, or leaves it unchanged and says why.
    fn parse(&mut self, args: &[&[u8]], kind: Kind, moment: Moment) -> Result<(), Reason>;

    /// The value as `CONFIG GET` shows it.
    fn show(&self, kind: Kind) -> Vec<u8>;

    /// The lines that set this value again; none, if it is set by being absent.
    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        vec![line(name, &self.show(kind))]
    }

    /// Whether `CONFIG REWRITE` writes it even when it has its default.
    fn always_written(&self) -> bool {
        false
    }
}

pub(super) fn line(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b" ", value].concat()
}

pub(super) const WRONG_NUMBER: Reason = Cow::Borrowed("wrong number of arguments");

/// The only argument of a setting that takes one.
pub(super) fn only<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], Reason> {
    match args {
        [arg] => Ok(arg),
        _ => Err(WRONG_NUMBER),
    }
}

impl Field for bool {
    fn parse(&mut self, args: &[&[u8]], kind: Kind, _: Moment) -> Result<(), Reason> {
        let yes = match only(args)? {
            arg if arg.eq_ignore_ascii_case(b"yes") => true,
            arg if arg.eq_ignore_ascii_case(b"no") => false,
            _ => return Err("argument must be 'yes' or 'no'".into()),
        };
        match kind {
            Kind::OnlyNo(reason) if yes => Err(reason.into()),
            _ => {
                *self = yes;
                Ok(())
            }
        }
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

/// Numbers of any width share the parser; the bounds of the row fit the type (a test sees to it).
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn parse(&mut self, args: &[&[u8]], kind: Kind, _: Moment) -> Result<(), Reason> {
                let value = number(only(args)?, kind)?;
                *self = value.try_into().map_err(|_| out_of_bounds(<$number>::MIN, <$number>::MAX))?;
                Ok(())
            }

            fn show(&self, kind: Kind) -> Vec<u8> {
                match kind {
                    Kind::Octal(_) => format!("{self:o}").into_bytes(),
                    _ => self.to_string().into_bytes(),
                }
            }

            fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
                let value = match (kind, u64::try_from(*self)) {
                    (Kind::Memory(..), Ok(bytes)) => text::memory_text(bytes).into_bytes(),
                    _ => self.show(kind),
                };
                vec![line(name, &value)]
            }
        }
    )*};
}

numbers!(i64, u64, u32, u16, usize);

fn number(arg: &[u8], kind: Kind) -> Result<i128, Reason> {
    let (value, min, max) = match kind {
        Kind::Memory(min, max) => {
            let value = text::memory(arg).ok_or("argument must be a memory value")?;
            (value.into(), min.into(), max.into())
        }
        Kind::Octal(max) => {
            let value =
                text::lenient_integer(arg, 8).ok_or("argument couldn't be parsed as an octal number")?;
            if !(0..=max).contains(&value) {
                return Err(format!("argument must be between 0 and {max:o} inclusive").into());
            }
            (value.into(), 0, max.into())
        }
        Kind::Int(min, max) => (integer(arg)?.into(), min.into(), max.into()),
        _ => (integer(arg)?.into(), i128::MIN, i128::MAX),
    };
    if (min..=max).contains(&value) { Ok(value) } else { Err(out_of_bounds(min, max)) }
}

fn integer(arg: &[u8]) -> Result<i64, Reason> {
    text::integer(arg).ok_or(Cow::Borrowed("argument couldn't be parsed into an integer"))
}

fn out_of_bounds(min: impl fmt::Display, max: impl fmt::Display) -> Reason {
    format!("argument must be between {min} and {max} inclusive").into()
}

/// The text of a setting: any bytes, though mostly a name or a path. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(std::sync::Arc<[u8]>);

impl Text {
    /// Text from bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The text as a path.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The text for people: bytes that aren't UTF-8 are replaced.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The text, if it isn't empty.
    pub fn set(&self) -> Option<&Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.lossy(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lossy())
    }
}

impl Field for Text {
    fn parse(&mut self, args: &[&[u8]], kind: Kind, _: Moment) -> Result<(), Reason> {
        let arg = only(args)?;
        if let Kind::Checked(check) = kind {
            check(arg)?;
        }
        *self = Self::new(arg);
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        self.to_vec()
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        match kind {
            Kind::Name | Kind::Checked(_) if self.is_empty() => Vec::new(),
            _ => vec![line(name, &text::quote(self))],
        }
    }
}

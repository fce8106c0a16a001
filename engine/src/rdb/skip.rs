//! How long a value is, without building it: how a file is cut into keys.
//!
//! All types are a head, a count, and so many times the same parts; streams and values of modules apart.

use super::input::Input;
use super::kind::{Family, Kind};
use super::length;
use super::string;
use super::{RdbError, Unsupported};

/// The length of the value of type `kind` at the start of `bytes`. Only what has to be known for that is looked at:
/// the value may still turn out to be corrupt. Streams and values of modules are skipped as well.
///
/// O(elements), and nothing is decompressed or allocated.
///
/// # Errors
/// [`RdbError`].
pub fn skip_value(kind: u8, family: Family, bytes: &[u8]) -> Result<usize, RdbError> {
    let known = Kind::of(kind, family);
    let kind = known.ok_or(RdbError::Unsupported { offset: 0, what: Unsupported::Kind(kind) })?;
    Skip::new(kind).run(bytes)
}

/// A part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Text,
    Length,
    Eight,
    /// A score as text.
    Score,
}

use Part::{Eight, Score, Text};

/// What a value is made of.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// These parts, once.
    Once(&'static [Part]),
    /// The first parts once, then a count, then the others so many times.
    Counted(&'static [Part], &'static [Part]),
    Module,
    Stream {
        generation: u8,
    },
}

fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::String
        | Kind::HashZipmap
        | Kind::ListZiplist
        | Kind::SetIntset
        | Kind::ZSetZiplist
        | Kind::HashZiplist
        | Kind::HashListpack
        | Kind::ZSetListpack
        | Kind::SetListpack
        | Kind::HashListpackExPreGa => Shape::Once(&[Text]),
        Kind::HashListpackEx => Shape::Once(&[Eight, Text]),
        Kind::List | Kind::Set | Kind::ListQuicklist => Shape::Counted(&[], &[Text]),
        Kind::ZSet => Shape::Counted(&[], &[Text, Score]),
        Kind::ZSet2 => Shape::Counted(&[], &[Text, Eight]),
        Kind::Hash => Shape::Counted(&[], &[Text, Text]),
        Kind::ListQuicklist2 => Shape::Counted(&[], &[Part::Length, Text]),
        Kind::HashMetadata => Shape::Counted(&[Eight], &[Part::Length, Text, Text]),
        Kind::HashMetadataPreGa => Shape::Counted(&[], &[Part::Length, Text, Text]),
        Kind::Hash2 => Shape::Counted(&[], &[Text, Text, Eight]),
        Kind::ModulePreGa | Kind::Module => Shape::Module,
        Kind::Stream => Shape::Stream { generation: 1 },
        Kind::Stream2 => Shape::Stream { generation: 2 },
        Kind::Stream3 => Shape::Stream { generation: 3 },
    }
}

/// Where the search for the end of a value has got to: goes on there when more bytes have come.
#[derive(Clone, Debug)]
pub(super) struct Skip {
    kind: Kind,
    at: usize,
    /// Elements still to come, once their count has been read.
    left: Option<u64>,
}

impl Skip {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, at: 0, left: None }
    }

    /// The length of the value at the start of `bytes`, which begin with all that an earlier call has seen.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<usize, RdbError> {
        let mut input = Input::at(bytes, self.at);
        match shape(self.kind) {
            Shape::Once(shape) => parts(&mut input, shape)?,
            Shape::Counted(head, element) => self.elements(&mut input, head, element)?,
            Shape::Module if self.kind == Kind::ModulePreGa => return Err(pre_ga(&mut input)),
            Shape::Module => module(&mut input)?,
            Shape::Stream { generation } => stream(&mut input, generation)?,
        }
        Ok(input.offset())
    }

    fn elements(&mut self, input: &mut Input<'_>, head: &[Part], element: &[Part]) -> Result<(), RdbError> {
        let mut left = match self.left {
            Some(left) => left,
            None => {
                parts(input, head)?;
                length::plain(input)?
            }
        };
        let mut at = input.offset();
        while left > 0 {
            if let Err(error) = parts(input, element) {
                (self.at, self.left) = (at, Some(left));
                return Err(error);
            }
            at = input.offset();
            left -= 1;
        }
        Ok(())
    }
}

#[inline]
fn parts(input: &mut Input<'_>, parts: &[Part]) -> Result<(), RdbError> {
    for part in parts {
        match part {
            Text => text(input)?,
            Part::Length => _ = length::plain(input)?,
            Eight => _ = input.take(8)?,
            Score => match input.byte()? {
                253..=255 => {}
                len => _ = input.take(usize::from(len))?,
            },
        }
    }
    Ok(())
}

#[inline]
fn text(input: &mut Input<'_>) -> Result<(), RdbError> {
    string::decode(input).map(|_| ())
}

/// Skips so many times what `item` skips.
fn repeated(
    input: &mut Input<'_>,
    mut item: impl FnMut(&mut Input<'_>) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    let mut left = length::plain(input)?;
    while left > 0 {
        item(input)?;
        left -= 1;
    }
    Ok(())
}

fn lengths(input: &mut Input<'_>, count: usize) -> Result<(), RdbError> {
    (0..count).try_for_each(|_| length::plain(input).map(|_| ()))
}

/// Modules mark each part of their values: 0 ends them, 1 and 2 are integers, 3 and 4 floats, 5 a string.
pub(super) fn module(input: &mut Input<'_>) -> Result<(), RdbError> {
    length::plain(input)?;
    module_parts(input)
}

/// The parts after the number of the module.
pub(super) fn module_parts(input: &mut Input<'_>) -> Result<(), RdbError> {
    loop {
        let at = input.offset();
        match length::plain(input)? {
            0 => return Ok(()),
            1 | 2 => _ = length::plain(input)?,
            3 => _ = input.take(4)?,
            4 => _ = input.take(8)?,
            5 => text(input)?,
            _ => return Err(Input::corrupt(at, "a part of a module's value")),
        }
    }
}

/// Values of modules before Redis 4.0 was released do not say where they end.
fn pre_ga(input: &mut Input<'_>) -> RdbError {
    match length::plain(input) {
        Ok(id) => {
            let what = Unsupported::Module(super::ModuleName::of(id));
            RdbError::Unsupported { offset: 0, what }
        }
        Err(error) => error,
    }
}

fn stream(input: &mut Input<'_>, generation: u8) -> Result<(), RdbError> {
    repeated(input, |input| parts(input, &[Text, Text]))?;
    // Length and last id; since the second generation first id, largest deleted id and entries added.
    lengths(input, if generation >= 2 { 8 } else { 3 })?;
    repeated(input, |group| {
        text(group)?;
        lengths(group, if generation >= 2 { 3 } else { 2 })?;
        repeated(group, |pending| {
            pending.take(16 + 8)?;
            length::plain(pending).map(|_| ())
        })?;
        repeated(group, |consumer| {
            text(consumer)?;
            consumer.take(if generation >= 3 { 16 } else { 8 })?;
            repeated(consumer, |pending| pending.take(16).map(|_| ()))
        })
    })
}

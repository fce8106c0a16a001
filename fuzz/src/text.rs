//! What reads text: settings, patterns, numbers. Each against a plain second opinion.

use crate::input::Choices;
use baton_engine::glob::{glob_match, literal_prefix};
use baton_engine::number::{self, LongDouble};
use baton_server::config::{self, text};

/// Lines of configuration, and the bytes as a value to be quoted.
pub fn config_text(data: &[u8]) {
    assert_eq!(text::split_args(&text::quote(data)), Ok(vec![data.to_vec()]));
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(args) = text::split_args(text::trim(line)) else { continue };
        let again: Vec<u8> = args.iter().flat_map(|arg| [text::quote(arg), b" ".to_vec()].concat()).collect();
        assert_eq!(text::split_args(&again).as_ref(), Ok(&args));
        for arg in &args {
            if let Some(bytes) = text::memory(arg) {
                assert_eq!(text::memory(text::memory_text(bytes).as_bytes()), Some(bytes));
            }
            assert_eq!(text::integer(arg).is_some(), number::parse_i64(arg).is_some(), "{arg:?}");
            text::lenient_integer(arg, 8);
        }
    }
    let harmless: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').filter(|line| !touches_files(line)).collect();
    let sources = config::Sources {
        file: None,
        stdin: Some(harmless.join(&b'\n')),
        options: Vec::new(),
        sentinel: false,
    };
    if let Err(error) = config::load(&sources) {
        // The message is shown to whoever starts the server.
        assert!(!error.to_string().is_empty());
    }
}

/// Lines that change the working directory, read a file or create one: not while fuzzing.
fn touches_files(line: &[u8]) -> bool {
    let Ok(args) = text::split_args(text::trim(line)) else { return false };
    let first = args.first().map(|first| first.to_ascii_lowercase()).unwrap_or_default();
    [&b"dir"[..], b"include", b"logfile"].contains(&first.as_slice())
}

/// A pattern and a text, parted by a zero byte.
pub fn glob(data: &[u8]) {
    const LEN_MAX: usize = 64;
    let mut halves = data.splitn(2, |byte| *byte == 0);
    let mut half = || halves.next().map_or(&[][..], |half| &half[..half.len().min(LEN_MAX)]);
    let (pattern, name) = (half(), half());
    let matched = glob_match(pattern, name, false);
    assert_eq!(
        matched,
        plain_glob(pattern, name),
        "{:?} on {:?}",
        pattern.escape_ascii(),
        name.escape_ascii()
    );
    if matched {
        assert!(name.starts_with(literal_prefix(pattern)));
    }
    glob_match(pattern, name, true);
    text::glob_match(pattern, name);
}

/// Every element of the pattern against every suffix of the text, from the last to the first.
fn plain_glob(pattern: &[u8], name: &[u8]) -> bool {
    if name.is_empty() {
        return pattern.is_empty();
    }
    let elements = elements(pattern);
    // Whether what follows the current element matches the suffix that starts there.
    let mut after: Vec<bool> = (0..=name.len()).map(|at| at == name.len()).collect();
    for element in elements.iter().rev() {
        let mut here = vec![false; name.len() + 1];
        for at in (0..=name.len()).rev() {
            here[at] = match element {
                Element::Star => after[at] || at < name.len() && here[at + 1],
                Element::Any => at < name.len() && after[at + 1],
                Element::OneOf(bytes) => at < name.len() && bytes[usize::from(name[at])] && after[at + 1],
            };
        }
        after = here;
    }
    after[0]
}

enum Element {
    Star,
    Any,
    /// For every byte: whether it is one of them.
    OneOf(Box<[bool; 256]>),
}

fn elements(pattern: &[u8]) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut rest = pattern;
    loop {
        rest = match rest {
            [] => return elements,
            [b'*', rest @ ..] => {
                elements.push(Element::Star);
                rest
            }
            [b'?', rest @ ..] => {
                elements.push(Element::Any);
                rest
            }
            [b'[', rest @ ..] => {
                let (class, rest) = class(rest);
                elements.push(Element::OneOf(class));
                rest
            }
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                let mut bytes = Box::new([false; 256]);
                bytes[usize::from(*byte)] = true;
                elements.push(Element::OneOf(bytes));
                rest
            }
        };
    }
}

fn class(rest: &[u8]) -> (Box<[bool; 256]>, &[u8]) {
    let mut bytes = Box::new([false; 256]);
    let (negated, mut rest) = match rest {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, rest),
    };
    loop {
        rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', byte, after @ ..] => {
                bytes[usize::from(*byte)] = true;
                after
            }
            [from, b'-', to, after @ ..] => {
                let (from, to) = (*from as i8, *to as i8);
                for byte in from.min(to)..=from.max(to) {
                    bytes[usize::from(byte as u8)] = true;
                }
                after
            }
            [byte, after @ ..] => {
                bytes[usize::from(*byte)] = true;
                after
            }
        };
    }
    if negated {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    (bytes, rest)
}

/// The bytes as the text of numbers, and as numbers to be written.
pub fn numbers(data: &[u8]) {
    if let Some(value) = number::parse_i64(data) {
        assert_eq!(number::format_i64(value).as_bytes(), data);
    }
    let plain = std::str::from_utf8(data).ok();
    let integer =
        plain.and_then(|text| text.parse::<i64>().ok()).filter(|value| value.to_string().as_bytes() == data);
    assert_eq!(number::parse_i64(data), integer);
    if let Some(value) = number::parse_f64(data) {
        assert!(!value.is_nan());
        check_f64(value);
    }
    if let Some(value) = LongDouble::parse(data) {
        let text = (value + LongDouble::from(1)).format_human();
        if value.is_finite() {
            assert!(LongDouble::parse(&text).is_some(), "{:?}", text.escape_ascii());
        }
    }
    let mut choices = Choices::new(data);
    let value = choices.integer();
    assert_eq!(number::parse_i64(number::format_i64(value).as_bytes()), Some(value));
    assert_eq!(number::i64_text_len(value), value.to_string().len());
    check_f64(f64::from_bits(value as u64));
    number::format_fixed(f64::from_bits(value as u64), u32::from(choices.byte()) % 18);
}

/// Every notation reads back as the same number.
fn check_f64(value: f64) {
    if value.is_nan() {
        return;
    }
    for text in [number::format_f64(value), number::format_f64_17g(value)] {
        assert_eq!(number::parse_f64(text.as_bytes()), Some(value), "{}", text.as_str());
    }
}

/// Rules of users: any words, one per line, are refused or become rules; and what is shown of those makes the same
/// rules again, though it is split at blanks.
pub fn acl_rules(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let Ok(shown) = baton_server::normalise_rules(&words) else { return };
    let words: Vec<&[u8]> = shown.split(|byte| *byte == b' ').collect();
    assert_eq!(baton_server::normalise_rules(&words).as_deref(), Ok(&*shown), "{}", shown.escape_ascii());
}

//! Lines of words with quotes: settings, the manifest of the log.

/// A quote that never closes, or that closes in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// Splits a line into arguments.
///
/// | quoting | inside it                                                           |
/// |---------|---------------------------------------------------------------------|
/// | `"..."` | `\n \r \t \b \a`, `\xHH`, and `\` before any other byte is that byte |
/// | `'...'` | only `\'` is special                                                |
///
/// A closing quote must end its word.
pub fn split_args(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut args = Vec::new();
    let mut rest = skip_blanks(line);
    while !rest.is_empty() {
        let (word, after) = next_word(rest)?;
        args.push(word);
        rest = skip_blanks(after);
    }
    Ok(args)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|&&b| is_blank(b)).count();
    line.get(blanks..).unwrap_or_default()
}

/// Removes blanks at both ends, as is done to every line before it is read.
pub fn trim(line: &[u8]) -> &[u8] {
    let mut line = line;
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = line {
        line = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = line {
        line = rest;
    }
    line
}

fn next_word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] => return Ok((word, rest)),
            [b' ' | b'\t' | b'\n' | b'\r', after @ ..] => return Ok((word, after)),
            [b'"', after @ ..] => {
                let rest = double_quoted(after, &mut word)?;
                return Ok((word, rest));
            }
            [b'\'', after @ ..] => {
                let rest = single_quoted(after, &mut word)?;
                return Ok((word, rest));
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return closed(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return closed(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

fn closed(after: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match after.first() {
        Some(&byte) if !is_blank(byte) => Err(UnbalancedQuotes),
        _ => Ok(after),
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// The value in double quotes, so that [`split_args`] reads exactly these bytes back.
pub fn quote(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 2);
    out.push(b'"');
    for &byte in value {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&[&str]>) {
        let found = split_args(line.as_bytes()).ok();
        let expected = expected.map(|args| args.iter().map(|a| a.as_bytes().to_vec()).collect());
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        check("", Some(&[]));
        check("  bind  a\tb ", Some(&["bind", "a", "b"]));
        check(r#"set "a b" 'c d'"#, Some(&["set", "a b", "c d"]));
        check(r#"a "\x41\n\q" "#, Some(&["a", "A\nq"]));
        check(r"a 'it\'s \n'", Some(&["a", r"it's \n"]));
        check(r#"a "" ''"#, Some(&["a", "", ""]));
        check(r#"pre"fix""#, Some(&["prefix"]));
        check(r#"a "open"#, None);
        check(r#"a "b"c"#, None);
        check("a 'open", None);
        check("a 'b'c", None);
    }

    proptest! {
        /// Any bytes survive quoting.
        #[test]
        fn quoting_reads_back(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(split_args(&quote(&value)), Ok(vec![value]));
        }
    }
}

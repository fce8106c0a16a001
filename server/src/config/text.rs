//! The lexical side of settings: splitting a line into arguments, quoting a value back, numbers with
//! units, and the glob patterns of `CONFIG GET`.

/// A quote that never closes, or that closes in the middle of a word.
#[derive(Debug, PartialEq, Eq)]
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

/// A decimal integer exactly as it would be printed: no sign `+`, no blanks, no leading zeros.
pub fn integer(arg: &[u8]) -> Option<i64> {
    let value: i64 = std::str::from_utf8(arg).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(value).as_bytes() == arg).then_some(value)
}

/// An integer as C's `strtoll` reads it to the end of the argument; an empty argument is 0.
pub fn lenient_integer(arg: &[u8], radix: u32) -> Option<i64> {
    if arg.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(std::str::from_utf8(arg).ok()?.trim_start(), radix).ok()
}

/// A number of bytes with an optional unit: `k m g` are powers of 1000, `kb mb gb` powers of 1024.
pub fn memory(arg: &[u8]) -> Option<u64> {
    let digits = arg.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, unit) = arg.split_at_checked(digits)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if number.is_empty() {
        return Some(0);
    }
    std::str::from_utf8(number).ok()?.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest exact notation of a number of bytes that [`memory`] reads back.
pub fn memory_text(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}gb", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}mb", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}kb", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// Whether `name` matches the glob `pattern` (`* ? [a-z] [^a] \\x`), ignoring ASCII case.
///
/// A star that fails goes back to itself only, so the cost is at most `pattern * name`.
pub fn glob_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = pattern {
            retry = Some((after, name));
            pattern = after;
            continue;
        }
        if let [first, others @ ..] = name {
            if let Some(after) = match_one(pattern, first.to_ascii_lowercase()) {
                (pattern, name) = (after, others);
                continue;
            }
        } else if pattern.is_empty() {
            return true;
        }
        match retry {
            Some((after_star, [_, shorter @ ..])) => {
                retry = Some((after_star, shorter));
                (pattern, name) = (after_star, shorter);
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the head of `pattern` (no star); the rest of the pattern if it fits.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', set @ ..] => match_set(set, byte),
        [b'\\', literal, after @ ..] | [literal, after @ ..] => {
            (literal.to_ascii_lowercase() == byte).then_some(after)
        }
    }
}

fn match_set(set: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut set) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let after = loop {
        set = match set {
            [] => break set,
            [b']', after @ ..] => break after,
            [b'\\', literal, rest @ ..] => {
                found |= literal.to_ascii_lowercase() == byte;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= literal.to_ascii_lowercase() == byte;
                rest
            }
        };
    };
    (found != negated).then_some(after)
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

    #[test]
    fn sizes_know_both_kinds_of_unit() {
        for (text, bytes) in [("0", 0), ("1k", 1000), ("1KB", 1024), ("2m", 2_000_000), ("2mb", 2 << 20)] {
            assert_eq!(memory(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["-1", "1x", "1 kb", "k1", "1.5mb", "99999999999999999999", "99999999999gb"] {
            assert_eq!(memory(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn globs() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("max*", "maxmemory", true),
            ("MAX*", "maxmemory", true),
            ("*memory*y", "maxmemory-policy", true),
            ("ma?memory", "maxmemory", true),
            ("h[y-z]", "hz", true),
            ("h[^z]", "hz", false),
            ("h[", "hz", false),
            (r"h\z", "hz", true),
            ("", "a", false),
            ("a*b*c", "a-b-d", false),
        ] {
            assert_eq!(glob_match(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }

    proptest! {
        /// Any bytes survive quoting.
        #[test]
        fn quoting_reads_back(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(split_args(&quote(&value)), Ok(vec![value]));
        }

        /// A size is written in a notation that means the same.
        #[test]
        fn sizes_read_back(bytes: u64, shift in 0..40u32) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(memory(memory_text(bytes).as_bytes()), Some(bytes));
        }

        /// No pattern makes the matcher panic.
        #[test]
        fn patterns_never_panic(pattern: Vec<u8>, name: Vec<u8>) {
            glob_match(&pattern, &name);
        }
    }
}

//! The lexical side of settings: splitting a line into arguments, quoting a value back, numbers with
//! units, and the glob patterns of `CONFIG GET`.

pub use baton_engine::words::{UnbalancedQuotes, quote, split_args, trim};

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

//! Glob patterns, as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and the key patterns of ACLs use them.
//!
//! | in the pattern | matches                                                          |
//! |----------------|------------------------------------------------------------------|
//! | `*`            | any bytes, even none                                             |
//! | `?`            | one byte                                                         |
//! | `[abc]`        | one of these bytes                                               |
//! | `[a-z]`        | one byte of the range, in either order                           |
//! | `[^...]`       | one byte that the class does not hold                            |
//! | `\x`           | the byte `x`, also within a class                                |
//!
//! Oddities that clients can see, and which are kept as they are in Redis:
//! - Only the empty pattern matches the empty text: `*` does not.
//! - A class that is not closed ends with the pattern.
//! - Bytes are signed in ranges: `[\x7f-\x80]` holds every byte.
//! - Ranges ignore case by lowering their two ends, and escaped bytes in a class never ignore it.
//! - More than 1,000 separate `*` match nothing.

/// How many `*` a pattern may hold before the byte that decides.
const STARS_MAX: usize = 1000;

/// Whether all of `text` matches `pattern`; `nocase` ignores the case of ASCII letters.
///
/// Takes at most the product of both lengths: only the last `*` passed is ever tried again, as what came
/// before it has matched as early as it could.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if nocase { matches::<true>(pattern, text) } else { matches::<false>(pattern, text) }
}

/// Whether `pattern` may match anything but itself.
pub fn has_wildcards(pattern: &[u8]) -> bool {
    literal_prefix(pattern).len() < pattern.len()
}

/// The bytes with which every match of `pattern` starts, unless case is ignored: all up to the first special.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|c| matches!(c, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..end.unwrap_or(pattern.len())]
}

fn matches<const NOCASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    // Where to go on after a mismatch: what follows the last star, and the next place to try it.
    let mut retry: Option<(&[u8], usize)> = None;
    let mut stars = 0;
    while let Some(&c) = text.get(at) {
        if rest.first() == Some(&b'*') {
            rest = skip_stars(rest);
            if rest.is_empty() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((rest, at + 1));
            continue;
        }
        if let Some(after) = match_byte::<NOCASE>(rest, c) {
            (rest, at) = (after, at + 1);
            continue;
        }
        let Some((segment, start)) = retry else { return false };
        (rest, at) = (segment, start);
        retry = Some((segment, start + 1));
    }
    // The text has ended. A later place for the last star would only leave less of it.
    if text.is_empty() { pattern.is_empty() } else { skip_stars(rest).is_empty() }
}

fn skip_stars(pattern: &[u8]) -> &[u8] {
    let stars = pattern.iter().take_while(|&&c| c == b'*').count();
    &pattern[stars..]
}

/// Matches one byte with the first element of `pattern`, which is no star, and returns what follows it.
#[inline]
fn match_byte<const NOCASE: bool>(pattern: &[u8], c: u8) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    let (literal, rest) = match first {
        b'?' => return Some(rest),
        b'[' => return match_class::<NOCASE>(rest, c),
        b'\\' => rest.split_first().map_or((first, rest), |(&escaped, rest)| (escaped, rest)),
        _ => (first, rest),
    };
    same::<NOCASE>(literal, c).then_some(rest)
}

/// Matches one byte with a class, given from behind its bracket, and returns what follows the class.
fn match_class<const NOCASE: bool>(mut class: &[u8], c: u8) -> Option<&[u8]> {
    let negated = class.first() == Some(&b'^');
    if negated {
        class = &class[1..];
    }
    let mut found = false;
    loop {
        match class {
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == c;
                class = rest;
            }
            [b']', rest @ ..] => {
                class = rest;
                break;
            }
            [] => break,
            [start, b'-', end, rest @ ..] => {
                found |= in_range::<NOCASE>(*start as i8, *end as i8, c as i8);
                class = rest;
            }
            [literal, rest @ ..] => {
                found |= same::<NOCASE>(*literal, c);
                class = rest;
            }
        }
    }
    (found != negated).then_some(class)
}

#[inline]
fn same<const NOCASE: bool>(a: u8, b: u8) -> bool {
    if NOCASE { a.eq_ignore_ascii_case(&b) } else { a == b }
}

fn in_range<const NOCASE: bool>(start: i8, end: i8, c: i8) -> bool {
    let (start, end) = (start.min(end), start.max(end));
    if NOCASE { (lower(start)..=lower(end)).contains(&lower(c)) } else { (start..=end).contains(&c) }
}

fn lower(c: i8) -> i8 {
    (c as u8).to_ascii_lowercase() as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(
            glob_match(pattern.as_bytes(), text.as_bytes(), false),
            expected,
            "{pattern:?} on {text:?}"
        );
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("h?llo", "hello", true),
            ("h*llo", "hllo", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("a\\", "a\\", true),
            ("[a\\]]", "]", true),
            ("[a", "a", true),
            ("[^", "x", true),
            ("[", "[", false),
            ("[a-", "-", true),
            ("[a-]", "b", false),
            ("[a-]", "^", true),
            ("[]a]", "a]", false),
            ("", "", true),
            ("*", "", false),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*a*b*", "xxaxxb", true),
            ("*?", "a", true),
            ("?*?", "a", false),
            ("a", "", false),
            ("", "a", false),
        ] {
            check(pattern, text, expected);
        }
    }

    #[test]
    fn ignoring_case_has_its_oddities() {
        let nocase = |pattern: &str, text: &str| glob_match(pattern.as_bytes(), text.as_bytes(), true);
        assert!(nocase("HeL*", "hello"));
        assert!(nocase("[A-C]x", "bX"));
        assert!(nocase("[abc]", "B"));
        assert!(!nocase("[\\a]", "A"));
        assert!(nocase("\\a", "A"));
    }

    #[test]
    fn bytes_of_a_range_are_signed() {
        assert!(glob_match(b"[\x7f-\x80]", b"a", false));
        assert!(!glob_match(b"[a-\xff]", b"\x80", false));
        assert!(glob_match(b"[a-\xff]", b"\x05", false));
    }

    /// Naive backtracking takes longer than the universe on this.
    #[test]
    fn abusive_patterns_end() {
        let text = vec![b'a'; 10_000];
        let pattern = [b"*a".repeat(500), b"b".to_vec()].concat();
        assert!(!glob_match(&pattern, &text, false));
        assert!(glob_match(&b"*a".repeat(1000), &text, false));
        assert!(!glob_match(&b"*a".repeat(1001), &text, false));
    }

    #[test]
    fn prefixes_end_at_the_first_special() {
        for (pattern, prefix) in
            [("user:*", "user:"), ("a?b", "a"), ("[a]", ""), ("a\\*", "a"), ("plain", "plain")]
        {
            assert_eq!(literal_prefix(pattern.as_bytes()), prefix.as_bytes());
            assert_eq!(has_wildcards(pattern.as_bytes()), pattern != prefix);
        }
    }

    /// A star is tried at every place, whatever that takes.
    fn backtrack(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text) {
            (None, _) => text.is_empty(),
            (Some(b'*'), _) => {
                backtrack(&pattern[1..], text) || !text.is_empty() && backtrack(pattern, &text[1..])
            }
            (Some(_), []) => false,
            (Some(_), [c, rest @ ..]) => {
                match_byte::<false>(pattern, *c).is_some_and(|pattern| backtrack(pattern, rest))
            }
        }
    }

    proptest! {
        #[test]
        fn equals_plain_backtracking(pattern in r"[ab*?\[\]\\^-]{0,12}", text in "[ab\\]]{1,12}") {
            let expected = backtrack(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes(), false), expected);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(pattern: Vec<u8>, text: Vec<u8>, nocase: bool) {
            glob_match(&pattern, &text, nocase);
        }

        #[test]
        fn a_match_starts_with_the_prefix(pattern in "[ab]{0,2}[ab*?]{0,4}", text in "[ab]{0,5}") {
            if glob_match(pattern.as_bytes(), text.as_bytes(), false) {
                prop_assert!(text.as_bytes().starts_with(literal_prefix(pattern.as_bytes())));
            }
        }
    }
}

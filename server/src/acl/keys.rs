//! Patterns of keys, and what may be done with the keys that match.
//!
//! | rule    | may be        |
//! |---------|---------------|
//! | `~p`    | read, written |
//! | `%RW~p` | read, written |
//! | `%R~p`  | read          |
//! | `%W~p`  | written       |

use super::error::RuleError;
use baton_engine::command::KeyFlag;
use baton_engine::glob::glob_match;

/// What is done with a key: bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    pub const READ: Self = Self(1);
    const WRITE: Self = Self(2);
    const BOTH: Self = Self(3);

    /// What a command does with a key, by the flags of its row. Nothing, if it neither sees nor changes what the key
    /// holds: EXISTS and the like.
    pub fn of(flags: &[KeyFlag]) -> Self {
        let bits = flags.iter().fold(0, |bits, flag| {
            bits | match flag {
                KeyFlag::Access => Self::READ.0,
                KeyFlag::Insert | KeyFlag::Delete | KeyFlag::Update => Self::WRITE.0,
                _ => 0,
            }
        });
        Self(bits)
    }

    fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Keys that may be used in some way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    pub pattern: Box<[u8]>,
    access: Access,
}

impl KeyPattern {
    /// Reads a rule that begins with `~` or `%`.
    pub fn parse(rule: &[u8]) -> Result<Self, RuleError> {
        let (access, pattern) = match rule {
            [b'~', pattern @ ..] => (Access::BOTH, pattern),
            [b'%', rest @ ..] => Self::parse_access(rest)?,
            _ => return Err(RuleError::Syntax),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        Ok(Self { pattern: pattern.into(), access })
    }

    /// Letters, each at most once, and after `~` the pattern.
    fn parse_access(rest: &[u8]) -> Result<(Access, &[u8]), RuleError> {
        let (mut access, mut rest) = (Access(0), rest);
        loop {
            let letter = match rest {
                [b'R' | b'r', ..] => Access::READ,
                [b'W' | b'w', ..] => Access::WRITE,
                [b'~', pattern @ ..] if access != Access(0) => return Ok((access, pattern)),
                // C programs see the end where a pattern is missing, and take it for an empty one.
                [] if access != Access(0) => return Ok((access, rest)),
                _ => return Err(RuleError::Syntax),
            };
            if access.covers(letter) {
                return Err(RuleError::Syntax);
            }
            access = Access(access.0 | letter.0);
            rest = &rest[1..];
        }
    }

    /// Allows what another rule for the same pattern allows too.
    pub fn widen(&mut self, other: &Self) {
        self.access = Access(self.access.0 | other.access.0);
    }

    /// Whether this may be done with this key.
    pub fn allows(&self, key: &[u8], access: Access) -> bool {
        self.access.covers(access) && glob_match(&self.pattern, key, false)
    }

    /// Whether this may be done with any key.
    pub fn allows_all(&self, access: Access) -> bool {
        self.access.covers(access) && *self.pattern == *b"*"
    }

    /// Writes the rule.
    pub fn show(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.access {
            Access::READ => b"%R~",
            Access::WRITE => b"%W~",
            // The word `~*` would take the other patterns with it when it is given again.
            _ if *self.pattern == *b"*" => b"%RW~",
            _ => b"~",
        });
        out.extend_from_slice(&self.pattern);
    }
}

/// Whether a pattern or a name cannot be part of a line of rules.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, 0 | b'\t'..=b'\r' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, wanted: &str) {
        let shown = match KeyPattern::parse(rule.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(pattern) => {
                let mut out = Vec::new();
                pattern.show(&mut out);
                String::from_utf8(out).unwrap()
            }
        };
        assert_eq!(shown, wanted, "{rule}");
    }

    #[test]
    fn rules_and_how_they_are_shown() {
        check("~a*", "~a*");
        check("~", "~");
        check("%R~a", "%R~a");
        check("%w~a", "%W~a");
        check("%RW~a", "~a");
        check("%wr~*", "%RW~*");
        check("%R~%W~a", "%R~%W~a");
        for wrong in ["%~a", "%RR~a", "%RWR~a", "%X~a", "%", "~a b", "~a\0b", "%R~a\nb"] {
            check(wrong, "Syntax error");
        }
    }

    #[test]
    fn access_is_covered_in_full() {
        let read = KeyPattern::parse(b"%R~a*").unwrap();
        assert!(read.allows(b"ab", Access::of(&[KeyFlag::Ro, KeyFlag::Access])));
        assert!(!read.allows(b"ab", Access::of(&[KeyFlag::Rw, KeyFlag::Access, KeyFlag::Delete])));
        assert!(!read.allows(b"b", Access::READ));
        // Whether a key is there may be known whatever may be done with it.
        assert!(read.allows(b"ab", Access::of(&[KeyFlag::Ro])));
        let mut both = read.clone();
        both.widen(&KeyPattern::parse(b"%W~a*").unwrap());
        assert!(both.allows(b"ab", Access::BOTH));
        assert!(!both.allows_all(Access::READ));
    }
}

//! Passwords, of which only digests are kept.

use super::error::RuleError;
use sha2::{Digest, Sha256};

/// The SHA-256 of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Password([u8; 32]);

impl Password {
    /// The digest of a password as a client gives it.
    pub fn of(clear: &[u8]) -> Self {
        Self(Sha256::digest(clear).into())
    }

    /// A digest as rules write it: 64 hexadecimal digits in lower case.
    pub fn parse(digits: &[u8]) -> Result<Self, RuleError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(RuleError::BadHash),
        };
        if digits.len() != 64 {
            return Err(RuleError::BadHash);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(digest))
    }

    /// Whether both are the same, in a time that does not tell how much of them is.
    pub fn is(&self, other: &Self) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differences) == 0
    }

    /// The digits.
    pub fn show(&self) -> String {
        use std::fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_redis() {
        let digits = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!(Password::of(b"x").show(), digits);
        assert!(Password::parse(digits.as_bytes()).is_ok_and(|parsed| parsed.is(&Password::of(b"x"))));
        assert!(!Password::of(b"x").is(&Password::of(b"y")));
        for wrong in
            ["", "2d", &digits[1..], &digits.to_uppercase(), &format!("{digits}0"), &digits.replace('d', "g")]
        {
            assert_eq!(Password::parse(wrong.as_bytes()), Err(RuleError::BadHash), "{wrong}");
        }
    }
}

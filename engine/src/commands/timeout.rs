//! The timeout of blocking commands.

use crate::error::CommandError;
use crate::number::LongDouble;

/// Reads a timeout in seconds, a fraction allowed: the time to give up in Unix milliseconds, or `None` for 0,
/// which waits for ever.
pub(super) fn deadline(text: &[u8], now_ms: i64) -> Result<Option<i64>, CommandError> {
    const NOT_FLOAT: CommandError = CommandError::text("ERR timeout is not a float or out of range");
    const NEGATIVE: CommandError = CommandError::text("ERR timeout is negative");
    const OUT_OF_RANGE: CommandError = CommandError::text("ERR timeout is out of range");

    match LongDouble::parse(text).ok_or(NOT_FLOAT)?.thousandths_rounded_up() {
        0 => Ok(None),
        ..0 => Err(NEGATIVE),
        ms => now_ms.checked_add(ms).map(Some).ok_or(OUT_OF_RANGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<i64>, &str>) {
        let found = deadline(text.as_bytes(), 1_000).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn seconds_become_a_time() {
        check("0", Ok(None));
        check("0.0", Ok(None));
        check("1", Ok(Some(2_000)));
        check("0.0001", Ok(Some(1_001)));
        check("1.0015", Ok(Some(2_002)));
        check("-0.0001", Ok(None));
        check("-1", Err("ERR timeout is negative"));
        check("-inf", Err("ERR timeout is negative"));
        check("-1e30", Err("ERR timeout is negative"));
        check("inf", Err("ERR timeout is out of range"));
        check("9223372036854775.807", Err("ERR timeout is out of range"));
        check("1e4000", Err("ERR timeout is out of range"));
        check("abc", Err("ERR timeout is not a float or out of range"));
        check("nan", Err("ERR timeout is not a float or out of range"));
        check("", Err("ERR timeout is not a float or out of range"));
    }
}

//! The lines of users: those of the file that `aclfile` names, and those of the configuration.
//!
//! A line reads `user <name> <rule> ...`. The file of users is split at blanks, without quotes and without comments,
//! since ACL SAVE writes all of it anew; the configuration has read its lines already.

use super::error::RuleError;
use super::keys::has_spaces;
use super::rules::{Modifier, apply_all};
use super::user::{Ground, Rules};
use crate::config::{Directive, FatalConfigError};
use baton_engine::words::trim;
use std::collections::BTreeMap;

/// Users by their names.
pub type Definitions = BTreeMap<Box<[u8]>, Rules>;

const NOTHING_CHANGED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// Reads the file of users, called `name` in errors.
///
/// # Errors
/// Says all that is wrong with it.
pub fn parse(name: &str, text: &[u8], ground: Ground<'_>) -> Result<Definitions, String> {
    let (mut users, mut errors) = (Definitions::new(), String::new());
    for (line, n) in text.split(|byte| *byte == b'\n').zip(1..) {
        let line = trim(line);
        if line.is_empty() {
            continue;
        }
        if let Err(error) = parse_line(line, n, &format!("{name}:{n}"), ground, &mut users) {
            errors.push_str(&error);
        }
    }
    if errors.is_empty() { Ok(users) } else { Err(errors + NOTHING_CHANGED) }
}

fn parse_line(
    line: &[u8],
    n: usize,
    place: &str,
    ground: Ground<'_>,
    users: &mut Definitions,
) -> Result<(), String> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [b"user", name, words @ ..] = &words[..] else {
        return Err(format!("{place} should start with user keyword followed by the username. "));
    };
    let shown = String::from_utf8_lossy(name);
    if has_spaces(name) {
        return Err(format!("'{place}: username '{shown}' contains invalid characters. "));
    }
    if users.contains_key(*name) {
        return Err(format!("WARNING: Duplicate user '{shown}' found on line {n}. "));
    }
    let words: Vec<&[u8]> = words.iter().map(|word| trim(word)).collect();
    let rules = apply_all(Rules::new(ground), ground, &words).map_err(|wrong| match wrong {
        Modifier::Unmatched(_) => format!("{place}: Unmatched parenthesis in selector definition. "),
        // What is not known is no secret.
        Modifier::Refused(rule, RuleError::Unknown) => {
            let rule = String::from_utf8_lossy(&rule).into_owned();
            format!("{place}: Error in applying operation '{rule}': {}. ", RuleError::Unknown)
        }
        Modifier::Refused(_, error) => format!("{place}: {error}. "),
    })?;
    users.insert((*name).into(), rules);
    Ok(())
}

/// The users that lines of the configuration define.
///
/// # Errors
/// Names the line that is wrong.
pub fn from_directives(lines: Vec<Directive>, ground: Ground<'_>) -> Result<Definitions, FatalConfigError> {
    let mut users = Definitions::new();
    for Directive { args, origin } in lines {
        let words: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let Some((name, words)) = words.split_first() else { continue };
        let wrong = |word: &[u8], why: &dyn std::fmt::Display| {
            format!("Error in user declaration '{}': {why}", String::from_utf8_lossy(word))
        };
        if has_spaces(name) {
            return Err(origin.error("Spaces not allowed in ACL usernames"));
        }
        if users.contains_key(*name) {
            return Err(origin.error(wrong(name, &RuleError::Duplicate)));
        }
        match apply_all(Rules::new(ground), ground, words) {
            Ok(rules) => users.insert((*name).into(), rules),
            Err(Modifier::Unmatched(rule)) => {
                return Err(origin.error(wrong(&rule, &"Unmatched parenthesis")));
            }
            Err(Modifier::Refused(rule, error)) => return Err(origin.error(wrong(&rule, &error))),
        };
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file; what comes of it, line by line.
    #[track_caller]
    fn check(text: &str, wanted: Result<&[&str], &str>) {
        let registry = crate::commands::registry();
        let ground = Ground { registry: &registry, all_channels: false };
        let shown = parse("f", text.as_bytes(), ground).map(|users| {
            let line = |(name, rules): (Box<[u8]>, Rules)| [&name, &b" "[..], &rules.show()].concat();
            users.into_iter().map(|user| String::from_utf8(line(user)).unwrap()).collect::<Vec<_>>()
        });
        let shown = shown.map_err(|error| error.replace(NOTHING_CHANGED, "!"));
        let wanted = wanted.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(shown, wanted.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn lines_are_users() {
        check("", Ok(&[]));
        check(
            "user b on  nopass\n\n  user a ~x +get (~y +set)\t\r\n",
            Ok(&[
                "a off sanitize-payload ~x resetchannels -@all +get (~y resetchannels -@all +set)",
                "b on nopass sanitize-payload resetchannels -@all",
            ]),
        );
    }

    #[test]
    fn all_errors_are_told() {
        check("bob on", Err("f:1 should start with user keyword followed by the username. !"));
        check("# no comments", Err("f:1 should start with user keyword followed by the username. !"));
        check("user a on\nuser a off", Err("WARNING: Duplicate user 'a' found on line 2. !"));
        check("user a (+get", Err("f:1: Unmatched parenthesis in selector definition. !"));
        check(
            "user a +nope\nuser b sfaed\nuser c on",
            Err("f:1: Error in applying operation '+nope': Unknown command or category name in ACL. \
                 f:2: Syntax error. !"),
        );
    }
}

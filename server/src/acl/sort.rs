//! SORT looks into keys that its arguments do not name: those of its BY and GET patterns.

use baton::registry::Registered;

/// The refusal for who may not read every key, if the command would read any.
pub fn needs_all_keys(command: &Registered, args: &[&[u8]]) -> Option<&'static str> {
    if !matches!(command.name.as_str(), "sort" | "sort_ro") {
        return None;
    }
    let is = |arg: &[u8], word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
    let mut at = 2;
    while let Some(arg) = args.get(at) {
        let value = args.get(at + 1);
        at += match value {
            // A pattern without a star stands for no key: the elements stay as they are.
            Some(pattern) if is(arg, "BY") && pattern.contains(&b'*') => {
                return Some("ERR BY option of SORT denied due to insufficient ACL permissions.");
            }
            Some(_) if is(arg, "GET") => {
                return Some("ERR GET option of SORT denied due to insufficient ACL permissions.");
            }
            Some(_) if is(arg, "BY") || is(arg, "STORE") => 2,
            Some(_) if is(arg, "LIMIT") => 3,
            _ => 1,
        };
    }
    None
}

//! Several rules at once: what ACL SETUSER and the lines of files give.

use super::error::RuleError;
use super::user::{Ground, Rules};
use std::borrow::Cow;

/// Which rule of several was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modifier {
    /// This begins a selector that does not end.
    Unmatched(Vec<u8>),
    /// This was refused.
    Refused(Vec<u8>, RuleError),
}

/// The rules with these applied to them in order: with all of them, or there are none.
pub fn apply_all(mut rules: Rules, ground: Ground<'_>, words: &[&[u8]]) -> Result<Rules, Modifier> {
    for rule in join_selectors(words)? {
        rules.apply(ground, &rule).map_err(|error| Modifier::Refused(rule.into_owned(), error))?;
    }
    Ok(rules)
}

/// A selector may come in several words: from the one that begins with `(` to the one that ends with `)`.
fn join_selectors<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, Modifier> {
    let mut joined = Vec::with_capacity(words.len());
    let mut open: Option<(Vec<u8>, &[u8])> = None;
    for word in words {
        open = match open {
            None if word.starts_with(b"(") && !word.ends_with(b")") => Some((word.to_vec(), word)),
            None => {
                joined.push(Cow::Borrowed(*word));
                None
            }
            Some((mut selector, start)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if word.ends_with(b")") {
                    joined.push(Cow::Owned(selector));
                    None
                } else {
                    Some((selector, start))
                }
            }
        };
    }
    match open {
        None => Ok(joined),
        Some((_, start)) => Err(Modifier::Unmatched(start.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::registry;
    use proptest::prelude::*;

    /// Words are given with `;` between them.
    fn apply(text: &str) -> Result<String, String> {
        let words: Vec<&[u8]> = text.split(';').map(str::as_bytes).collect();
        crate::acl::normalise(&words).map(|shown| String::from_utf8(shown).unwrap())
    }

    #[track_caller]
    fn check(words: &str, shown: &str) {
        assert_eq!(apply(words), Ok(shown.to_owned()), "{words}");
    }

    #[track_caller]
    fn refused(words: &str, why: &str) {
        assert_eq!(apply(words), Err(why.to_owned()), "{words}");
    }

    const X: &str = "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

    #[test]
    fn rules_of_users() {
        check("", "off sanitize-payload resetchannels -@all");
        check("ON;;nopass", "on nopass sanitize-payload resetchannels -@all");
        check("nopass;>x", &format!("off sanitize-payload {X} resetchannels -@all"));
        check(&format!("{X};>x;>y;<y"), &format!("off sanitize-payload {X} resetchannels -@all"));
        check(&format!(">x;!{}", &X[1..]).replace("!2", "!2"), "off sanitize-payload resetchannels -@all");
        check(">x;nopass;resetpass", "off sanitize-payload resetchannels -@all");
        check("skip-sanitize-payload", "off skip-sanitize-payload resetchannels -@all");
        check("on;>x;~a;&b;+get;(+set);reset", "off sanitize-payload resetchannels -@all");
        refused("<x", "<x: The password you are trying to remove from the user does not exist");
        refused("#zz", &format!("#zz: {}", RuleError::BadHash));
        refused("on;of", "of: Syntax error");
        refused("+@nope", "+@nope: Unknown command or category name in ACL");
    }

    #[test]
    fn rules_of_selectors() {
        check("~a;%R~b;~a;%W~b;&c;&c", "off sanitize-payload ~a ~b resetchannels &c -@all");
        check("~a;allkeys;&b;allchannels", "off sanitize-payload ~* &* -@all");
        check("~*;resetkeys;&*;resetchannels", "off sanitize-payload resetchannels -@all");
        check(
            "(~a;+get);(%R~b +set)",
            "off sanitize-payload resetchannels -@all (~a resetchannels -@all +get) \
               (%R~b resetchannels -@all +set)",
        );
        check("()", "off sanitize-payload resetchannels -@all (resetchannels -@all)");
        check("(+@all ~* &*);clearselectors", "off sanitize-payload resetchannels -@all");
        refused("~*;~a", &format!("~a: {}", RuleError::AllKeys));
        refused("&*;&a", &format!("&a: {}", RuleError::AllChannels));
        refused("&a b", "&a b: Syntax error");
        refused("on;(+get;~a", "(+get: Unmatched parenthesis");
        refused("(on)", "(on): Syntax error");
        refused("(nopass)", "(nopass): Syntax error");
        refused("(\"a)", "(\"a): Syntax error");
        refused("(~a) +get)", "(~a) +get): Syntax error");
        refused("+select|a b", "+select|a b: Syntax error");
        check(
            "~a\"b;(\"~a\\\"b\")",
            "off sanitize-payload ~a\"b resetchannels -@all (\"~a\\\"b\" resetchannels -@all)",
        );
        refused("+config|get|x", "+config|get|x: Allowing first-arg of a subcommand is not supported");
    }

    /// Anything that a rule can be, and things near it.
    fn rule() -> impl Strategy<Value = String> {
        let selector_rule = prop_oneof![
            4 => "[+-](get|set|del|config|config\\|get|config\\|set|client\\|id|acl|nope)",
            2 => "[+-]@(all|read|write|string|admin|dangerous|fast|pubsub|connection|keyspace|nope)",
            1 => "\\+(select\\|[0-3]|debug\\|object)",
            2 => "(~|%R~|%W~|%RW~|&)[a-c*?]{0,3}",
            1 => "(all|reset)(keys|channels)|(all|no)commands",
        ];
        let in_selector = proptest::collection::vec(selector_rule.clone(), 0..4);
        prop_oneof![
            8 => selector_rule,
            2 => in_selector.prop_map(|rules| format!("({})", rules.join(" "))),
            2 => "(on|off|nopass|resetpass|reset|clearselectors|(skip-)?sanitize-payload|[<>]p[0-3])",
        ]
    }

    proptest! {
        /// What is shown of a user makes the same user again, and is shown in the same words.
        #[test]
        fn what_is_shown_can_be_given_again(all in proptest::collection::vec(rule(), 0..12)) {
            let registry = registry();
            let ground = Ground { registry: &registry, all_channels: false };
            let mut rules = Rules::new(ground);
            for rule in &all {
                let before = rules.clone();
                if rules.apply(ground, rule.as_bytes()).is_err() {
                    prop_assert_eq!(&rules, &before, "{} was refused and left something", rule);
                }
            }
            let shown = rules.show();
            let words: Vec<&[u8]> = shown.split(|byte| *byte == b' ').collect();
            let again = apply_all(Rules::new(ground), ground, &words);
            prop_assert_eq!(again.as_ref().map(Rules::show), Ok(shown));
            let again = again.unwrap();
            for command in registry.iter() {
                let args: Vec<&[u8]> = vec![b"cmd", b"a", b"b", b"1"];
                prop_assert_eq!(rules.check(command, &args), again.check(command, &args), "{}", command.name);
            }
        }

        /// No bytes make a rule panic.
        #[test]
        fn any_rule_is_applied_or_refused(rule in proptest::collection::vec(any::<u8>(), 0..12), sign in "[~%&+><#!(-]?") {
            let registry = registry();
            let ground = Ground { registry: &registry, all_channels: true };
            let rule = [sign.as_bytes(), &rule].concat();
            let _ = apply_all(Rules::new(ground), ground, &[&rule]);
        }
    }
}

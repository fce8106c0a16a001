//! Walks every row of every family and compares it with what Valkey 9.1 says about the same command.
//!
//! `facts.json` holds those facts, one command per line: group, version, arity, flags, ACL categories, tips and
//! keys, as in the JSON files that Valkey is built from. Only this test reads it.

use super::all;
use crate::command::{Arity, Begin, Command, Find, Flag, KeySpec, Run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Facts = BTreeMap<String, Value>;

fn facts() -> Facts {
    serde_json::from_str(include_str!("facts.json")).expect("facts.json is JSON")
}

/// Every row with its full name: containers, and their subcommands as `CONFIG GET`.
fn rows() -> Vec<(String, &'static Command)> {
    let mut rows = Vec::new();
    for command in all() {
        rows.push((command.name.to_owned(), command));
        rows.extend(command.subcommands.iter().map(|sub| (format!("{} {}", command.name, sub.name), sub)));
    }
    rows
}

/// Fails with all complaints at once: a wrong row shows everything that is wrong with it.
#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} differences:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    let twice = rows().into_iter().map(|(name, _)| name).filter(|name| !seen.insert(name.clone()));
    assert_none(&twice.collect::<Vec<_>>());
}

#[test]
fn rows_agree_with_valkey() {
    let facts = facts();
    let mut complaints = Vec::new();
    for (name, row) in rows() {
        let Some(fact) = facts.get(&name) else {
            if name.split_once(' ').is_some_and(|(container, _)| hides_subcommands(container)) {
                continue;
            }
            complaints.push(format!("{name}: Valkey has no such command"));
            continue;
        };
        let (ours, theirs) = (facets(row), fact_facets(fact));
        for ((facet, ours), (_, theirs)) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs) {
            complaints.push(format!("{name}: {facet} is {ours}, Valkey has {theirs}"));
        }
        // Only this way round: Valkey 9 took back most of what Redis had deprecated.
        let deprecated = row.deprecated.map(|(since, _)| since);
        if let Some(since) = fact["deprecated_since"].as_str().filter(|since| deprecated != Some(since)) {
            complaints.push(format!("{name}: Valkey deprecated it in {since}"));
        }
    }
    assert_none(&complaints);
}

/// Whether a container's subcommands are nobody's business: Valkey has no facts about them.
fn hides_subcommands(container: &str) -> bool {
    all().any(|command| command.name == container && command.hidden_subcommands)
}

#[test]
fn rows_are_complete() {
    let mut complaints = Vec::new();
    for (name, row) in rows() {
        let mut complain = |what: &str| complaints.push(format!("{name}: {what}"));
        if row.name.is_empty() || row.name != row.name.to_ascii_uppercase() {
            complain("the name is not in upper case");
        }
        if row.summary.trim().is_empty() || row.summary.trim() != row.summary {
            complain("no summary");
        }
        if row.complexity.trim().is_empty() || row.complexity.trim() != row.complexity {
            complain("no complexity");
        }
        if row.deprecated.is_some_and(|(_, instead)| instead.is_empty()) {
            complain("deprecated in favour of nothing");
        }
        if !row.subcommands.is_empty() && !matches!(row.run, Run::Elsewhere) {
            complain("a container that runs itself");
        }
        if let Some(first) = row.keys.iter().find_map(|spec| first_key_beyond_arity(row, spec)) {
            complain(&format!("argument {first} may be a key, but {:?} allows fewer", row.arity));
        }
    }
    assert_none(&complaints);
}

/// Where a spec's keys begin or are counted, when the fewest arguments do not reach there. Specs whose keys may
/// be absent altogether are exempt.
fn first_key_beyond_arity(row: &Command, spec: &KeySpec) -> Option<usize> {
    let fewest = match row.arity {
        Arity::Exactly(n) | Arity::AtLeast(n) => n,
    };
    match (spec.begin, spec.find) {
        (Begin::Index(at), Find::KeyNum { .. }) if at >= fewest => Some(at),
        (Begin::Index(at), Find::Range { last, .. })
            if at >= fewest && last >= 0 && !row.has(Flag::NoMandatoryKeys) =>
        {
            Some(at)
        }
        _ => None,
    }
}

/// What is compared of a row, each facet with its name.
fn facets(row: &Command) -> Vec<(&'static str, String)> {
    // Derived from the key specs by the server, not part of the facts.
    let flags = row.flags.iter().filter(|flag| **flag != Flag::MovableKeys).map(|flag| flag.name());
    vec![
        ("arity", row.arity.number().to_string()),
        ("flags", set(flags)),
        ("ACL categories", set(row.categories().iter().map(|category| category.name()))),
        ("keys", list(row.keys.iter().map(key_spec))),
        ("tips", set(row.tips.iter().copied())),
        ("since", row.since.to_owned()),
        ("group", row.group.name().to_owned()),
    ]
}

/// The same of a fact, in the same order and words.
fn fact_facets(fact: &Value) -> Vec<(&'static str, String)> {
    let flags = words(&fact["flags"]);
    // Renamed by Valkey; clients of Redis know the older name.
    let flags = flags.iter().map(|flag| if flag == "skip_commandlog" { "skip_slowlog" } else { flag });
    let text = |key: &str| fact[key].as_str().unwrap_or("-").to_owned();
    vec![
        ("arity", fact["arity"].to_string()),
        ("flags", set(flags)),
        ("ACL categories", set(words(&fact["acl"]).iter().map(String::as_str))),
        ("keys", list(fact["key_specs"].as_array().expect("key specs").iter().map(fact_key_spec))),
        ("tips", set(words(&fact["tips"]).iter().map(String::as_str))),
        ("since", text("since")),
        ("group", text("group")),
    ]
}

fn key_spec(spec: &KeySpec) -> String {
    let begin = match spec.begin {
        Begin::Index(at) => format!("index {at}"),
        Begin::Keyword(word, from) => format!("keyword {word} from {from}"),
        Begin::Unknown => "unknown".to_owned(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => format!("range to {last} by {step} limit {limit}"),
        Find::KeyNum { at, first, step } => format!("number at {at} first {first} by {step}"),
        Find::Unknown => "unknown".to_owned(),
    };
    let flags = set(spec.flags.iter().map(|flag| flag.name().to_ascii_lowercase()));
    format!("{begin}, {find}, {flags}")
}

fn fact_key_spec(spec: &Value) -> String {
    let (begin, find) = (&spec["begin_search"], &spec["find_keys"]);
    let text = |value: &Value| value.as_str().expect("a word").to_owned();
    let begin = match begin {
        begin if begin["index"].is_object() => format!("index {}", begin["index"]["pos"]),
        begin if begin["keyword"].is_object() => {
            format!("keyword {} from {}", text(&begin["keyword"]["keyword"]), begin["keyword"]["startfrom"])
        }
        _ => "unknown".to_owned(),
    };
    let number = |value: &Value, default: i64| value.as_i64().unwrap_or(default);
    let find = match find {
        find if find["range"].is_object() => {
            let range = &find["range"];
            let (step, limit) = (number(&range["step"], 1), number(&range["limit"], 0));
            format!("range to {} by {step} limit {limit}", range["lastkey"])
        }
        find if find["keynum"].is_object() => {
            let keynum = &find["keynum"];
            let (at, first, step) = (&keynum["keynumidx"], &keynum["firstkey"], number(&keynum["step"], 1));
            format!("number at {at} first {first} by {step}")
        }
        _ => "unknown".to_owned(),
    };
    format!("{begin}, {find}, {}", set(words(&spec["flags"])))
}

/// The words of a JSON array, in lower case.
fn words(array: &Value) -> Vec<String> {
    let words = array.as_array().expect("an array").iter();
    words.map(|word| word.as_str().expect("a word").to_ascii_lowercase()).collect()
}

/// Words in a fixed order.
fn set(words: impl IntoIterator<Item = impl Into<String>>) -> String {
    let words: BTreeSet<String> = words.into_iter().map(Into::into).collect();
    format!("[{}]", words.into_iter().collect::<Vec<_>>().join(" "))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join("; "))
}

//! Compares the rows of the node's commands with what Valkey 9.1 says about the same commands.

use super::FAMILIES;
use baton_engine::command::Command;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Families that nobody else has.
const OURS: &[&str] = &["CORE"];

fn facts() -> Map<String, Value> {
    serde_json::from_str(include_str!("../../../engine/src/commands/facts.json")).expect("facts.json is JSON")
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_ascii_uppercase).collect()
}

/// What is compared, each with its name.
fn facets(row: &Command) -> [(&'static str, String); 6] {
    let flags = row.flags.iter().map(|flag| flag.name());
    [
        ("arity", row.arity.number().to_string()),
        ("since", row.since.to_owned()),
        ("group", row.group.name().to_owned()),
        ("flags", format!("{:?}", words(flags))),
        ("categories", format!("{:?}", words(row.categories().iter().map(|category| category.name())))),
        ("tips", format!("{:?}", words(row.tips.iter().copied()))),
    ]
}

fn fact_facets(fact: &Value) -> [(&'static str, String); 6] {
    let list = |name: &str| -> Vec<&str> {
        fact[name].as_array().map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_str).collect())
    };
    // Valkey 8.1 renamed the flag.
    let flags =
        list("flags").into_iter().map(|flag| if flag == "SKIP_COMMANDLOG" { "SKIP_SLOWLOG" } else { flag });
    [
        ("arity", fact["arity"].to_string()),
        ("since", fact["since"].as_str().unwrap_or_default().to_owned()),
        ("group", fact["group"].as_str().unwrap_or_default().to_owned()),
        ("flags", format!("{:?}", words(flags))),
        ("categories", format!("{:?}", words(list("acl").into_iter()))),
        ("tips", format!("{:?}", words(list("tips")))),
    ]
}

#[test]
fn rows_agree_with_valkey() {
    let facts = facts();
    let mut complaints = Vec::new();
    let rows = FAMILIES.iter().flat_map(|family| family.commands).flat_map(|row| {
        let subs = row.subcommands.iter().map(move |sub| (format!("{} {}", row.name, sub.name), sub));
        std::iter::once((row.name.to_owned(), row)).chain(subs)
    });
    for (name, row) in rows.filter(|(name, _)| !OURS.contains(&name.split(' ').next().unwrap_or_default())) {
        let Some(fact) = facts.get(&name) else {
            complaints.push(format!("{name}: Valkey has no such command"));
            continue;
        };
        for ((facet, ours), (_, theirs)) in facets(row).iter().zip(&fact_facets(fact)) {
            if ours != theirs {
                complaints.push(format!("{name}: {facet} is {ours}, Valkey has {theirs}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{} differences:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn every_row_is_documented() {
    for family in FAMILIES {
        for row in family.commands.iter().flat_map(|row| row.subcommands.iter().chain([row])) {
            assert!(row.summary.ends_with('.') && !row.complexity.is_empty(), "{}", row.name);
        }
    }
}

//! Keeps `docs/commands.md` and the tables of commands equal. `BATON_WRITE_PAGE=1` writes the page anew.

use super::registry;
use baton::registry::{Registered, Registry};
use baton_engine::command::Group;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Why commands are absent, by the beginning of their names.
const REASONS: &[(&str, &str)] = &[
    ("ASKING", "cluster: there is no cluster mode yet"),
    ("CLUSTER", "cluster: there is no cluster mode yet"),
    ("READONLY", "cluster: there is no cluster mode yet"),
    ("READWRITE", "cluster: there is no cluster mode yet"),
    ("SENTINEL", "only a Sentinel has it, and a node does not serve as one yet"),
];

fn facts() -> Map<String, Value> {
    serde_json::from_str(include_str!("../../../engine/src/commands/facts.json")).expect("facts.json is JSON")
}

/// A name as the documentation writes it.
fn title(command: &Registered) -> String {
    command.name.to_ascii_uppercase().replace('|', " ")
}

fn shown(registry: &Registry) -> Vec<&Registered> {
    registry.iter().filter(|command| command.shown_as == command.id).collect()
}

fn page() -> String {
    let registry = registry();
    let (commands, facts) = (shown(&registry), facts());
    let names: BTreeSet<String> = commands.iter().map(|command| title(command)).collect();
    let containers = commands.iter().filter(|command| command.container.is_none()).count();
    let ours: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !facts.contains_key(*name)).collect();
    let absent: Vec<&str> = facts.keys().map(String::as_str).filter(|name| !names.contains(*name)).collect();
    let mut page = format!(
        "# Commands\n\n\
         This page is made from the tables of commands, and a test keeps it equal to them: after a change of a table,\n\
         `BATON_WRITE_PAGE=1 cargo test -p baton-server page` writes it anew.\n\n\
         `COMMAND COUNT` answers {containers}; with subcommands, {} commands are served, of which {} are ones that Valkey 9.1\n\
         knows too. Each has the arity, flags, categories, key specs and replies of its namesake; what differs on\n\
         purpose is in [differences.md](differences.md). Every command of Redis 7.2 is one of Valkey 9.1.\n\n\
         ## By group\n\n",
        names.len(),
        names.len() - ours.len(),
    );
    for group in Group::ALL {
        let of_group: Vec<String> = commands
            .iter()
            .filter(|command| command.command.group == *group)
            .map(|command| title(command))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if !of_group.is_empty() {
            writeln!(page, "- **{}** ({}): {}", group.name(), of_group.len(), of_group.join(", ")).unwrap();
        }
    }
    write!(page, "\n## Ours alone\n\n{}\n\n## Absent\n\n", ours.join(", ")).unwrap();
    writeln!(page, "{} commands of Valkey 9.1 are not served:\n\n| command | why |\n|---|---|", absent.len())
        .unwrap();
    for name in absent {
        let reason = REASONS.iter().find(|(start, _)| name.starts_with(start));
        let (_, reason) = reason.unwrap_or_else(|| panic!("{name} is absent without a reason"));
        writeln!(page, "| {name} | {reason} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_commands_is_equal_to_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let page = page();
    if std::env::var_os("BATON_WRITE_PAGE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/commands.md is not what the tables say: run this test with BATON_WRITE_PAGE=1"
    );
}

#[test]
fn every_reason_is_needed() {
    let (registry, facts) = (registry(), facts());
    let names: BTreeSet<String> = shown(&registry).into_iter().map(title).collect();
    for (start, _) in REASONS {
        let is_absent = facts.keys().any(|name| name.starts_with(start) && !names.contains(name));
        assert!(is_absent, "nothing that begins with {start} is absent any more");
    }
}

//! LATENCY: spikes, and how long commands take.

use super::{Flow, Handler, WRITTEN};
use crate::server::Server;
use crate::session::Session;
use baton::book::{CommandStats, Histogram};
use baton::held::Held;
use baton::latency::Spikes;
use baton::registry::Registered;
use baton_engine::command::{Arity, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub const COMMANDS: &[Command] = &[Command {
    name: "LATENCY",
    arity: Arity::AtLeast(2),
    flags: &[],
    group: Group::Server,
    since: "2.8.13",
    complexity: "Depends on subcommand.",
    summary: "A container for the watch on latency spikes.",
    subcommands: &[
        Command {
            name: "DOCTOR",
            arity: Arity::Exactly(2),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Writes a report on latency spikes for people.",
            ..Command::BASE
        },
        Command {
            name: "GRAPH",
            arity: Arity::Exactly(3),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Draws the latest spikes of an event.",
            ..Command::BASE
        },
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Explains the subcommands.",
            ..Command::BASE
        },
        Command {
            name: "HISTOGRAM",
            arity: Arity::AtLeast(2),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            group: Group::Server,
            since: "7.0.0",
            complexity: "O(n) for n commands",
            summary: "Returns the distribution of the durations of commands.",
            ..Command::BASE
        },
        Command {
            name: "HISTORY",
            arity: Arity::Exactly(3),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Returns the latest spikes of an event.",
            ..Command::BASE
        },
        Command {
            name: "LATEST",
            arity: Arity::Exactly(2),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Returns the last and the worst spike of every event.",
            ..Command::BASE
        },
        Command {
            name: "RESET",
            arity: Arity::AtLeast(2),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Forgets the spikes of some events or of all.",
            ..Command::BASE
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("latency|doctor", doctor),
    ("latency|graph", graph),
    ("latency|help", help),
    ("latency|histogram", histogram),
    ("latency|history", history),
    ("latency|latest", latest),
    ("latency|reset", reset),
];

fn latest(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let all = session.server.node.latency.all();
    session.out.array(all.len());
    for (event, spikes) in all {
        let (time, ms) = spikes.samples.back().copied().unwrap_or_default();
        session.out.array(4);
        session.out.bulk(event.as_bytes());
        session.out.integer(time);
        session.out.integer(ms as i64);
        session.out.integer(spikes.max_ms as i64);
    }
    WRITTEN
}

fn history(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let spikes = session.server.node.latency.spikes(&String::from_utf8_lossy(args[2])).unwrap_or_default();
    session.out.array(spikes.samples.len());
    for (time, ms) in spikes.samples {
        session.out.array(2);
        session.out.integer(time);
        session.out.integer(ms as i64);
    }
    WRITTEN
}

fn reset(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let names: Vec<_> = args[2..].iter().map(|name| String::from_utf8_lossy(name)).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let forgotten = session.server.node.latency.reset((!names.is_empty()).then_some(&names));
    session.out.integer(forgotten as i64);
    WRITTEN
}

fn graph(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let event = String::from_utf8_lossy(args[2]);
    let spikes = session
        .server
        .node
        .latency
        .spikes(&event)
        .ok_or_else(|| CommandError::owned(format!("ERR No samples available for event '{event}'")))?;
    let now_s = session.server.node.now_ms() / 1_000;
    session.out.verbatim("txt", draw(&event, &spikes, now_s).as_bytes());
    WRITTEN
}

/// Samples in a row of the graph.
const COLUMNS: usize = 80;
/// Lines of the graph, each with this many levels.
const LINES: usize = 4;
const LEVELS: [char; 3] = ['_', 'o', '#'];

/// Draws spikes as columns over their age.
fn draw(event: &str, spikes: &Spikes, now_s: i64) -> String {
    let all: Vec<(i64, u64)> = spikes.samples.iter().copied().collect();
    let high = all.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let low = all.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let mut out = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", spikes.max_ms);
    out.push_str(&"-".repeat(COLUMNS));
    out.push('\n');
    for (n, part) in all.chunks(COLUMNS).enumerate() {
        if n > 0 {
            out.push('\n');
        }
        draw_part(part, low, high, now_s, &mut out);
    }
    out
}

fn draw_part(part: &[(i64, u64)], low: u64, high: u64, now_s: i64, out: &mut String) {
    let steps = LINES * LEVELS.len();
    let span = (high - low).max(1);
    let height = |ms: u64| (((ms - low) as usize).saturating_mul(steps) / span as usize).min(steps - 1);
    for line in (0..LINES).rev() {
        let base = line * LEVELS.len();
        for (_, ms) in part {
            let level = height(*ms);
            out.push(match level.checked_sub(base) {
                None => ' ',
                Some(over) => LEVELS.get(over).copied().unwrap_or('|'),
            });
        }
        out.push('\n');
    }
    out.push('\n');
    // The ages, written downwards.
    let labels: Vec<String> = part.iter().map(|(time, _)| age(now_s - time)).collect();
    for row in 0..labels.iter().map(String::len).max().unwrap_or(0) {
        out.extend(
            labels.iter().map(|label| label.as_bytes().get(row).map_or(' ', |byte| char::from(*byte))),
        );
        out.push('\n');
    }
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn histogram(
    session: &mut Session,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    let mut found: BTreeMap<usize, Histogram> = BTreeMap::new();
    let mut order: Vec<usize> = Vec::new();
    let mut add = |stats: &[CommandStats]| {
        for (id, one) in stats.iter().enumerate() {
            if let Some(one) = &one.histogram {
                found.entry(id).or_default().merge(one);
            }
        }
    };
    server.cores.iter().for_each(|core| add(core.book.lock().commands()));
    session.with_all(held, |held| held.states().for_each(|state| add(state.book.commands())));
    match &args[2..] {
        [] => order.extend(found.keys()),
        names => {
            for command in names.iter().filter_map(|name| find(&server, name)) {
                let mut ids: Vec<usize> = command.subcommands.values().copied().chain([command.id]).collect();
                ids.sort_unstable();
                order.extend(ids.into_iter().filter(|id| found.contains_key(id)));
            }
        }
    }
    session.out.map(order.len());
    for id in order {
        session.out.bulk(server.node.registry.get(id).name.as_bytes());
        let durations = &found[&id];
        let points = durations.cumulative_us();
        session.out.map(2);
        session.out.bulk(b"calls");
        session.out.integer(durations.count() as i64);
        session.out.bulk(b"histogram_usec");
        session.out.map(points.len());
        for (us, count) in points {
            session.out.integer(us as i64);
            session.out.integer(count as i64);
        }
    }
    WRITTEN
}

fn find<'s>(server: &'s Server, name: &[u8]) -> Option<&'s Registered> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let command = server.node.registry.find(parts.next()?)?;
    match parts.next() {
        Some(sub) => server.node.registry.subcommand(command, sub),
        None => Some(command),
    }
}

fn doctor(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    session.out.verbatim("txt", report(&server).as_bytes());
    WRITTEN
}

fn report(server: &Server) -> String {
    let settings = server.settings();
    let all = server.node.latency.all();
    if all.is_empty() {
        return match settings.latency_monitor_threshold {
            0 => "Latency is not being watched. \"CONFIG SET latency-monitor-threshold <milliseconds>\" begins it.\n",
            _ => "No latency spike has been seen so far.\n",
        }
        .to_owned();
    }
    let now_s = server.node.now_ms() / 1_000;
    let mut out = "Latency spikes have been seen:\n\n".to_owned();
    let mut advice: Vec<String> = Vec::new();
    for (n, (event, spikes)) in all.iter().enumerate() {
        let count = spikes.samples.len().max(1) as u64;
        let average = spikes.samples.iter().map(|(_, ms)| ms).sum::<u64>() / count;
        let off = spikes.samples.iter().map(|(_, ms)| ms.abs_diff(average)).sum::<u64>() / count;
        let first = spikes.samples.front().map_or(now_s, |(time, _)| *time);
        let period = (now_s - first).max(1) as f64 / count as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}. {event}: {count} spikes (average {average} ms, mean deviation {off} ms, one in {period:.2} s). Worst ever: {} ms.",
            n + 1,
            spikes.max_ms
        );
        advice.extend(advice_on(event, settings.slowlog_log_slower_than, settings.latency_monitor_threshold));
    }
    out.push_str("\nWhat may help:\n\n");
    advice.dedup();
    for line in advice {
        let _ = writeln!(out, "- {line}");
    }
    out
}

fn advice_on(event: &str, slower_than_us: i64, threshold_ms: i64) -> Vec<String> {
    match event {
        "command" => {
            let mut advice = Vec::new();
            if slower_than_us < 0 || slower_than_us / 1_000 > threshold_ms {
                advice.push(format!(
                    "Let the slow log catch what the monitor sees: CONFIG SET slowlog-log-slower-than {}.",
                    threshold_ms.saturating_mul(1_000)
                ));
            }
            advice.push("See with SLOWLOG GET which commands take long, and on which keys.".to_owned());
            advice.push("Delete and read large collections in parts: UNLINK, HSCAN, SSCAN, ZSCAN.".to_owned());
            advice
        }
        "fast-command" => vec![
            "Fast commands were slow: the process did not get the processor. Look for other load on this machine, for \
             noisy neighbours of a virtual one, and at `redis-cli --intrinsic-latency 100`."
                .to_owned(),
        ],
        "expire-cycle" => vec![
            "Many keys expire at the same time: spread their times, or raise hz so that each round is shorter.".to_owned(),
        ],
        "eviction-cycle" | "eviction-del" => vec![
            "Memory runs out in bursts: raise maxmemory, or write less at once.".to_owned(),
        ],
        "aof-write" | "aof-write-alone" | "aof-rename" => vec![
            "The disk takes long to take the log: look for what else writes to it, and give the log a disk of its own.".to_owned(),
        ],
        "aof-write-pending-fsync" => vec![
            "The system holds up writes while it syncs: a faster disk, appendfsync no, or no-appendfsync-on-rewrite if it \
             happens beside rewrites of the log."
                .to_owned(),
        ],
        "aof-fsync-always" => vec![
            "Every reply to a write waits for the disk: appendfsync everysec does not, at the price of a second of writes \
             when the machine stops."
                .to_owned(),
        ],
        "fork" => vec![
            "At the moment of a snapshot all cores stand still for as long as the longest turn of any of them takes: keep \
             commands short."
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "LATENCY",
        &[
            "DOCTOR",
            "    Write a report for people.",
            "GRAPH <event>",
            "    Draw the spikes of an event.",
            "HISTOGRAM [<command> ...]",
            "    Show how long these commands take, or all: pairs of microseconds and how many took no longer.",
            "HISTORY <event>",
            "    Show the spikes of an event: pairs of Unix seconds and milliseconds.",
            "LATEST",
            "    Show the last and the worst spike of every event.",
            "RESET [<event> ...]",
            "    Forget the spikes of these events, or of all.",
        ],
    );
    WRITTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_columns_and_ages() {
        let spikes = Spikes { samples: [(0, 100), (3_600, 300), (3_690, 500)].into(), max_ms: 700 };
        let text = draw("command", &spikes, 3_700);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 100 ms (all time high 700 ms)");
        assert_eq!(lines[1].len(), COLUMNS);
        assert_eq!(&lines[2..], ["  #", " _|", " ||", "_||", "", "111", "hm0", "  s"]);
    }
}

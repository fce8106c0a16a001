//! One run: a seed, two servers, and a report when they do not agree.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::args::Words;
use super::differences::Difference;
use super::generate::{Generator, Group, On, Topic};
use super::pair::{Contestant, Mismatch, Pair};
use crate::support::client::show;

/// After this many groups of commands the states are compared.
const GROUPS_PER_CHECK: usize = 400;
/// How long to look for a shorter way to the same mismatch.
const SHRINK_TIME: Duration = Duration::from_secs(20);
/// A report shows no more commands than this.
const SHOWN_MAX: usize = 60;

pub struct Trial {
    pub left: Contestant,
    pub right: Contestant,
    /// The version of RESP: 2 or 3.
    pub resp: u8,
    pub topic: Topic,
    pub seed: u64,
    pub commands: usize,
    pub differences: &'static [Difference],
}

impl Trial {
    /// Runs until the commands are used up or the servers disagree.
    ///
    /// # Errors
    /// The report: the mismatch, how to repeat it, and as few commands as possible that lead there.
    pub fn run(&self) -> Result<(), String> {
        let mut pair = self.pair();
        let mut generator = Generator::seeded(self.seed, self.topic);
        let mut history: Vec<Group> = Vec::new();
        let mut sent = 0;
        while sent < self.commands {
            let first = history.len();
            history.extend((0..GROUPS_PER_CHECK).map(|_| generator.group()));
            let groups = &history[first..];
            let outcome = pair.run(groups).and_then(|()| pair.compare_states(groups.len()));
            if let Err(mismatch) = outcome {
                pair.discard();
                history.truncate((first + mismatch.group + 1).min(history.len()));
                return Err(self.report(&mismatch, &history));
            }
            sent += groups.iter().map(Vec::len).sum::<usize>();
        }
        self.summarize(sent, &pair);
        pair.discard();
        Ok(())
    }

    fn pair(&self) -> Pair {
        Pair::start(&self.left, &self.right, self.resp, self.differences, self.seed)
    }

    fn summarize(&self, sent: usize, pair: &Pair) {
        println!("{sent} commands agree in RESP{} (seed {})", self.resp, self.seed);
        for (difference, times) in self.differences.iter().zip(&pair.met) {
            println!("{times:>6} times: {}", difference.reason);
        }
    }

    fn report(&self, mismatch: &Mismatch, history: &[Group]) -> String {
        let mut report = format!(
            "mismatch in RESP{}, after {} groups of commands:\n{mismatch}\n\
             left is {}, right is {}\nrepeat with BATON_DIFF_SEED={} BATON_DIFF_COMMANDS={}\n",
            self.resp,
            history.len(),
            self.left.program.display(),
            self.right.program.display(),
            self.seed,
            self.commands,
        );
        let shortest = self.shrink(mismatch, history);
        let _ = match &shortest {
            Some((groups, last)) => {
                writeln!(report, "{} groups are enough, which end in:\n{last}", groups.len())
            }
            None => writeln!(report, "not repeated on fresh servers; the last commands were:"),
        };
        let groups = shortest.as_ref().map_or(history, |(groups, _)| groups);
        for step in groups[groups.len().saturating_sub(SHOWN_MAX)..].iter().flatten() {
            let who = match step.on {
                On::Main => "",
                On::Other => "[other] ",
                On::Listener => "[listener] ",
            };
            let _ = writeln!(report, "    {who}{}", show(&step.words));
        }
        report
    }

    /// The fewest groups found that make fresh servers disagree, in whatever way.
    fn shrink(&self, mismatch: &Mismatch, history: &[Group]) -> Option<(Vec<Group>, Mismatch)> {
        let start = Instant::now();
        let related = related(&mismatch.words, history);
        let (mut groups, mut last) = [related, history.to_vec()]
            .into_iter()
            .find_map(|groups| self.replay(&groups).map(|mismatch| (groups, mismatch)))?;
        groups.truncate(last.group + 1);
        let mut chunk = groups.len().div_ceil(2);
        loop {
            let mut from = 0;
            while from < groups.len() {
                if start.elapsed() > SHRINK_TIME {
                    return Some((groups, last));
                }
                let mut fewer = groups.clone();
                fewer.drain(from..(from + chunk).min(groups.len()));
                match self.replay(&fewer) {
                    Some(mismatch) => {
                        fewer.truncate(mismatch.group + 1);
                        (groups, last) = (fewer, mismatch);
                    }
                    None => from += chunk,
                }
            }
            if chunk == 1 {
                return Some((groups, last));
            }
            chunk = chunk.div_ceil(2);
        }
    }

    fn replay(&self, groups: &[Group]) -> Option<Mismatch> {
        let mut pair = self.pair();
        let outcome = pair.run(groups).and_then(|()| pair.compare_states(groups.len()));
        pair.discard();
        outcome.err()
    }
}

/// The groups that name one of the words of a command which look like keys, directly or through another
/// key, and those that act on all keys.
fn related(words: &Words, history: &[Group]) -> Vec<Group> {
    let is_key = |word: &Vec<u8>| word.contains(&b':') || word == b"absent";
    let mut keys: Vec<Vec<u8>> = words.iter().filter(|word| is_key(word)).cloned().collect();
    let mut chosen = Vec::new();
    for (at, group) in history.iter().enumerate().rev() {
        let is_last = at + 1 == history.len();
        let named = || group.iter().flat_map(|step| &step.words);
        let global = group.iter().any(|step| {
            let name = step.words[0].to_ascii_uppercase();
            matches!(name.as_slice(), b"SELECT" | b"SWAPDB" | b"FLUSHDB" | b"MOVE") || step.on == On::Listener
        });
        if is_last || global || named().any(|word| keys.contains(word)) {
            let new: Vec<_> = named().filter(|word| is_key(word) && !keys.contains(*word)).cloned().collect();
            keys.extend(new);
            chosen.push(group.clone());
        }
    }
    chosen.reverse();
    chosen
}

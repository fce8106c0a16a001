//! The stream of commands: what a seed stands for.

use super::args::{self, Arg, Words};
use super::commands::{FAMILIES, Shape};
use super::compare::Compare;
use super::differences::differs_in_effect;
use super::random::Random;
use super::scripts::Scripts;

/// Of a hundred groups, how many are something else than one plain command.
const TRANSACTION_PERCENT: u64 = 4;
const SUBSCRIPTION_PERCENT: u64 = 1;
const OTHER_CONNECTION_PERCENT: u64 = 1;
/// Of a hundred commands, how many have something wrong with their arguments on purpose.
const ODD_PERCENT: u64 = 4;
/// Of a hundred commands of a stream about scripts, how many are.
const SCRIPT_PERCENT: u64 = 65;

/// What a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// All commands on data.
    Data,
    /// Scripts and functions, and data for them.
    Scripts,
}

/// Which of a test's connections a command goes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum On {
    Main,
    /// A second one that writes, so that WATCH has something to notice.
    Other,
    /// The one that subscribes.
    Listener,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub on: On,
    pub words: Words,
    pub compare: Compare,
    /// For EXEC: what it runs.
    pub queued: Vec<Step>,
}

impl Step {
    fn new(on: On, words: Words, compare: Compare) -> Step {
        Step { on, words, compare, queued: Vec::new() }
    }

    fn plain(line: &str) -> Step {
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        Step::new(On::Main, words, Compare::Exact)
    }

    /// The same on the other connection. The reply may depend on the database of that one: only its effect is wanted.
    fn on_other(self) -> Step {
        let compare = match self.compare {
            script @ Compare::Script { .. } => script,
            _ => Compare::SameKind,
        };
        Step { on: On::Other, compare, ..self }
    }

    /// Whether earlier commands must be answered before this one is sent.
    pub fn stands_alone(&self) -> bool {
        self.on != On::Main || matches!(self.compare, Compare::Popped | Compare::Scan)
    }
}

/// Steps that make sense only together, such as a transaction.
pub type Group = Vec<Step>;

pub struct Generator {
    random: Random,
    shapes: Vec<&'static Shape>,
    weight: u64,
    scripts: Option<Scripts>,
}

impl Generator {
    pub fn seeded(seed: u64, topic: Topic) -> Generator {
        let shapes: Vec<_> = FAMILIES.iter().copied().flatten().collect();
        let weight = shapes.iter().map(|shape| shape.weight).sum();
        let scripts = (topic == Topic::Scripts).then(Scripts::new);
        Generator { random: Random::seeded(seed), shapes, weight, scripts }
    }

    pub fn group(&mut self) -> Group {
        let kind = self.random.below(100);
        let transactions = TRANSACTION_PERCENT;
        let subscriptions = transactions + SUBSCRIPTION_PERCENT;
        match kind {
            _ if kind < transactions => self.transaction(),
            _ if kind < subscriptions => vec![self.subscription()],
            _ if kind < subscriptions + OTHER_CONNECTION_PERCENT => {
                vec![self.lone_command().on_other()]
            }
            _ => self.command(),
        }
    }

    /// A command, and what must follow it to make it comparable.
    fn command(&mut self) -> Group {
        let step = self.step();
        let (words, compare) = (step.words.clone(), step.compare);
        let mut group: Group = leader(&words).into_iter().collect();
        group.push(step);
        group.extend(follower(&words, compare));
        group
    }

    fn transaction(&mut self) -> Group {
        let mut group = Vec::new();
        if self.random.percent(40) {
            group.push(Step::plain("WATCH str:0 num:0 list:0 set:0 zset:0 hash:0"));
            if self.random.percent(50) {
                group.push(self.lone_command());
            }
            if self.random.percent(50) {
                group.push(self.lone_command().on_other());
            }
        }
        group.push(Step::plain("MULTI"));
        let mut queued = Vec::new();
        for _ in 0..self.random.below(7) {
            let step = self.simple_command();
            let follower = follower(&step.words, step.compare);
            let leader = leader(&step.words);
            queued.extend(leader.into_iter().chain([step]).chain(follower));
        }
        // Answered QUEUED as a rule, but a refused EXEC ends the transaction, and the rest runs at once.
        group.extend(queued.iter().cloned());
        if self.random.percent(6) {
            group.push(Step::plain("DISCARD"));
        }
        let exec = Step { queued, compare: Compare::Exec, ..Step::plain("EXEC") };
        group.push(exec);
        group
    }

    /// A command whose reply alone can be compared, and that needs nothing before it.
    fn lone_command(&mut self) -> Step {
        loop {
            let step = self.simple_command();
            if leader(&step.words).is_none() {
                return step;
            }
        }
    }

    /// A command whose reply alone can be compared.
    fn simple_command(&mut self) -> Step {
        loop {
            let step = self.step();
            if !step.compare.needs_more_than_replies() {
                return step;
            }
        }
    }

    fn step(&mut self) -> Step {
        if let Some(scripts) = &mut self.scripts
            && self.random.percent(SCRIPT_PERCENT)
        {
            let (words, compare) = scripts.command(&mut self.random);
            return Step::new(On::Main, words, compare);
        }
        let shape = self.shape();
        let mut words = self.draw(shape);
        if shape.may_be_odd && self.random.percent(ODD_PERCENT) {
            self.make_odd(&mut words, shape);
        }
        // Servers that differ in what this does would differ in all that follows.
        if differs_in_effect(&words) {
            return self.step();
        }
        Step::new(On::Main, words, shape.compare)
    }

    fn draw(&mut self, shape: &Shape) -> Words {
        let random = &mut self.random;
        let mut words: Words = shape.name.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        if random.percent(10) {
            words[0].make_ascii_lowercase();
        }
        args::draw_all(shape.args, random, &mut words);
        if shape.args.iter().any(|arg| matches!(arg, Arg::AnyCommand)) {
            // Whether a lone name will do for COMMAND GETKEYS depends on the version.
            let inner = std::iter::repeat_with(|| self.step().words).find(|inner| inner.len() > 1);
            words.extend(inner.into_iter().flatten());
        }
        words
    }

    fn shape(&mut self) -> &'static Shape {
        let mut left = self.random.below(self.weight);
        for shape in &self.shapes {
            match left.checked_sub(shape.weight) {
                Some(rest) => left = rest,
                None => return shape,
            }
        }
        unreachable!("the weights add up to {}", self.weight)
    }

    /// Breaks the command: a word too many or too few, in the wrong place or of the wrong form.
    fn make_odd(&mut self, words: &mut Words, shape: &Shape) {
        let random = &mut self.random;
        let first = shape.name.split(' ').count();
        let somewhere = first + random.below((words.len() - first).max(1) as u64) as usize;
        let delicate = shape.is_delicate();
        match random.below(5) {
            0 if words.len() > first => drop(words.pop()),
            1 if delicate => words.push(args::refused_word(random)),
            1 => words.push(args::odd_word(random)),
            2 if somewhere < words.len() && delicate => words[somewhere] = args::refused_word(random),
            3 if somewhere < words.len() && !delicate => drop(words.remove(somewhere)),
            4 if somewhere < words.len() && !delicate => words.swap(first, somewhere),
            _ if somewhere < words.len() && !delicate => words[somewhere] = args::odd_word(random),
            _ => {}
        }
    }

    fn subscription(&mut self) -> Step {
        let names = ["SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE"];
        let name = self.random.pick(&names);
        let argument = if name.starts_with('P') { Arg::Pattern } else { Arg::Channel };
        let mut words = vec![name.as_bytes().to_vec()];
        for _ in 0..self.random.between(1, 3) {
            argument.draw(&mut self.random, &mut words);
        }
        Step::new(On::Listener, words, Compare::Messages)
    }
}

/// What must be done right before a command so that its effect can be compared: 7.0 makes the consumer of a group when it
/// is given something, later servers whenever it asks.
fn leader(words: &Words) -> Option<Step> {
    let (key, group, consumer) = match words.first()?.to_ascii_uppercase().as_slice() {
        b"XREADGROUP" => (words.get(words.len() - 2)?, words.get(2)?, words.get(3)?),
        b"XCLAIM" | b"XAUTOCLAIM" => (words.get(1)?, words.get(2)?, words.get(3)?),
        _ => return None,
    };
    let make = [&b"XGROUP"[..], b"CREATECONSUMER", key, group, consumer];
    Some(Step::new(On::Main, make.iter().map(|word| word.to_vec()).collect(), Compare::Exact))
}

/// What must be asked right after a command so that its reply or its effect can be compared.
fn follower(words: &Words, compare: Compare) -> Option<Step> {
    let key = words.get(1);
    if let Compare::Pick { from, by_key } = compare {
        let mut reader: Words = from.iter().map(|word| word.as_bytes().to_vec()).collect();
        if by_key {
            reader.insert(1, key?.clone());
        }
        return Some(Step::new(On::Main, reader, Compare::SameKind));
    }
    // A key that is over lingers, and counts for DBSIZE, until somebody looks.
    if args::may_have_expired_a_key(words) {
        return Some(Step::new(On::Main, vec![b"EXISTS".to_vec(), key?.clone()], Compare::Exact));
    }
    None
}

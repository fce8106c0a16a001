//! A node of four cores, run without sockets.

use baton::batch::Call;
use baton::held::{Blocked, Held, Identity, Who};
use baton::registry::Registry;
use baton::replication::identity::ReplId;
use baton::storage::{RealStorage, Storage};
use baton::{Node, NodeOptions};
use baton_engine::command::{Args, Arity, Command, Flag, KeyFlag, Run, keys};
use baton_engine::context::Context;
use baton_engine::error::CommandError;
use baton_engine::reply::{Out, Reply};
use baton_engine::settings::Settings;
use baton_engine::slot::{SLOTS, Slot};
use baton_engine::testing::readable;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub const CORES: usize = 4;

/// Commands that do what no real one does.
const MISCHIEF: &[Command] = &[
    Command {
        name: "BOOM",
        arity: Arity::AtLeast(2),
        flags: &[Flag::Write],
        keys: &[keys(1, 0, 1, &[KeyFlag::Rw])],
        run: Run::Keys(boom),
        ..Command::BASE
    },
    Command {
        name: "BOOM2",
        arity: Arity::AtLeast(2),
        flags: &[Flag::Write],
        keys: &[keys(1, -1, 1, &[KeyFlag::Rw])],
        run: Run::Keys(boom),
        ..Command::BASE
    },
    Command {
        name: "STALL",
        arity: Arity::Exactly(3),
        flags: &[Flag::ReadOnly],
        keys: &[keys(1, 0, 1, &[KeyFlag::Ro])],
        run: Run::Keys(stall),
        ..Command::BASE
    },
    Command {
        name: "BBOOM",
        arity: Arity::Exactly(3),
        flags: &[Flag::Write, Flag::Blocking],
        keys: &[keys(1, 0, 1, &[KeyFlag::Rw, KeyFlag::Access, KeyFlag::Delete])],
        run: Run::Keys(bboom),
        ..Command::BASE
    },
];

/// Panics in the middle of its reply.
fn boom(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    ctx.out.array(2);
    panic!("as intended")
}

/// Holds the baton of a key for so many milliseconds.
fn stall(_: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let ms = std::str::from_utf8(args.get(2)).ok().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    std::thread::sleep(Duration::from_millis(ms));
    Ok(Reply::Integer(ms as i64))
}

/// Waits for a list, and panics when there is one.
fn bboom(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    match ctx.keyspace.list(args.get(1))? {
        Some(_) => panic!("as intended"),
        None => Ok(Reply::Block { until_ms: None }),
    }
}

/// A client that remembers whether it was told that one of its commands broke.
#[derive(Default)]
pub struct Caller {
    pub broken: AtomicBool,
}

impl Identity for Caller {
    fn address(&self) -> String {
        "127.0.0.1:1".to_owned()
    }

    fn name(&self) -> String {
        String::new()
    }

    fn broken(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

/// A node and one client of it.
#[derive(Clone)]
pub struct Bench {
    pub node: Arc<Node>,
    pub who: Who,
    pub caller: Arc<Caller>,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);

impl Bench {
    pub fn new() -> Self {
        Self::on(Arc::new(RealStorage))
    }

    /// One with this disk.
    pub fn on(storage: Arc<dyn Storage>) -> Self {
        let node = Node::new(NodeOptions {
            cores: CORES,
            settings: Settings::default(),
            hash_seed: [1, 2, 3, 4],
            seed: 5,
            replication_id: ReplId::from_random([6; 20]),
            registry: Registry::new(&[MISCHIEF]),
            used_memory: |_| 0,
            storage,
        });
        Self::client_of(node)
    }

    fn client_of(node: Arc<Node>) -> Self {
        let caller = Arc::new(Caller::default());
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed) as u64;
        let who =
            Who { id, db: 0, resp3: false, no_touch: false, remembers: false, identity: caller.clone() };
        Self { node, who, caller }
    }

    /// Another client of the same node.
    pub fn client(&self) -> Self {
        Self::client_of(self.node.clone())
    }

    /// Runs a command under the batons that it needs.
    pub fn run(&self, line: &str) -> String {
        let args = words(line);
        let command = self.node.registry.find(args[0]).expect("a known command");
        let mut held = self.node.hold(|node| node.cores_of(command, &args));
        let reply = self.run_in(&mut held, line);
        held.finish();
        reply
    }

    /// Runs a command under batons that are held.
    pub fn run_in(&self, held: &mut Held<'_>, line: &str) -> String {
        let args = words(line);
        let command = self.node.registry.find(args[0]).expect("a known command");
        let mut out = Out::new(false);
        held.run(&self.who, command, &args, false, &mut out);
        readable(&out.into_bytes())
    }

    /// Runs some commands over these keys in one go.
    pub fn transaction<R>(&self, keys: &[&str], work: impl FnOnce(&mut Held<'_>) -> R) -> R {
        let mut held = self.node.hold(|node| node.owners(keys.iter().map(|key| key.as_bytes())));
        let result = work(&mut held);
        held.finish();
        result
    }

    /// Runs commands as a batch of a connection of core `home`; the raw replies.
    pub fn batch<S: AsRef<str>>(&self, home: usize, lines: &[S]) -> Vec<u8> {
        let args: Vec<Vec<&[u8]>> = lines.iter().map(|line| words(line.as_ref())).collect();
        let calls: Vec<Call<'_, '_>> = args
            .iter()
            .map(|args| {
                let command = self.node.registry.find(args[0]).expect("a known command");
                Call::new(command, args).expect("a command for batches")
            })
            .collect();
        let mut out = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let limit = Duration::from_secs(20);
            let run = self.node.run_batch(&self.who, home, &calls, &mut out);
            let done = tokio::time::timeout(limit, run).await.expect("a batch that never ends");
            assert_eq!(done, calls.len());
        });
        out
    }

    /// Gives a blocking command that has to wait.
    pub fn block(&self, line: &str) -> Waiting {
        let args = words(line);
        let command = self.node.registry.find(args[0]).expect("a known command");
        let (sender, answers) = mpsc::channel();
        let answer = Box::new(move |bytes: Vec<u8>| drop(sender.send(readable(&bytes))));
        let mut held = self.node.hold(|node| node.cores_of(command, &args));
        let mut out = Out::new(false);
        let blocked = held.run_blocking(&self.who, command, &args, &mut out, Box::new(|_| Ok(())), answer);
        held.finish();
        let at_once = blocked.is_none().then(|| readable(&out.into_bytes()));
        Waiting { node: self.node.clone(), blocked, at_once, answers }
    }

    /// How many stand in the line of a key.
    pub fn line_of(&self, key: &str) -> usize {
        let slot = Slot::of(key.as_bytes());
        self.transaction(&[key], |held| {
            held.with_keyspace(0, |keyspace| {
                let data = keyspace.shard(slot).slot(slot);
                let waiting = data.and_then(|data| data.waiting.as_ref());
                let line = waiting.and_then(|waiting| waiting.blocked.get(&(0, Box::from(key.as_bytes()))));
                line.map_or(0, |line| line.len())
            })
        })
    }

    /// Moves slots back and forth until it is told to stop; all slots, and always those of `keys`.
    pub fn move_all_the_time(&self, keys: &[&str], stop: &AtomicBool) -> usize {
        let mut moved = 0;
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            turn += 1;
            for (at, key) in keys.iter().enumerate() {
                let slot = Slot::of(key.as_bytes()).index();
                moved += self.node.move_slots(slot, slot, (turn + at) % CORES);
            }
            if turn % 16 == 0 {
                let first = (turn * 631) % SLOTS;
                moved += self.node.move_slots(first, (first + 999).min(SLOTS - 1), turn % CORES);
            }
            std::thread::yield_now();
        }
        moved
    }
}

/// A command that was given and may wait.
pub struct Waiting {
    node: Arc<Node>,
    pub blocked: Option<Blocked>,
    at_once: Option<String>,
    pub answers: mpsc::Receiver<String>,
}

impl Waiting {
    /// The answer, if it has come already.
    pub fn answer(&mut self) -> Option<String> {
        self.at_once.take().or_else(|| self.answers.try_recv().ok())
    }

    /// The answer, which has to come soon.
    #[track_caller]
    pub fn wait(&mut self) -> String {
        let late = Duration::from_secs(10);
        self.at_once.take().or_else(|| self.answers.recv_timeout(late).ok()).expect("an answer")
    }

    /// Waits for the answer for a while, then gives up: what came in the end.
    pub fn wait_or_cancel(&mut self, time: Duration) -> Option<String> {
        if let Some(answer) = self.at_once.take().or_else(|| self.answers.recv_timeout(time).ok()) {
            return Some(answer);
        }
        while !self.blocked.as_ref()?.cancel(&self.node) {
            std::thread::yield_now();
        }
        self.answers.try_recv().ok()
    }
}

/// The `n`th key whose slot is at first on this core.
pub fn key_on(core: usize, n: usize) -> String {
    let owner = |key: &String| Slot::of(key.as_bytes()).index() * CORES / SLOTS;
    (0..).map(|i| format!("key:{core}:{i}")).filter(|key| owner(key) == core).nth(n).expect("endless")
}

pub fn words(line: &str) -> Vec<&[u8]> {
    line.split_ascii_whitespace().map(str::as_bytes).collect()
}

//! Scripts and functions in Lua: EVAL, FCALL and their kin, for whoever runs commands.
//!
//! | file          | holds                                                                                |
//! |---------------|--------------------------------------------------------------------------------------|
//! | `table`       | the rows of the commands                                                             |
//! | `eval`        | EVAL and FCALL: which batons a script takes, and that its effects stay together      |
//! | `admin`       | SCRIPT and FUNCTION                                                                  |
//! | `cache`       | the sources that are known by their SHA1                                             |
//! | `functions`   | libraries of functions                                                               |
//! | `shebang`     | the first line of a script                                                           |
//! | `host`        | what a script needs of whoever runs it, besides the data                             |
//! | `run`         | a script that runs: what it may do, and what it has done                             |
//! | `call`        | `redis.call`                                                                         |
//! | `reply`       | replies to values, and back                                                          |
//! | `api`         | the other functions of `redis`                                                       |
//! | `interpreter` | a state of Lua with what it has compiled                                             |
//! | `sandbox`     | the globals of scripts, and that nobody changes them                                 |
//! | `protect`     | what takes the place of functions of Lua                                             |
//! | `strings`     | `string.find` and its kin                                                            |
//! | `pattern`     | what they match                                                                      |
//! | `busy`        | scripts that take long                                                               |
//! | `stack`       | a stack of its own for every script                                                   |
//! | `lua`         | Lua itself, a library of C, as safe code may use it                                  |
//! | `libs`        | `cjson`, `cmsgpack`, `bit`, `struct`                                                 |
//!
//! A script is sequential code that runs on the thread of whoever asks, under the batons of its keys. See `eval`.
//!
//! Absent on purpose: a debugger; modules of Lua; anything that reaches the system.

mod admin;
mod api;
pub mod busy;
mod cache;
mod call;
mod eval;
mod functions;
mod host;
mod interpreter;
mod libs;
mod lua;
mod pattern;
mod protect;
mod reply;
mod run;
mod sandbox;
mod shebang;
pub mod stack;
mod strings;
mod table;
#[cfg(test)]
mod tests;

pub use api::REDIS_VERSION;
pub use functions::Libraries;
pub use host::{Host, LogLevel};
pub use table::COMMANDS;

use crate::held::{Held, Who};
use crate::node::Node;
use crate::registry::Registered;
use baton_engine::error::CommandError;
use baton_engine::reply::Out;
use cache::Cache;
use interpreter::Interpreter;
use parking_lot::Mutex;
use shebang::Flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The scripts of a node, and what runs them.
pub struct Scripts {
    cache: Cache,
    /// Libraries of functions.
    pub libraries: Libraries,
    /// Those that take long.
    pub busy: busy::Busy,
    /// Interpreters that run nothing at the moment.
    idle: Mutex<Vec<Interpreter>>,
    /// What the idle ones use.
    idle_bytes: AtomicU64,
    seed: AtomicU64,
}

/// How a command on scripts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// With a reply.
    Replied,
    /// With an error, which has been written.
    Refused,
    /// With an error, which has been written, and counted where it arose.
    Counted,
}

impl Scripts {
    /// None yet. `seed` is for `math.random`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            cache: Cache::default(),
            libraries: Libraries::default(),
            busy: busy::Busy::default(),
            idle: Mutex::default(),
            idle_bytes: AtomicU64::new(0),
            seed: AtomicU64::new(seed),
        }
    }

    /// How many scripts are known by their SHA1.
    pub fn cached(&self) -> usize {
        self.cache.count()
    }

    /// What they take, about.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Scripts of EVAL that had to make room for others.
    pub fn evicted(&self) -> u64 {
        self.cache.evicted.load(Ordering::Relaxed)
    }

    /// What the interpreters use that run nothing at the moment.
    pub fn interpreter_bytes(&self) -> u64 {
        self.idle_bytes.load(Ordering::Relaxed)
    }

    /// Keeps these libraries in place of what was there. Returns why some of them cannot be run: those are kept all the
    /// same, for nothing of a file that is loaded may be lost.
    pub(crate) fn replace_libraries(&self, sources: Vec<Vec<u8>>) -> Vec<CommandError> {
        let mut complaints = Vec::new();
        let libraries = sources.into_iter().map(|body| {
            let loaded = stack::run(|| self.with_interpreter(|interpreter| interpreter.load_library(&body)));
            loaded.unwrap_or_else(|why| {
                complaints.push(why);
                functions::unusable(body)
            })
        });
        let libraries = libraries.collect();
        self.libraries.replace_all(libraries);
        complaints
    }

    /// Adds these libraries to those that are there; why some of them were not. `replace`: they take the place of those of
    /// the same name.
    pub(crate) fn add_libraries(&self, sources: &[Vec<u8>], replace: bool) -> Vec<CommandError> {
        let word: &[&[u8]] = if replace { &[b"REPLACE"] } else { &[] };
        let add = |source: &Vec<u8>| {
            let args = [&[&b"FUNCTION"[..], b"LOAD"], word, &[source]].concat();
            stack::run(|| admin::change_libraries(self, b"load", &args))?.err()
        };
        sources.iter().filter_map(add).collect()
    }

    /// Whether the script or function that a command would run says that it writes nothing; `None` if it does not say
    /// anything about itself, or the command runs none.
    pub fn is_without_writes(&self, command: &str, args: &[&[u8]]) -> Option<bool> {
        eval::flags(self, command, args).map(|flags| flags.has(Flag::NoWrites))
    }

    /// Runs a command of a log: `FUNCTION` LOAD, DELETE, FLUSH or RESTORE. `None`: it is something else.
    /// `Some(false)`: it is refused, as it would have been when it was written.
    pub fn replay(&self, args: &[&[u8]]) -> Option<bool> {
        let [function, sub, ..] = args else { return None };
        if !function.eq_ignore_ascii_case(b"FUNCTION") {
            return None;
        }
        let sub = sub.to_ascii_lowercase();
        stack::run(|| admin::change_libraries(self, &sub, args)).map(|result| result.is_ok())
    }

    fn take(&self) -> Interpreter {
        let idle = self.idle.lock().pop();
        match idle {
            Some(interpreter) => {
                self.idle_bytes.fetch_sub(interpreter.used() as u64, Ordering::Relaxed);
                interpreter
            }
            None => self.make(),
        }
    }

    #[cold]
    fn make(&self) -> Interpreter {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        Interpreter::new(self.seed.fetch_add(STEP, Ordering::Relaxed) >> 16)
    }

    fn give_back(&self, mut interpreter: Interpreter) {
        interpreter.tidy();
        self.idle_bytes.fetch_add(interpreter.used() as u64, Ordering::Relaxed);
        self.idle.lock().push(interpreter);
    }

    fn with_interpreter<R>(&self, work: impl FnOnce(&mut Interpreter) -> R) -> R {
        let mut interpreter = self.take();
        let result = work(&mut interpreter);
        self.give_back(interpreter);
        result
    }

    /// Forgets the interpreters, and so everything that scripts have left in them.
    fn forget_interpreters(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        let bytes: usize = idle.iter().map(|interpreter| interpreter.used()).sum();
        self.idle_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

/// Runs one of the [`COMMANDS`] and writes its reply. `held` are the batons of the transaction that it is part of, if it is.
pub fn run(
    node: &Arc<Node>,
    host: &mut dyn Host,
    who: &Who,
    command: &Registered,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
    out: &mut Out,
) -> Done {
    let result = match command.name.split_once('|') {
        None => return stack::run(|| eval::run(node, host, who, command, args, held, out)),
        Some(("script", sub)) => stack::run(|| admin::script(&node.scripts, node, sub, args, out)),
        Some((_, sub)) => stack::run(|| admin::function(node, who, sub, args, held, out)),
    };
    match result {
        Ok(()) => Done::Replied,
        Err(error) => {
            out.error(&error);
            Done::Refused
        }
    }
}

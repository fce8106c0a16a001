//! Scripts that take long: others wait for them, are told so, and can end them.

use crate::node::{Cores, Node};
use baton_engine::error::CommandError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::time::Instant;

const BUSY_SCRIPT: CommandError = CommandError::text(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
const BUSY_FUNCTION: CommandError = CommandError::text(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);
const NOT_BUSY: CommandError = CommandError::text("NOTBUSY No scripts in execution right now.");
const UNKILLABLE: CommandError = CommandError::text(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
     termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

/// A script that has taken more than its turn.
pub(super) struct LongRun {
    pub(super) name: String,
    pub(super) is_function: bool,
    /// The command that runs it.
    pub(super) line: Vec<Vec<u8>>,
    pub(super) since: Instant,
    /// What has come first: a write, or somebody who killed it. The other is too late then.
    came: AtomicU8,
    /// The node ends, and it with it, whatever it has done.
    ended: AtomicBool,
    cores: Mutex<Cores>,
}

/// [`LongRun::came`]: neither.
const NOTHING: u8 = 0;
/// It has changed something, or may have.
const WRITE: u8 = 1;
/// It has been killed.
const KILL: u8 = 2;

impl LongRun {
    /// With what error it has to end, if somebody has killed it.
    pub(super) fn killed(&self) -> Option<&'static str> {
        let killed = self.came.load(Ordering::Relaxed) == KILL || self.ended.load(Ordering::Relaxed);
        killed.then_some(if self.is_function {
            "Script killed by user with FUNCTION KILL."
        } else {
            "Script killed by user with SCRIPT KILL."
        })
    }

    /// Whether the end of the node is its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// It is about to change something. False: it must not any more.
    pub(super) fn begin_write(&self) -> bool {
        self.came_first(WRITE) && !self.ended.load(Ordering::Relaxed)
    }

    /// Whether this is what came first.
    fn came_first(&self, what: u8) -> bool {
        let first = self.came.compare_exchange(NOTHING, what, Ordering::Relaxed, Ordering::Relaxed);
        first.is_ok() || first == Err(what)
    }

    /// It holds more than before.
    pub(super) fn set_cores(&self, cores: &Cores) {
        self.cores.lock().clone_from(cores);
    }
}

/// The scripts of a node that take long.
#[derive(Default)]
pub struct Busy {
    count: AtomicUsize,
    all: Mutex<Vec<Arc<LongRun>>>,
    threshold_ms: AtomicI64,
}

/// What stands in the way of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InTheWay {
    /// Nothing.
    Nothing,
    /// A script that may be over soon.
    Wait,
    /// One that takes so long that the client is told.
    Refuse(CommandError),
}

/// A script is one of those that take long until this is dropped.
pub(super) struct Entered<'n> {
    node: &'n Arc<Node>,
    pub(super) run: Arc<LongRun>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let busy = &self.node.scripts.busy;
        busy.all.lock().retain(|other| !Arc::ptr_eq(other, &self.run));
        busy.count.fetch_sub(1, Ordering::Release);
    }
}

impl Busy {
    /// Whether there is any.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// After how many milliseconds others are refused; 0 for never (`busy-reply-threshold`).
    pub fn set_threshold(&self, ms: i64) {
        self.threshold_ms.store(ms, Ordering::Relaxed);
    }

    /// What stands in the way of a command that needs these cores.
    pub fn in_the_way(&self, node: &Node, cores: &[usize]) -> InTheWay {
        let mut found = InTheWay::Nothing;
        for run in self.all.lock().iter() {
            let held = run.cores.lock();
            // A node that is held as a whole answers nobody.
            let over = self.is_over(run);
            if held.iter().any(|core| cores.contains(core)) || over && held.len() == node.cores() {
                if over {
                    return InTheWay::Refuse(if run.is_function { BUSY_FUNCTION } else { BUSY_SCRIPT });
                }
                found = InTheWay::Wait;
            }
        }
        found
    }

    fn is_over(&self, run: &LongRun) -> bool {
        let threshold = self.threshold_ms.load(Ordering::Relaxed);
        threshold > 0 && run.since.elapsed().as_millis() as i64 >= threshold
    }

    /// The function that has run longest.
    pub(super) fn function(&self) -> Option<Arc<LongRun>> {
        self.all.lock().iter().find(|run| run.is_function).cloned()
    }

    /// Ends the one that has run longest, of those that have changed nothing.
    pub(super) fn kill(&self, function: bool) -> Result<(), CommandError> {
        let all = self.all.lock();
        if all.is_empty() {
            return Err(NOT_BUSY);
        }
        let mut of_kind = all.iter().filter(|run| run.is_function == function).peekable();
        if of_kind.peek().is_none() {
            return Err(if function { BUSY_SCRIPT } else { BUSY_FUNCTION });
        }
        if of_kind.any(|run| run.came_first(KILL)) { Ok(()) } else { Err(UNKILLABLE) }
    }

    /// Ends all of them, whatever they have done: the node ends.
    pub fn end_all(&self) {
        self.all.lock().iter().for_each(|run| run.ended.store(true, Ordering::Relaxed));
    }
}

/// A script has taken more than its turn.
pub(super) fn enter<'n>(
    node: &'n Arc<Node>,
    name: String,
    is_function: bool,
    line: Vec<Vec<u8>>,
    since: Instant,
    wrote: bool,
    cores: Cores,
) -> Entered<'n> {
    let run = Arc::new(LongRun {
        name,
        is_function,
        line,
        since,
        came: AtomicU8::new(if wrote { WRITE } else { NOTHING }),
        ended: AtomicBool::new(false),
        cores: Mutex::new(cores),
    });
    let busy = &node.scripts.busy;
    busy.all.lock().push(run.clone());
    busy.count.fetch_add(1, Ordering::Release);
    Entered { node, run }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> LongRun {
        LongRun {
            name: String::new(),
            is_function: false,
            line: Vec::new(),
            since: Instant::now(),
            came: AtomicU8::new(NOTHING),
            ended: AtomicBool::new(false),
            cores: Mutex::default(),
        }
    }

    /// A script that is killed has changed nothing, and one that has changed something is not killed: whatever comes first.
    #[test]
    fn a_write_or_a_kill_comes_first() {
        let wrote = running();
        assert!(wrote.begin_write() && !wrote.came_first(KILL) && wrote.begin_write());
        assert_eq!(wrote.killed(), None);
        let killed = running();
        assert!(killed.came_first(KILL) && !killed.begin_write() && killed.came_first(KILL));
        assert_eq!(killed.killed(), Some("Script killed by user with SCRIPT KILL."));
        let ended = running();
        assert!(ended.begin_write());
        ended.ended.store(true, Ordering::Relaxed);
        assert!(ended.killed().is_some() && !ended.begin_write(), "the node ends");
    }
}

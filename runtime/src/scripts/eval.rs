//! EVAL, EVALSHA, FCALL: scripts as commands.
//!
//! A script holds the batons of all it touches while it runs, which makes it atomic. Which those are is learned:
//!
//! | known of the script         | it takes                      | and if it touches something else                         |
//! |-----------------------------|-------------------------------|----------------------------------------------------------|
//! | nothing: it has not run yet | all                           |                                                          |
//! | it declares no keys         | all                           |                                                          |
//! | it touched its own keys     | those of the keys it declares | takes the others too, if they are free; else runs again  |
//! |                             |                               | under all, unless it has changed something already       |
//! | it touched other keys       | all                           |                                                          |
//!
//! What is left is a script that suddenly touches a key which it has not declared, after it has changed something, while
//! others hold that key's baton for long: it gets an error (`Held::widen`).
//!
//! Its effects are one transaction: what it wrote is repeated together or not at all.

use super::cache::{Learned, Reach, Script};
use super::functions::Function;
use super::host::Host;
use super::interpreter::Interpreter;
use super::reply::Written;
use super::run::{Known, Rules, Run};
use super::shebang::{self, Flag, Flags};
use super::{Done, Scripts};
use crate::held::{Held, Who};
use crate::node::{Cores, Node};
use crate::registry::Registered;
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Out;
use baton_engine::slot::Slot;
use smallvec::SmallVec;
use std::sync::Arc;

/// Keys whose memory is asked for before a script runs.
const PREFETCHED: usize = 4;

pub(super) const NO_SCRIPT: CommandError =
    CommandError::text("NOSCRIPT No matching script. Please use EVAL.");

/// What is to be run.
enum Code {
    Script(Arc<Script>),
    Function(Arc<Function>),
}

impl Code {
    fn name(&self) -> &[u8] {
        match self {
            Self::Script(script) => &script.sha,
            Self::Function(function) => &function.name,
        }
    }

    fn reach(&self) -> &Learned {
        match self {
            Self::Script(script) => &script.reach,
            Self::Function(function) => &function.reach,
        }
    }

    /// What it says about itself, if it does.
    fn flags(&self) -> Option<Flags> {
        match self {
            Self::Script(script) => script.flags,
            Self::Function(function) => Some(function.flags),
        }
    }
}

/// A script on its way.
struct Call<'a> {
    node: &'a Arc<Node>,
    who: &'a Who,
    code: Code,
    read_only: bool,
    keys: &'a [&'a [u8]],
    args: &'a [&'a [u8]],
    /// All of the command.
    line: &'a [&'a [u8]],
}

/// Runs one of EVAL, EVALSHA, FCALL and their `_RO` kin.
pub(super) fn run(
    node: &Arc<Node>,
    host: &mut dyn Host,
    who: &Who,
    command: &Registered,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
    out: &mut Out,
) -> Done {
    let scripts = &node.scripts;
    let mut interpreter = scripts.take();
    let ran = find(node, &mut interpreter, &command.name, args).and_then(|(code, keys)| {
        let (line, (keys, args)) = (args, args[3..].split_at(keys));
        let read_only = command.name.ends_with("_ro");
        let call = Call { node, who, code, read_only, keys, args, line };
        call.run(&mut interpreter, host, held, out)
    });
    scripts.give_back(interpreter);
    match ran {
        Ok(Written::Reply) => Done::Replied,
        Ok(Written::Error) => Done::Refused,
        Ok(Written::CountedError) => Done::Counted,
        Err(error) => {
            out.error(&error);
            Done::Refused
        }
    }
}

/// What the script or function that a command would run says about itself. None: nothing, or there is none.
pub(super) fn flags(scripts: &Scripts, name: &str, args: &[&[u8]]) -> Option<Flags> {
    let meant = args.get(1)?;
    match name.strip_suffix("_ro").unwrap_or(name) {
        "fcall" => scripts.libraries.function(meant).map(|function| function.flags),
        "evalsha" => scripts.cache.by_name(meant)?.flags,
        "eval" => shebang::of_script(meant).ok()?.0,
        _ => None,
    }
}

/// What is meant, compiled in this interpreter, and how many keys come with it.
fn find(
    node: &Node,
    interpreter: &mut Interpreter,
    name: &str,
    args: &[&[u8]],
) -> Result<(Code, usize), CommandError> {
    let scripts = &node.scripts;
    if name.starts_with("fcall") {
        let function = scripts.libraries.function(args[1]);
        let function = function.ok_or(CommandError::text("ERR Function not found"))?;
        let keys = parse_i64(args[2]).ok_or(CommandError::text("ERR Bad number of keys provided"))?;
        let keys = count_of_keys(keys, args)?;
        interpreter.follow(&scripts.libraries);
        return Ok((Code::Function(function), keys));
    }
    if name.starts_with("evalsha") {
        if args[1].len() != 40 {
            return Err(NO_SCRIPT);
        }
        let keys = count_of_keys(parse_i64(args[2]).ok_or(CommandError::NotInteger)?, args)?;
        let script = scripts.cache.by_name(args[1]).ok_or(NO_SCRIPT)?;
        interpreter.compile(&script)?;
        return Ok((Code::Script(script), keys));
    }
    let keys = count_of_keys(parse_i64(args[2]).ok_or(CommandError::NotInteger)?, args)?;
    let hash = node.hasher().hash(args[1]);
    if let Some(script) = scripts.cache.by_text(args[1], hash) {
        interpreter.compile(&script)?;
        return Ok((Code::Script(script), keys));
    }
    let script = scripts.cache.parse(args[1])?;
    interpreter.compile(&script)?;
    scripts.cache.add(&script, hash, false);
    Ok((Code::Script(script), keys))
}

fn count_of_keys(keys: i64, args: &[&[u8]]) -> Result<usize, CommandError> {
    match usize::try_from(keys) {
        Err(_) => Err(CommandError::text("ERR Number of keys can't be negative")),
        Ok(keys) if keys > args.len() - 3 => {
            Err(CommandError::text("ERR Number of keys can't be greater than number of args"))
        }
        Ok(keys) => Ok(keys),
    }
}

impl Call<'_> {
    fn run(
        &self,
        interpreter: &mut Interpreter,
        host: &mut dyn Host,
        held: Option<&mut Held<'_>>,
        out: &mut Out,
    ) -> Result<Written, CommandError> {
        if let Some(held) = held {
            // Part of a transaction, which holds what it needs and keeps its effects together.
            let declared = self.node.owners(self.keys.iter().copied());
            return self.run_held(interpreter, host, held, declared, out).map(|(written, _)| written);
        }
        let start = out.len();
        let mut all = self.keys.is_empty() || self.code.reach().get() != Reach::Declared;
        loop {
            let keys = || self.keys.iter().copied();
            let mut held = self.node.hold(|node| if all { node.all_cores() } else { node.owners(keys()) });
            held.begin_transaction();
            host.prepare(&mut held);
            let declared = if all { self.node.owners(keys()) } else { held.cores().clone() };
            let ran = self.run_held(interpreter, host, &mut held, declared, out);
            held.end_transaction();
            held.finish();
            match ran {
                Ok((_, true)) => {
                    out.truncate(start);
                    all = true;
                }
                Ok((written, false)) => return Ok(written),
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs under batons that are held. True: it must run again under all of them.
    fn run_held(
        &self,
        interpreter: &mut Interpreter,
        host: &mut dyn Host,
        held: &mut Held<'_>,
        declared: Cores,
        out: &mut Out,
    ) -> Result<(Written, bool), CommandError> {
        // The memory behind the keys is on its way while the call is made ready. Most scripts have few of them.
        let hasher = self.node.hasher();
        let known = self.keys.iter().take(PREFETCHED).map(|key| (*key, Slot::of(key), hasher.hash(key)));
        let known: SmallVec<[Known<'_>; PREFETCHED]> = known.collect();
        let keys: SmallVec<[(Slot, u64); PREFETCHED]> =
            known.iter().map(|(_, slot, hash)| (*slot, *hash)).collect();
        held.prefetch_slots(&keys);
        // And that behind the keys of the scripts that come next, as far as it is held.
        if let Some(ahead) = host.keys_ahead() {
            held.prefetch_slots(ahead);
        }
        self.admit(host, held)?;
        let says = |flag| self.code.flags().is_some_and(|flags| flags.has(flag));
        let rules =
            Rules { read_only: self.read_only || says(Flag::NoWrites), allow_oom: says(Flag::AllowOom) };
        let buffer = std::mem::take(&mut interpreter.buffer);
        held.set_for_script(true);
        held.prefetch_entries(self.who.db, &keys);
        if let Some(ahead) = host.keys_ahead().filter(|ahead| !ahead.is_empty()) {
            held.prefetch_entries(self.who.db, ahead);
            ahead.retain(|(slot, _)| !held.owns(*slot));
        }
        let mut run = Run::new(held, host, self.who, rules, declared, buffer);
        run.set_known(&known);
        run.set_name(self.code.name(), matches!(self.code, Code::Function(_)), self.line);
        let written = match &self.code {
            Code::Script(script) => interpreter.run_script(script, &mut run, self.keys, self.args, out),
            Code::Function(function) => {
                interpreter.run_function(&function.name, &mut run, self.keys, self.args, out)
            }
        };
        run.set_propagation(true);
        let (restart, strayed, is_half_done) = (run.restart, run.strayed, run.is_half_done());
        interpreter.buffer = run.into_buffer();
        held.set_for_script(false);
        if is_half_done {
            held.forget_effects();
        }
        self.code.reach().learn(if strayed { Reach::Anything } else { Reach::Declared });
        Ok((written, restart))
    }

    /// Whether a script that says something about itself may run now. In the order in which Redis looks.
    fn admit(&self, host: &mut dyn Host, held: &mut Held<'_>) -> Result<(), CommandError> {
        const CLUSTER: CommandError =
            CommandError::text("ERR Can not run script on cluster, 'no-cluster' flag is set.");
        const READ_ONLY: CommandError =
            CommandError::text("ERR Can not execute a script with write flag using *_ro command.");
        const OOM: CommandError = CommandError::text(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        );
        let Some(flags) = self.code.flags() else { return Ok(()) };
        if flags.has(Flag::NoCluster) && self.node.settings().cluster_enabled {
            return Err(CLUSTER);
        }
        if !flags.has(Flag::AllowStale)
            && let Some(refusal) = host.is_stale()
        {
            return Err(refusal);
        }
        if !flags.has(Flag::NoWrites) {
            if let Some(refusal) = host.stops_writes().or_else(|| self.node.journal().refusal()) {
                return Err(refusal);
            }
            if self.read_only {
                return Err(READ_ONLY);
            }
        }
        let needs_no_memory = flags.has(Flag::AllowOom) || flags.has(Flag::NoWrites);
        if !needs_no_memory && held.is_out_of_memory() {
            return Err(OOM);
        }
        Ok(())
    }
}

//! A script that runs: what it may do, and what it has done.

use super::busy::{self, Entered};
use super::host::Host;
use super::lua::Stack;
use super::stack;
use crate::held::{Held, Who};
use crate::node::Cores;
use crate::registry::Registered;
use baton_engine::command::{Flag, Group};
use baton_engine::error::CommandError;
use baton_engine::execute::{Outcome, arity_error};
use baton_engine::reply::Out;
use baton_engine::slot::Slot;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// Room for replies that is kept from one command to the next.
const KEEP_BYTES: usize = 64 * 1024;

/// How long a script may hold up the event loop that it runs on.
const TURN: Duration = Duration::from_millis(5);

/// How a command of a script went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// Its reply has been written.
    Replied,
    /// It has not run, and the script ends here with this error, whatever it does.
    Ended(&'static str),
}

/// What a script is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Changes nothing.
    pub(super) read_only: bool,
    /// Adds data even when memory is over the limit.
    pub(super) allow_oom: bool,
}

/// A key that was declared, with its slot and its hash.
pub(super) type Known<'k> = (&'k [u8], Slot, u64);

/// A script that runs.
pub(super) struct Run<'r, 'n> {
    pub(super) held: &'r mut Held<'n>,
    pub(super) host: &'r mut dyn Host,
    who: Who,
    out: Out,
    rules: Rules,
    /// The cores of the keys that were declared.
    declared: Cores,
    /// The first of the keys, each with its slot and its hash.
    known: &'r [Known<'r>],
    /// It has changed something, or may have.
    pub(super) wrote: bool,
    /// It has touched keys of other cores than the declared ones'.
    pub(super) strayed: bool,
    pub(super) restart: bool,
    /// It was ended before its end.
    pub(super) was_ended: bool,
    out_of_memory: Option<bool>,
    /// By the clock of the node.
    started_ns: u64,
    /// How long it may run before it changes something.
    time_limit: Option<Duration>,
    /// For whoever asks what takes so long.
    name: &'r [u8],
    is_function: bool,
    line: &'r [&'r [u8]],
    /// It is one of those that take long.
    long: Option<Entered<'n>>,
}

/// The script that runs in the state of this stack.
pub(super) fn current<'s>(stack: &Stack<'_>) -> Option<&'s mut Run<'s, 's>> {
    let run = stack.shared().run.get()?;
    // SAFETY: `Run::expose` put it there, and takes it away before the run ends; the state belongs to this run until then.
    // There is one such reference at a time: functions of scripts take it once each, and none of them calls Lua meanwhile.
    Some(unsafe { run.cast::<Run<'s, 's>>().as_mut() })
}

/// Looks after the script. Called every so many instructions.
pub(super) fn pulse(run: NonNull<c_void>) -> Option<&'static str> {
    // SAFETY: as in `current`: called by Lua between instructions, when no function of ours runs, and by those functions of
    // ours that do not take the reference (`Stack::spend`).
    let run = unsafe { run.cast::<Run<'_, '_>>().as_mut() };
    run.pulse()
}

impl<'r, 'n> Run<'r, 'n> {
    pub(super) fn new(
        held: &'r mut Held<'n>,
        host: &'r mut dyn Host,
        who: &Who,
        rules: Rules,
        declared: Cores,
        buffer: Vec<u8>,
    ) -> Self {
        let who = Who { resp3: false, ..who.clone() };
        let (time_limit, started_ns) = (host.time_limit(), held.node().now_ns());
        Self {
            held,
            host,
            who,
            out: Out::with_buffer(buffer, false),
            rules,
            declared,
            known: &[],
            wrote: false,
            strayed: false,
            restart: false,
            was_ended: false,
            out_of_memory: None,
            started_ns,
            time_limit,
            name: &[],
            is_function: false,
            line: &[],
            long: None,
        }
    }

    /// Says what is known of the keys that were declared, so that it need not be computed for every command.
    pub(super) fn set_known(&mut self, known: &'r [Known<'r>]) {
        self.known = known;
    }

    /// Says what runs.
    pub(super) fn set_name(&mut self, name: &'r [u8], is_function: bool, line: &'r [&'r [u8]]) {
        (self.name, self.is_function, self.line) = (name, is_function, line);
    }

    /// The same, without its type: for the state that it runs in.
    pub(super) fn expose(&mut self) -> NonNull<c_void> {
        NonNull::from(self).cast()
    }

    /// The reply of the last command.
    pub(super) fn reply<'s>(&self) -> &'s [u8] {
        let bytes = self.out.as_bytes();
        // SAFETY: the buffer is not touched before the next command, and the reply is read before that.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) }
    }

    /// Gives back the room of a long reply.
    pub(super) fn trim(&mut self) {
        if self.out.capacity() > KEEP_BYTES {
            *self.out.bytes_mut() = Vec::new();
        }
    }

    /// The buffer for replies, for the next script.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        let mut buffer = self.out.into_bytes();
        buffer.clear();
        buffer
    }

    /// Whether it has chosen RESP3.
    pub(super) fn is_resp3(&self) -> bool {
        self.who.resp3
    }

    pub(super) fn set_resp3(&mut self, resp3: bool) {
        self.who.resp3 = resp3;
        self.out.set_resp3(resp3);
    }

    /// `redis.set_repl`: whether what follows goes to the log and to replicas.
    pub(super) fn set_propagation(&mut self, propagates: bool) {
        if propagates {
            self.held.listen_if_wanted();
        } else {
            self.held.mute();
        }
    }

    /// A command by its name, the subcommand if it is one.
    pub(super) fn find(&self, args: &[&[u8]]) -> Option<&'n Registered> {
        let registry = &self.held.node().registry;
        let command = registry.find(args.first()?)?;
        match args.get(1) {
            Some(name) if !command.subcommands.is_empty() && !command.command.hidden_subcommands => {
                registry.subcommand(command, name)
            }
            _ => Some(command),
        }
    }

    /// Whether the end of the node came between the first and the last thing that it had to change.
    pub(super) fn is_half_done(&self) -> bool {
        self.was_ended && self.wrote && self.long.as_ref().is_some_and(|long| long.run.has_ended())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.held.node().now_ns().saturating_sub(self.started_ns))
    }

    fn pulse(&mut self) -> Option<&'static str> {
        if self.long.is_none() && self.elapsed() >= TURN {
            let (node, name) = (self.held.node(), String::from_utf8_lossy(self.name).into_owned());
            let line = self.line.iter().map(|word| word.to_vec()).collect();
            let cores = self.held.cores().clone();
            let since = Instant::now() - self.elapsed();
            let entered = busy::enter(node, name, self.is_function, line, since, self.wrote, cores);
            self.long = Some(entered);
            stack::pause();
        }
        let late = || !self.wrote && self.time_limit.is_some_and(|limit| self.elapsed() >= limit);
        let killed = self.long.as_ref().and_then(|long| long.run.killed());
        killed.or_else(|| late().then_some("Script took longer than it may"))
    }

    /// Runs a command and writes its reply, or why it is refused.
    pub(super) fn command(&mut self, args: &[&[u8]]) -> Ran {
        self.out.truncate(0);
        let Some(command) = self.find(args) else {
            return self.refuse(None, &CommandError::text("ERR Unknown command called from script"));
        };
        if let Err(error) = self.admit(command, args) {
            return self.refuse(Some(command), &error);
        }
        let known = self.known_key(command, args);
        if known.is_none() && !self.reach(command, args) {
            if self.wrote {
                return Ran::Ended(
                    "Script touches a key that it has not declared, and that others keep busy",
                );
            }
            // It runs again under all batons.
            self.restart = true;
            return Ran::Ended("Script restarted");
        }
        let writes = command.has(Flag::Write) || command.has(Flag::MayReplicate);
        if let Some(Entered { run, .. }) = &self.long {
            if writes && !run.begin_write() {
                return Ran::Ended(run.killed().unwrap_or_default());
            }
            run.set_cores(self.held.cores());
        }
        self.wrote |= writes;
        self.host.runs(&self.who, command, args);
        if command.run.is_some() {
            let outcome = self.held.run_hinted(&self.who, command, args, false, known, &mut self.out);
            self.host.has_run(command, outcome);
            if matches!(outcome, Outcome::Blocked { .. }) {
                // Nobody waits in a script: it is told what one would be whose time is over.
                self.out.null_array();
            }
        } else {
            self.host.run(self.held, &mut self.who, command, args, &mut self.out);
        }
        Ran::Replied
    }

    fn refuse(&mut self, command: Option<&Registered>, error: &CommandError) -> Ran {
        self.held.note_refusal(command, error, &mut self.out);
        Ran::Replied
    }

    /// Whether the script may give this command now. In the order in which Redis looks.
    fn admit(&mut self, command: &Registered, args: &[&[u8]]) -> Result<(), CommandError> {
        const ARITY: CommandError =
            CommandError::text("ERR Wrong number of args calling command from script");
        const NO_SCRIPT: CommandError =
            CommandError::text("ERR This Redis command is not allowed from script");
        const READ_ONLY: CommandError =
            CommandError::text("ERR Write commands are not allowed from read-only scripts.");
        if !command.command.arity.accepts(args.len()) {
            debug_assert!(matches!(arity_error(command.command, args), CommandError::Arity(_)));
            return Err(ARITY);
        }
        if command.has(Flag::NoScript) {
            return Err(NO_SCRIPT);
        }
        self.host.permit(command, args)?;
        // What is told to replicas counts as a write.
        if self.rules.read_only && (command.has(Flag::Write) || command.has(Flag::MayReplicate)) {
            return Err(READ_ONLY);
        }
        if command.has(Flag::Write)
            && !self.wrote
            && let Some(refusal) = self.host.stops_writes().or_else(|| self.held.node().journal().refusal())
        {
            return Err(refusal);
        }
        if command.has(Flag::DenyOom) && !self.wrote && !self.rules.allow_oom && self.is_out_of_memory() {
            return Err(CommandError::OutOfMemory);
        }
        Ok(())
    }

    /// As it was when the script first asked: it is refused as a whole or not at all.
    fn is_out_of_memory(&mut self) -> bool {
        if let Some(known) = self.out_of_memory {
            return known;
        }
        let is = self.held.is_out_of_memory();
        self.out_of_memory = Some(is);
        is
    }

    /// The slot and the hash of the command's only key, if that is one of those that were declared: then it is held.
    fn known_key(&self, command: &Registered, args: &[&[u8]]) -> Option<(Slot, u64)> {
        let key = args.get(command.only_key?)?;
        self.known.iter().find(|(known, ..)| known == key).map(|(_, slot, hash)| (*slot, *hash))
    }

    /// Makes sure that what the command touches is held.
    fn reach(&mut self, command: &Registered, args: &[&[u8]]) -> bool {
        let node = self.held.node();
        if node.cores() == 1 {
            return true;
        }
        let strays = if command.run.is_some() {
            let cores = node.cores_of(command, args);
            // A command without keys is run wherever one is.
            let has_keys = !command.command.keys.is_empty() || command.all_shards;
            has_keys && cores.iter().any(|core| !self.declared.contains(core))
        } else {
            !matches!(command.command.group, Group::Connection | Group::PubSub)
        };
        self.strayed |= strays;
        !strays || self.held.is_all() || self.held.widen(self.wrote)
    }
}

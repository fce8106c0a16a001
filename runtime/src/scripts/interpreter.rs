//! An interpreter: a state of Lua furnished for scripts, with what it has compiled.

use super::cache::{ByNumber, Script};
use super::functions::{self, Libraries, Library, Loading};
use super::libs::JsonConfig;
use super::lua::{Kept, Kind, Returned, Stack, State};
use super::reply::{self, Written};
use super::run::{self, Run};
use super::sandbox::{self, Worlds};
use baton_engine::error::CommandError;
use baton_engine::reply::Out;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Compiled scripts that an interpreter keeps. More are known at a time only by SCRIPT LOAD.
const COMPILED_MAX: usize = 2_000;

/// Garbage beyond this is collected at once, before another script comes.
const GARBAGE_BYTES: usize = 64 << 20;

/// How long the source of a library may run.
const LOADING_MAX: Duration = Duration::from_millis(500);

/// An interpreter. One script runs in it at a time.
pub(super) struct Interpreter {
    state: State,
    worlds: Worlds,
    on_error: Kept,
    /// `KEYS` and `ARGV`, which every script is given anew.
    names: [Kept; 2],
    compiled: ByNumber<Kept>,
    functions: HashMap<Vec<u8>, Kept>,
    /// The version of the libraries that `functions` are from.
    version: u64,
    /// Bytes at which garbage is collected.
    collect_at: usize,
    /// For replies of commands.
    pub(super) buffer: Vec<u8>,
}

impl Interpreter {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = State::new(run::pulse);
        let worlds = sandbox::furnish(&mut state);
        state.shared().random.set(seed);
        let mut stack = state.stack();
        stack.push_function(on_error);
        let on_error = stack.keep();
        let names = ["KEYS", "ARGV"].map(|name| {
            stack.push_bytes(name.as_bytes());
            stack.keep()
        });
        let (compiled, functions) = (ByNumber::default(), HashMap::new());
        let collect_at = GARBAGE_BYTES;
        Self {
            state,
            worlds,
            on_error,
            names,
            compiled,
            functions,
            version: 0,
            collect_at,
            buffer: Vec::new(),
        }
    }

    /// Bytes that Lua uses here.
    pub(super) fn used(&self) -> usize {
        self.state.used()
    }

    /// Compiles a script unless that has been done.
    pub(super) fn compile(&mut self, script: &Script) -> Result<(), CommandError> {
        if self.compiled.contains_key(&script.id) {
            return Ok(());
        }
        if self.compiled.len() >= COMPILED_MAX {
            self.forget_compiled();
        }
        self.state.load(script.source(), c"@user_script").map_err(|why| {
            CommandError::Quoting([b"ERR Error compiling script (new function): ", &why[..]].concat().into())
        })?;
        let kept = self.state.stack().keep();
        self.compiled.insert(script.id, kept);
        Ok(())
    }

    /// Runs a script, which has been compiled, and writes its reply.
    pub(super) fn run_script(
        &mut self,
        script: &Script,
        run: &mut Run<'_, '_>,
        keys: &[&[u8]],
        args: &[&[u8]],
        out: &mut Out,
    ) -> Written {
        let mut stack = self.state.stack();
        prepare(&mut stack, &self.on_error, &self.worlds.eval.seen);
        let Some(function) = self.compiled.get(&script.id) else {
            out.error(&CommandError::text("ERR internal error: the script is not compiled"));
            return Written::Error;
        };
        stack.push_kept(function);
        stack.push_kept(&self.worlds.eval.seen);
        stack.set_environment(-2);
        stack.push_kept(&self.worlds.eval.table);
        for (name, values) in self.names.iter().zip([keys, args]) {
            stack.push_kept(name);
            push_list(&mut stack, values);
            stack.raw_set(-3);
        }
        stack.pop(1);
        self.call(run, 0, &script.sha, out)
    }

    /// Calls a function, whose library has been loaded, and writes its reply.
    pub(super) fn run_function(
        &mut self,
        name: &[u8],
        run: &mut Run<'_, '_>,
        keys: &[&[u8]],
        args: &[&[u8]],
        out: &mut Out,
    ) -> Written {
        let mut stack = self.state.stack();
        prepare(&mut stack, &self.on_error, &self.worlds.functions.seen);
        let Some(function) = self.functions.get(name) else {
            out.error(&CommandError::text("ERR Function not found"));
            return Written::Error;
        };
        stack.push_kept(function);
        push_list(&mut stack, keys);
        push_list(&mut stack, args);
        self.call(run, 2, name, out)
    }

    /// Calls what is on the stack, with so many arguments, under the handler of errors.
    fn call(&mut self, run: &mut Run<'_, '_>, arguments: usize, name: &[u8], out: &mut Out) -> Written {
        let shared = self.state.shared();
        shared.json.set(JsonConfig::DEFAULT);
        shared.killed.set(None);
        shared.run.set(Some(run.expose()));
        let done = self.state.call(arguments, 1);
        let shared = self.state.shared();
        shared.run.set(None);
        run.was_ended = shared.killed.take().is_some();
        let mut stack = self.state.stack();
        let written = if done {
            reply::write(&mut stack, run.is_resp3(), out)
        } else {
            write_failure(&mut stack, name, out)
        };
        stack.set_top(0);
        written
    }

    /// Gets rid of the garbage if there is much of it. To be called when nothing runs.
    pub(super) fn tidy(&mut self) {
        if self.state.used() <= self.collect_at {
            return;
        }
        self.state.collect();
        if self.state.used() > GARBAGE_BYTES {
            // Not garbage, but compiled again when it is needed.
            self.forget_compiled();
            self.state.collect();
        }
        // What is left is in use, and would be looked at in vain after every script.
        self.collect_at = GARBAGE_BYTES.max(2 * self.state.used());
    }

    fn forget_compiled(&mut self) {
        let mut stack = self.state.stack();
        self.compiled.drain().for_each(|(_, kept)| stack.forget(kept));
    }

    /// Takes over the libraries of the node if they have changed.
    pub(super) fn follow(&mut self, libraries: &Libraries) {
        let version = libraries.version();
        if version == self.version {
            return;
        }
        let mut stack = self.state.stack();
        self.functions.drain().for_each(|(_, kept)| stack.forget(kept));
        for library in libraries.all() {
            // They have been loaded before, and so can be again.
            if let Ok(loading) = self.run_library(library.source()) {
                let registered = loading.registered.into_iter();
                self.functions.extend(registered.map(|new| (new.function.name, new.callback)));
            }
        }
        self.version = version;
    }

    /// Runs the source of a library to see what it registers. Nothing of it stays here.
    pub(super) fn load_library(&mut self, body: &[u8]) -> Result<Arc<Library>, CommandError> {
        let (name, start) = functions::parse(body)?;
        let loading = self.run_library(&body[start..])?;
        if loading.registered.is_empty() {
            return Err(CommandError::text("ERR No functions registered"));
        }
        let mut stack = self.state.stack();
        let mut registered = Vec::with_capacity(loading.registered.len());
        for new in loading.registered {
            stack.forget(new.callback);
            registered.push(new.function);
        }
        Ok(functions::library(name, body, start, registered))
    }

    fn run_library(&mut self, source: &[u8]) -> Result<Loading, CommandError> {
        let mut stack = self.state.stack();
        prepare(&mut stack, &self.on_error, &self.worlds.functions.seen);
        self.state.load(source, c"@user_function").map_err(|why| {
            CommandError::Quoting([b"ERR Error compiling function: ", &why[..]].concat().into())
        })?;
        // What it sees as `redis` while it is loaded registers functions, and gives no commands.
        self.worlds.show_loading(&mut self.state.stack(), true);
        let mut loading = Loading::default();
        let shared = self.state.shared();
        shared.killed.set(None);
        shared.json.set(JsonConfig::DEFAULT);
        shared.loading.set(Some(loading.expose()));
        shared.deadline.set(Some(Instant::now() + LOADING_MAX));
        let done = self.state.call(0, 0);
        let shared = self.state.shared();
        shared.loading.set(None);
        shared.deadline.set(None);
        shared.killed.set(None);
        let mut stack = self.state.stack();
        self.worlds.show_loading(&mut stack, false);
        let result = if done { Ok(()) } else { Err(loading_failure(&mut stack)) };
        if result.is_err() {
            for new in loading.registered.drain(..) {
                stack.forget(new.callback);
            }
        }
        stack.set_top(0);
        result.map(|()| loading)
    }
}

/// Puts the handler of errors under what is to be called, and these globals in place.
fn prepare(stack: &mut Stack<'_>, on_error: &Kept, globals: &Kept) {
    stack.set_top(0);
    stack.push_kept(globals);
    stack.set_globals();
    stack.push_kept(on_error);
}

fn push_list(stack: &mut Stack<'_>, values: &[&[u8]]) {
    stack.new_table(values.len(), 0);
    for (index, value) in values.iter().enumerate() {
        stack.push_bytes(value);
        stack.raw_set_index(-2, index as i32 + 1);
    }
}

/// Called with an error where it was raised: makes a table of it that says where that was.
fn on_error(stack: &mut Stack<'_>) -> Returned {
    let place = stack.place_of_error();
    if stack.kind(1) != Kind::Table {
        let text = stack.describe(1);
        super::lua::push_error_table(stack, &[b"ERR ", &text]);
    } else {
        // Another table: that of the script may be one which all scripts share.
        stack.new_table(0, 4);
        for name in ["err", "ignore_error_stats_update"] {
            stack.raw_get_field(1, name);
            stack.raw_set_field(-2, name);
        }
    }
    if let Some((source, line)) = place {
        stack.push_bytes(&source);
        stack.raw_set_field(-2, "source");
        stack.push_number(f64::from(line));
        stack.raw_set_field(-2, "line");
    }
    Ok(1)
}

/// A field of the table on the top as text, if it is a string or a number.
fn text_field(stack: &mut Stack<'_>, name: &str) -> Option<Vec<u8>> {
    stack.raw_get_field(-1, name);
    let text = stack.is_string(-1).then(|| stack.bytes(-1).to_vec());
    stack.pop(1);
    text
}

/// Writes the error on the top as the reply of a script.
fn write_failure(stack: &mut Stack<'_>, name: &[u8], out: &mut Out) -> Written {
    let name = String::from_utf8_lossy(name);
    if stack.kind(-1) != Kind::Table {
        const SHOWN_MAX: usize = 100;
        let why = if stack.is_string(-1) { stack.bytes(-1) } else { b"execution failure" };
        let before = format!("ERR Error running script {name}, ");
        out.error(&CommandError::quoting(&before, why, SHOWN_MAX, ""));
        return Written::Error;
    }
    let mut line = text_field(stack, "err").unwrap_or_else(|| b"ERR unknown error".to_vec());
    let (source, at) = (text_field(stack, "source"), text_field(stack, "line"));
    let counted = stack.raw_get_field(-1, "ignore_error_stats_update") == Kind::Boolean && stack.boolean(-1);
    if let (Some(source), Some(at)) = (source, at) {
        line.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        line.extend([&source[..], b":", &at, b"."].concat());
    }
    out.error(&CommandError::Quoting(line.into()));
    if counted { Written::CountedError } else { Written::Error }
}

/// Why the source of a library could not be run, from the error on the top.
fn loading_failure(stack: &mut Stack<'_>) -> CommandError {
    let why = match stack.kind(-1) {
        Kind::Table => text_field(stack, "err").unwrap_or_default(),
        _ => [b"ERR ", stack.bytes(-1)].concat(),
    };
    CommandError::Quoting([b"ERR Error registering functions: ", &why[..]].concat().into())
}

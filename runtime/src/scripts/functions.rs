//! Libraries of functions: what FUNCTION LOAD brings and FCALL calls.
//!
//! A library is a source that registers functions when it is run. Every state of Lua runs the sources anew when the libraries
//! have changed since it last looked ([`Libraries::version`]): what is shared is the sources, and what they said about their
//! functions.

use super::cache::Learned;
use super::lua::{Kept, Kind, Raise, Returned, Stack};
use super::shebang::{self, Flags};
use baton_engine::error::CommandError;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A function, as its library registered it.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Vec<u8>,
    pub(super) description: Option<Vec<u8>>,
    pub(super) flags: Flags,
    pub(super) reach: Learned,
}

/// A library.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) name: Vec<u8>,
    pub(super) body: Vec<u8>,
    start: usize,
    pub(super) functions: Vec<Arc<Function>>,
}

impl Library {
    /// What Lua compiles.
    pub(super) fn source(&self) -> &[u8] {
        &self.body[self.start..]
    }
}

/// The libraries of a node, in the order in which they came.
#[derive(Debug, Default)]
pub struct Libraries {
    all: RwLock<Vec<Arc<Library>>>,
    /// By their names in lower case: to the names of functions case does not matter, to those of libraries it does.
    by_function: RwLock<HashMap<Vec<u8>, Arc<Function>>>,
    version: AtomicU64,
}

/// What happens to a library that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// The new one is refused.
    Keep,
    /// The new one takes its place.
    Replace,
}

impl Libraries {
    /// The sources. O(bytes of all).
    pub fn sources(&self) -> Vec<Vec<u8>> {
        self.all.read().iter().map(|library| library.body.clone()).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.read().len()
    }

    /// How many functions they have.
    pub fn functions(&self) -> usize {
        self.by_function.read().len()
    }

    /// What they take, about.
    pub fn bytes(&self) -> usize {
        const PER_FUNCTION: usize = 200;
        let of = |library: &Arc<Library>| library.body.len() + library.functions.len() * PER_FUNCTION;
        self.all.read().iter().map(of).sum()
    }

    /// Counts the changes.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn all(&self) -> Vec<Arc<Library>> {
        self.all.read().clone()
    }

    pub(super) fn function(&self, name: &[u8]) -> Option<Arc<Function>> {
        let by_function = self.by_function.read();
        // Nearly always it is written as it was registered.
        by_function.get(name).or_else(|| by_function.get(&name.to_ascii_lowercase())).cloned()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.replace_all(Vec::new());
    }

    pub(super) fn replace_all(&self, libraries: Vec<Arc<Library>>) {
        let mut by_function = HashMap::new();
        for function in libraries.iter().flat_map(|library| &library.functions) {
            // Within a library there may be two that only case tells apart: the first one is called.
            by_function.entry(function.name.to_ascii_lowercase()).or_insert_with(|| function.clone());
        }
        *self.all.write() = libraries;
        *self.by_function.write() = by_function;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Forgets one; false if there is none of this name.
    pub(super) fn delete(&self, name: &[u8]) -> bool {
        let mut all = self.all();
        let before = all.len();
        all.retain(|library| library.name != name);
        let found = all.len() < before;
        if found {
            self.replace_all(all);
        }
        found
    }
}

/// Puts libraries together: none may be there twice, and no function in two of them.
pub(super) fn join(
    mut all: Vec<Arc<Library>>,
    new: Vec<Arc<Library>>,
    existing: Existing,
) -> Result<Vec<Arc<Library>>, CommandError> {
    for library in new {
        if let Some(at) = all.iter().position(|other| other.name == library.name) {
            if existing == Existing::Keep {
                return Err(CommandError::quoting("ERR Library ", &library.name, 512, " already exists"));
            }
            all.remove(at);
        }
        for function in &library.functions {
            let mut others = all.iter().flat_map(|other| &other.functions);
            if others.any(|other| other.name.eq_ignore_ascii_case(&function.name)) {
                let name = &function.name;
                return Err(CommandError::quoting("ERR Function ", name, 512, " already exists"));
            }
        }
        all.push(library);
    }
    Ok(all)
}

/// A function that a source has just registered, with what to call.
pub(super) struct Registered {
    pub(super) function: Function,
    pub(super) callback: Kept,
}

/// A library that is being loaded.
#[derive(Default)]
pub(super) struct Loading {
    pub(super) registered: Vec<Registered>,
}

impl Loading {
    /// The same, without its type.
    pub(super) fn expose(&mut self) -> NonNull<c_void> {
        NonNull::from(self).cast()
    }
}

/// The name of a library and where its source begins, from its first line.
pub(super) fn parse(body: &[u8]) -> Result<(Vec<u8>, usize), CommandError> {
    shebang::of_library(body)
}

/// A library from what its source has registered.
pub(super) fn library(name: Vec<u8>, body: &[u8], start: usize, registered: Vec<Function>) -> Arc<Library> {
    let functions = registered.into_iter().map(Arc::new).collect();
    Arc::new(Library { name, body: body.to_vec(), start, functions })
}

/// `redis.register_function`
pub(super) fn register(stack: &mut Stack<'_>) -> Returned {
    let Some(loading) = stack.shared().loading.get() else {
        return Err(Raise::Table("server.register_function can only be called on FUNCTION LOAD command"));
    };
    let function = match stack.top() {
        1 => named_arguments(stack)?,
        2 => plain_arguments(stack)?,
        _ => return Err(Raise::Table("wrong number of arguments to server.register_function")),
    };
    if !shebang::is_name(&function.name) {
        return Err(Raise::Table(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
             character long",
        ));
    }
    // SAFETY: `Interpreter::load_library` put it there and takes it away when the source has run; nobody else uses it
    // meanwhile.
    let loading = unsafe { loading.cast::<Loading>().as_mut() };
    if loading.registered.iter().any(|other| other.function.name == function.name) {
        return Err(Raise::Table("Function already exists in the library"));
    }
    // The callback is on the top.
    let callback = stack.keep();
    loading.registered.push(Registered { function, callback });
    Ok(0)
}

fn plain_arguments(stack: &mut Stack<'_>) -> Result<Function, Raise> {
    if !stack.is_string(1) {
        return Err(Raise::Table("first argument to server.register_function must be a string"));
    }
    if stack.kind(2) != Kind::Function {
        return Err(Raise::Table("second argument to server.register_function must be a function"));
    }
    let name = stack.bytes(1).to_vec();
    stack.push(2);
    Ok(Function { name, description: None, flags: Flags::default(), reach: Learned::default() })
}

/// A table with the arguments by name. Leaves the callback on the top.
fn named_arguments(stack: &mut Stack<'_>) -> Result<Function, Raise> {
    if stack.kind(1) != Kind::Table {
        return Err(Raise::Table(
            "calling server.register_function with a single argument is only applicable to Lua table (representing \
             named arguments).",
        ));
    }
    let (mut name, mut description, mut has_callback, mut flags) = (None, None, false, Flags::default());
    // The place of the callback.
    stack.push_nil();
    let callback = stack.top();
    stack.push_nil();
    while stack.next(1) {
        match stack.kind(-2) {
            Kind::String => {}
            Kind::Number => return Err(Raise::Table("unknown argument given to server.register_function")),
            _ => {
                return Err(Raise::Table(
                    "named argument key given to server.register_function is not a string",
                ));
            }
        }
        let key = stack.bytes(-2).to_ascii_lowercase();
        match &key[..] {
            b"function_name" => {
                if !stack.is_string(-1) {
                    let text = "function_name argument given to server.register_function must be a string";
                    return Err(Raise::Table(text));
                }
                name = Some(stack.bytes(-1).to_vec());
            }
            b"description" => {
                if !stack.is_string(-1) {
                    let text = "description argument given to server.register_function must be a string";
                    return Err(Raise::Table(text));
                }
                description = Some(stack.bytes(-1).to_vec());
            }
            b"callback" => {
                if stack.kind(-1) != Kind::Function {
                    let text = "callback argument given to server.register_function must be a function";
                    return Err(Raise::Table(text));
                }
                has_callback = true;
                stack.push(-1);
                stack.replace(callback);
            }
            b"flags" => flags = flag_table(stack)?,
            _ => return Err(Raise::Table("unknown argument given to server.register_function")),
        }
        stack.pop(1);
    }
    let Some(name) = name else {
        return Err(Raise::Table("server.register_function must get a function name argument"));
    };
    if !has_callback {
        return Err(Raise::Table("server.register_function must get a callback argument"));
    }
    Ok(Function { name, description, flags, reach: Learned::default() })
}

/// The flags in the table on the top.
fn flag_table(stack: &mut Stack<'_>) -> Result<Flags, Raise> {
    if stack.kind(-1) != Kind::Table {
        let text = "flags argument to server.register_function must be a table representing function flags";
        return Err(Raise::Table(text));
    }
    let mut flags = Flags::default();
    for index in 1.. {
        let kind = stack.raw_get_index(-1, index);
        let known = kind == Kind::String && flags.add(stack.bytes(-1));
        stack.pop(1);
        match kind {
            Kind::Nil => break,
            _ if !known => return Err(Raise::Table("unknown flag given")),
            _ => {}
        }
    }
    Ok(flags)
}

/// A library that cannot be run, but was in a file: it stays there.
pub(super) fn unusable(body: Vec<u8>) -> Arc<Library> {
    let (name, start) = parse(&body).unwrap_or_default();
    Arc::new(Library { name, start, body, functions: Vec::new() })
}

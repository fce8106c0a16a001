//! The world of scripts: which globals there are, and that nobody changes them.
//!
//! Scripts of several users run one after the other in one state of Lua. Nothing that one of them does to the globals, to
//! the libraries or to the metatables of strings may reach the next: all of that is read only (`protect.rs`), the globals are
//! set anew for every run, and values outlive a run nowhere else.
//!
//! | globals of     | are                                                         |
//! |----------------|-------------------------------------------------------------|
//! | EVAL scripts   | the libraries, `redis`, `server`, `KEYS`, `ARGV`            |
//! | functions      | the libraries, `redis`, `server`                            |
//! | FUNCTION LOAD  | a `redis` that registers functions                          |

use super::lua::{Function, Kept, Kind, Stack, State};
use super::{api, libs, protect, strings};
use mlua_sys as ffi;

/// Globals of Lua that scripts may use. Everything else is removed.
const ALLOWED: &[&str] = &[
    "xpcall",
    "tostring",
    "getfenv",
    "setfenv",
    "setmetatable",
    "next",
    "assert",
    "tonumber",
    "rawequal",
    "collectgarbage",
    "getmetatable",
    "rawset",
    "pcall",
    "coroutine",
    "type",
    "select",
    "unpack",
    "gcinfo",
    "pairs",
    "rawget",
    "loadstring",
    "ipairs",
    "_VERSION",
    "load",
    "error",
    "string",
    "math",
    "table",
    "os",
];

/// Tables of functions that scripts may not change.
const LIBRARIES: &[&str] =
    &["string", "math", "table", "os", "coroutine", "cjson", "cmsgpack", "bit", "struct", "redis"];

/// The globals of a kind of script.
pub(super) struct Globals {
    /// What scripts see: empty, and protected.
    pub(super) seen: Kept,
    /// What is behind it.
    pub(super) table: Kept,
}

/// The worlds that a state has.
pub(super) struct Worlds {
    /// Of EVAL.
    pub(super) eval: Globals,
    /// Of functions.
    pub(super) functions: Globals,
    /// What is behind those of functions while a library is loaded.
    pub(super) loading: Kept,
}

/// Makes a new state into one for scripts.
pub(super) fn furnish(state: &mut State) -> Worlds {
    state.open(c"", ffi::luaopen_base);
    state.open(ffi_name(b"table\0"), ffi::luaopen_table);
    state.open(ffi_name(b"string\0"), ffi::luaopen_string);
    state.open(ffi_name(b"math\0"), ffi::luaopen_math);
    state.open(ffi_name(b"os\0"), ffi::luaopen_os);
    let mut stack = state.stack();
    remove_all_but_allowed(&mut stack);
    put_guards(&mut stack);
    libs::register(&mut stack);
    api::register(&mut stack);
    protect_strings(&mut stack);
    protect_libraries(&mut stack);
    let eval = world(&mut stack);
    let functions = world(&mut stack);
    let loading = loading_world(&mut stack);
    Worlds { eval, functions, loading }
}

fn ffi_name(name: &'static [u8]) -> &'static std::ffi::CStr {
    std::ffi::CStr::from_bytes_with_nul(name).unwrap_or_default()
}

fn remove_all_but_allowed(stack: &mut Stack<'_>) {
    stack.push_globals();
    let mut unwanted = Vec::new();
    stack.push_nil();
    while stack.next(-2) {
        stack.pop(1);
        let name = String::from_utf8_lossy(stack.bytes(-1)).into_owned();
        if !ALLOWED.contains(&name.as_str()) {
            unwanted.push(name);
        }
    }
    for name in unwanted {
        stack.push_nil();
        stack.raw_set_field(-2, &name);
    }
    // Of the system a script may know how long it has worked, no more.
    stack.raw_get_field(-1, "os");
    stack.raw_get_field(-1, "clock");
    stack.new_table(0, 1);
    stack.insert(-2);
    stack.raw_set_field(-2, "clock");
    stack.raw_set_field(-3, "os");
    stack.set_top(0);
}

fn put_guards(stack: &mut Stack<'_>) {
    stack.push_globals();
    for (table, name, guard) in protect::GUARDS {
        if table.is_empty() {
            stack.push(1);
        } else {
            stack.raw_get_field(1, table);
        }
        stack.raw_get_field(-1, name);
        stack.push_c_closure(*guard);
        stack.raw_set_field(-2, name);
        stack.pop(1);
    }
    for (name, function) in protect::REPLACEMENTS {
        // `pairs` gives away `next`: the guarded one.
        stack.raw_get_field(1, "next");
        stack.push_c_closure(*function);
        stack.raw_set_field(1, name);
    }
    stack.raw_get_field(1, "string");
    for (name, function) in strings::FUNCTIONS {
        stack.push_c_function(*function);
        stack.raw_set_field(-2, name);
    }
    stack.set_top(0);
}

/// Wraps the table on the top: what takes its place reads as it does and cannot be changed.
pub(super) fn protect(stack: &mut Stack<'_>) {
    let table = stack.top();
    stack.new_table(0, 0);
    stack.new_table(3, 2);
    stack.push_mark();
    stack.raw_set_index(-2, 1);
    stack.push(table);
    stack.raw_set_index(-2, 2);
    stack.push(table);
    stack.raw_set_field(-2, "__index");
    stack.push_c_function(protect::read_only);
    stack.raw_set_field(-2, "__newindex");
    stack.set_metatable(-2);
    stack.remove(table);
}

/// Sets what `getmetatable` shows of the protected table on the top to the protected table under it, and pops that.
fn show_metatable(stack: &mut Stack<'_>) {
    stack.push_metatable(-1);
    stack.push(-3);
    stack.raw_set_index(-2, 3);
    stack.pop(1);
    stack.remove(-2);
}

fn protect_libraries(stack: &mut Stack<'_>) {
    stack.push_globals();
    for name in LIBRARIES {
        if stack.raw_get_field(1, name) == Kind::Table {
            protect(stack);
            stack.raw_set_field(1, name);
        } else {
            stack.pop(1);
        }
    }
    stack.raw_get_field(1, "redis");
    stack.raw_set_field(1, "server");
    stack.set_top(0);
}

/// Strings share one metatable: scripts see one that says the same.
fn protect_strings(stack: &mut Stack<'_>) {
    stack.push_globals();
    stack.push_bytes(b"");
    stack.push_metatable(-1);
    stack.new_table(0, 1);
    stack.raw_get_field(1, "string");
    protect(stack);
    stack.raw_set_field(-2, "__index");
    protect(stack);
    stack.raw_set_index(-2, 3);
    stack.set_top(0);
}

/// A copy of the globals, complete and protected.
fn world(stack: &mut Stack<'_>) -> Globals {
    stack.set_top(0);
    stack.new_table(0, 40);
    stack.push_globals();
    stack.push_nil();
    while stack.next(2) {
        stack.push(-2);
        stack.insert(-2);
        stack.raw_set(1);
    }
    stack.set_top(1);
    let table = {
        stack.push(1);
        stack.keep()
    };
    // What the metatable of `_G` seems to be.
    stack.new_table(0, 1);
    stack.push_c_function(protect::no_such_global);
    stack.raw_set_field(-2, "__index");
    stack.push(-1);
    stack.set_metatable(1);
    protect(stack);
    stack.push(1);
    protect(stack);
    show_metatable(stack);
    stack.push(-1);
    stack.raw_set_field(1, "_G");
    let seen = stack.keep();
    stack.set_top(0);
    Globals { seen, table }
}

/// What a library sees while it is loaded: it registers functions, all else is for them.
fn loading_world(stack: &mut Stack<'_>) -> Kept {
    stack.set_top(0);
    stack.new_table(0, 2);
    api::register_loading(stack);
    stack.set_top(1);
    stack.new_table(0, 1);
    stack.push_c_function(protect::no_such_global);
    stack.raw_set_field(-2, "__index");
    stack.set_metatable(1);
    stack.keep()
}

impl Worlds {
    /// Puts what libraries see while they are loaded behind the globals of functions, or what functions see themselves.
    pub(super) fn show_loading(&self, stack: &mut Stack<'_>, loading: bool) {
        let behind = if loading { &self.loading } else { &self.functions.table };
        let base = stack.top();
        stack.push_kept(&self.functions.seen);
        stack.push_metatable(-1);
        stack.push_kept(behind);
        stack.raw_set_index(-2, 2);
        stack.push_kept(behind);
        stack.raw_set_field(-2, "__index");
        stack.set_top(base);
    }
}

/// Sets functions as fields of the table on the top.
pub(super) fn set_functions(stack: &mut Stack<'_>, functions: &[(&str, Function)]) {
    for (name, function) in functions {
        stack.push_function(*function);
        stack.raw_set_field(-2, name);
    }
}

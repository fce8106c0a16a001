//! Lua 5.1, a library of C, behind an interface that safe code can use.
//!
//! Lua reports errors by jumping over the frames between. No frame of Rust that owns anything may be jumped over, so:
//!
//! | who can raise an error                    | why no Rust frame is jumped over                                        |
//! |-------------------------------------------|-------------------------------------------------------------------------|
//! | what scripts call (`fn(&mut Stack)`)       | they return `Err`; [`trampoline`], which owns nothing, raises it         |
//! | an allocation that fails                   | none fails while Rust runs ([`Shared::in_rust`]): too much is told after |
//! | operations on values of the wrong type     | [`Stack`] offers raw operations only, and looks at types first           |
//! | calls of functions of Lua                  | only by [`State::call`], which is protected, and by `protect.rs`         |
//!
//! All memory of a state is counted, and limited.

use super::libs::JsonConfig;
use mlua_sys as ffi;
use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null_mut};
use std::time::Instant;

/// What a state of Lua may use before its script is ended: enough for any honest one.
pub(super) const MEMORY_MAX: usize = if cfg!(test) { 64 << 20 } else { 1 << 30 };

/// Instructions between two looks at the time and at SCRIPT KILL.
const PULSE_INSTRUCTIONS: c_int = 10_000;

/// An error on its way to the script.
#[derive(Debug)]
pub(super) enum Raise {
    /// A text; where it happened is put in front.
    Text(Cow<'static, [u8]>),
    /// A text, as errors of commands come: in a table, with the code `ERR`.
    Table(&'static str),
    /// The value on the top of the stack.
    Top,
}

impl From<&'static str> for Raise {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Raise {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text.into_bytes()))
    }
}

/// What a function that scripts call returns: how many values it leaves on the stack.
pub(super) type Returned = Result<usize, Raise>;

/// A function that scripts call.
pub(super) type Function = fn(&mut Stack<'_>) -> Returned;

/// Looks after a script that runs, and says with what error it has to end if it has to.
pub(super) type Pulse = fn(NonNull<c_void>) -> Option<&'static str>;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    Nil,
    Boolean,
    Number,
    String,
    Table,
    Function,
    Other,
}

/// What belongs to a state besides what Lua knows. The allocator is given it, and so everybody finds it.
pub(super) struct Shared {
    used: Cell<usize>,
    in_rust: Cell<bool>,
    /// The script is to end, whatever it does.
    pub(super) killed: Cell<Option<&'static str>>,
    /// What runs, for those who know its type; none between two scripts.
    pub(super) run: Cell<Option<NonNull<c_void>>>,
    /// The library that is being loaded.
    pub(super) loading: Cell<Option<NonNull<c_void>>>,
    /// When the script has to end.
    pub(super) deadline: Cell<Option<Instant>>,
    /// What the script has set `cjson` to.
    pub(super) json: Cell<JsonConfig>,
    /// Where `math.random` is.
    pub(super) random: Cell<u64>,
    pulse: Pulse,
}

impl Shared {
    /// With what error the script has to end, if it has to.
    fn over(&self) -> Option<&'static str> {
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            let loads = self.loading.get().is_some();
            return Some(if loads { "FUNCTION LOAD timeout" } else { "Script took longer than it may" });
        }
        self.run.get().and_then(self.pulse)
    }
}

/// A state of Lua: one script runs in it at a time.
pub(super) struct State {
    raw: NonNull<ffi::lua_State>,
    shared: NonNull<Shared>,
}

// SAFETY: everything a state refers to is its own: what Lua allocated, and `shared`. Lua keeps nothing per thread. `Cell`s
// are touched by whoever has the state only.
unsafe impl Send for State {}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: nobody can use the state any more; the allocator needs `shared` until the state is closed.
        unsafe {
            ffi::lua_close(self.raw.as_ptr());
            drop(Box::from_raw(self.shared.as_ptr()));
        }
    }
}

/// `realloc` of a state, counted. Fails over the limit, but not while Rust runs.
unsafe extern "C" fn allocate(ud: *mut c_void, at: *mut c_void, old: usize, new: usize) -> *mut c_void {
    const ALIGN: usize = 16;
    // SAFETY: `ud` is the `Shared` of the state, which outlives it.
    let shared = unsafe { &*ud.cast::<Shared>() };
    let old = if at.is_null() { 0 } else { old };
    let used = shared.used.get() - old + new;
    if new > old && used > MEMORY_MAX && !shared.in_rust.get() {
        return null_mut();
    }
    // SAFETY: `at` came from here with size `old`, as Lua promises; sizes fit a `Layout`, being far below `isize::MAX`
    // (`new` is what Lua asks for at once, at most `LUAI_MAXCSTACK` and `MAX_SIZET` bounded by the limit above).
    unsafe {
        let layout = |size| Layout::from_size_align_unchecked(size, ALIGN);
        let got = match (old, new) {
            (0, 0) => null_mut(),
            (_, 0) => {
                System.dealloc(at.cast(), layout(old));
                null_mut()
            }
            (0, _) => System.alloc(layout(new)),
            _ => System.realloc(at.cast(), layout(old), new),
        };
        if new == 0 || !got.is_null() {
            shared.used.set(used);
        }
        got.cast()
    }
}

impl State {
    /// A state with nothing in it.
    pub(super) fn new(pulse: Pulse) -> Self {
        let shared = Box::new(Shared {
            used: Cell::new(0),
            in_rust: Cell::new(true),
            killed: Cell::new(None),
            run: Cell::new(None),
            loading: Cell::new(None),
            deadline: Cell::new(None),
            json: Cell::new(JsonConfig::DEFAULT),
            random: Cell::new(0),
            pulse,
        });
        let shared = NonNull::from(Box::leak(shared));
        // SAFETY: `allocate` takes what it is given here.
        let raw = unsafe { ffi::lua_newstate(allocate, shared.as_ptr().cast()) };
        let raw = NonNull::new(raw).expect("memory for an interpreter");
        Self { raw, shared }
    }

    /// Opens a library of Lua's own.
    pub(super) fn open(&mut self, name: &CStr, library: ffi::lua_CFunction) {
        // SAFETY: allocations do not fail here (`in_rust`), and the libraries raise no other errors while they are opened.
        unsafe {
            let raw = self.raw.as_ptr();
            ffi::lua_pushcclosure(raw, library, 0);
            ffi::lua_pushstring(raw, name.as_ptr());
            ffi::lua_call(raw, 1, 0);
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        // SAFETY: lives as long as the state.
        unsafe { self.shared.as_ref() }
    }

    /// Bytes that Lua uses.
    pub(super) fn used(&self) -> usize {
        self.shared().used.get()
    }

    /// The stack, while no script runs.
    pub(super) fn stack(&mut self) -> Stack<'_> {
        Stack { raw: self.raw.as_ptr(), state: PhantomData }
    }

    /// Compiles a source and leaves the function on the stack, or returns why it cannot be.
    pub(super) fn load(&mut self, source: &[u8], name: &CStr) -> Result<(), Vec<u8>> {
        let raw = self.raw.as_ptr();
        // SAFETY: a protected operation. See `load` below.
        let status = unsafe { load(raw, source, name) };
        if status == ffi::LUA_OK {
            return Ok(());
        }
        let mut stack = self.stack();
        let why = if stack.kind(-1) == Kind::String { stack.bytes(-1).to_vec() } else { Vec::new() };
        stack.pop(1);
        Err(why)
    }

    /// Calls the function under its `arguments` on the top of the stack. Leaves one value: the result, or on `false` the
    /// error, which has gone through the handler at `handler`.
    pub(super) fn call(&mut self, arguments: usize, handler: i32) -> bool {
        let raw = self.raw.as_ptr();
        let shared = self.shared();
        shared.in_rust.set(false);
        // SAFETY: protected: errors end here. `pulse` and the functions of the script are frames of their own.
        let status = unsafe {
            ffi::lua_sethook(raw, Some(hook), ffi::LUA_MASKCOUNT, PULSE_INSTRUCTIONS);
            let status = ffi::lua_pcall(raw, arguments as c_int, 1, handler);
            ffi::lua_sethook(raw, None, 0, 0);
            status
        };
        shared.in_rust.set(true);
        status == ffi::LUA_OK
    }

    /// Does a little of the work of the collector, or all of it.
    pub(super) fn collect(&mut self, all: bool) {
        // SAFETY: nothing that scripts can make has a finalizer.
        unsafe {
            let what = if all { ffi::LUA_GCCOLLECT } else { ffi::LUA_GCSTEP };
            ffi::lua_gc(self.raw.as_ptr(), what, 50);
        }
    }
}

/// Compiles text. Never what `string.dump` made: it is not checked, and so could reach anything. A first byte that would
/// mark it so is hidden behind a space, and the parser complains about it as about any other.
///
/// The collector rests meanwhile: the parser of 5.1 holds strings that the collector does not know of (CVE-2025-49844).
///
/// # Safety
/// `raw` is a state with room for two values. Errors do not leave this function.
pub(super) unsafe fn load(raw: *mut ffi::lua_State, source: &[u8], name: &CStr) -> c_int {
    struct Pieces {
        pieces: [(*const c_char, usize); 2],
        next: usize,
    }
    unsafe extern "C-unwind" fn read(
        _: *mut ffi::lua_State,
        ud: *mut c_void,
        len: *mut usize,
    ) -> *const c_char {
        // SAFETY: `ud` is the `Pieces` below, which outlives the call of `lua_load`.
        unsafe {
            let pieces = &mut *ud.cast::<Pieces>();
            while let Some((piece, piece_len)) = pieces.pieces.get(pieces.next) {
                pieces.next += 1;
                if *piece_len > 0 {
                    *len = *piece_len;
                    return *piece;
                }
            }
            *len = 0;
            std::ptr::null()
        }
    }
    let hide = usize::from(source.first() == Some(&ffi::LUA_SIGNATURE[0]));
    let mut pieces =
        Pieces { pieces: [(c" ".as_ptr(), hide), (source.as_ptr().cast(), source.len())], next: 0 };
    // SAFETY: `lua_load` is protected; `pieces` and `source` outlive it.
    unsafe {
        ffi::lua_gc(raw, ffi::LUA_GCSTOP, 0);
        let status = ffi::lua_load(raw, read, (&raw mut pieces).cast(), name.as_ptr());
        ffi::lua_gc(raw, ffi::LUA_GCRESTART, 0);
        status
    }
}

/// What belongs to the state of a thread of Lua.
///
/// # Safety
/// The state was made by [`State::new`] and lives.
pub(super) unsafe fn shared<'l>(raw: *mut ffi::lua_State) -> &'l Shared {
    let mut ud = null_mut();
    // SAFETY: as promised by the caller.
    unsafe {
        ffi::lua_getallocf(raw, &mut ud);
        &*ud.cast::<Shared>()
    }
}

/// Every so many instructions: a look at the time, and the end of a script that is to end.
unsafe extern "C-unwind" fn hook(raw: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: called by Lua. This frame owns nothing when it raises.
    unsafe {
        let shared = shared(raw);
        if shared.killed.get().is_none() {
            shared.in_rust.set(true);
            shared.killed.set(shared.over());
            shared.in_rust.set(false);
        }
        if shared.killed.get().is_some() {
            raise_killed(raw);
        }
    }
}

/// Ends the script with the error of those that were killed. From here on every line does: `pcall` cannot hold it up.
///
/// # Safety
/// Called by Lua, from a frame that owns nothing, of a state whose script has been killed.
pub(super) unsafe fn raise_killed(raw: *mut ffi::lua_State) -> ! {
    // SAFETY: as promised by the caller; a frame that owns nothing.
    unsafe {
        ffi::lua_sethook(raw, Some(hook), ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT, 1);
        let shared = shared(raw);
        shared.in_rust.set(true);
        let text = shared.killed.get().unwrap_or_default();
        if ffi::lua_checkstack(raw, 3) != 0 {
            push_error_table(&mut Stack { raw, state: PhantomData }, &[b"ERR ", text.as_bytes()]);
        }
        shared.in_rust.set(false);
        ffi::lua_error(raw)
    }
}

/// Pushes a table with the text as its `err`: how errors of commands come to scripts.
pub(super) fn push_error_table(stack: &mut Stack<'_>, text: &[&[u8]]) {
    stack.new_table(0, 1);
    match text {
        [text] => stack.push_bytes(text),
        pieces => stack.push_bytes(&pieces.concat()),
    }
    stack.raw_set_field(-2, "err");
}

/// Called by Lua for every function of ours; raises what it returns. Owns nothing.
unsafe extern "C-unwind" fn trampoline(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: called by Lua, as a closure with the function as its upvalue.
    unsafe {
        match enter(raw) {
            count if count >= 0 => count,
            _ => ffi::lua_error(raw),
        }
    }
}

/// Runs a function of ours; negative with the error on the stack.
///
/// # Safety
/// As [`trampoline`].
unsafe fn enter(raw: *mut ffi::lua_State) -> c_int {
    const FAILED: c_int = -1;
    // SAFETY: the upvalue was put there by `push_function`.
    let (shared, function) = unsafe {
        let function = ffi::lua_touserdata(raw, ffi::lua_upvalueindex(1));
        (shared(raw), std::mem::transmute::<*mut c_void, Function>(function))
    };
    shared.in_rust.set(true);
    let mut stack = Stack { raw, state: PhantomData };
    let returned = match catch_unwind(AssertUnwindSafe(|| function(&mut stack))) {
        Ok(Ok(count)) if shared.used.get() <= MEMORY_MAX => count as c_int,
        Ok(Ok(_)) => {
            stack.set_top(0);
            stack.push_bytes(b"not enough memory");
            FAILED
        }
        Ok(Err(Raise::Top)) => FAILED,
        Ok(Err(Raise::Table(text))) => {
            stack.set_top(0);
            push_error_table(&mut stack, &[b"ERR ", text.as_bytes()]);
            FAILED
        }
        Ok(Err(Raise::Text(text))) => {
            stack.set_top(0);
            stack.push_where(1);
            stack.push_bytes(&text);
            stack.concat(2);
            FAILED
        }
        Err(_) => {
            stack.set_top(0);
            stack.push_bytes(b"internal error");
            FAILED
        }
    };
    shared.in_rust.set(false);
    returned
}

/// The stack of a function that runs. Indexes are Lua's: from 1 up, or from -1 down.
///
/// Room is there for 20 values beyond the arguments; who pushes more asks for it with [`room`](Self::room).
pub(super) struct Stack<'l> {
    raw: *mut ffi::lua_State,
    state: PhantomData<&'l State>,
}

// SAFETY of all blocks below: `raw` is a living state. None of these operations raises an error: allocations do not fail
// while Rust runs, and raw operations are given values of the types they ask for, which the assertions check.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one argument for all, above")]
impl Stack<'_> {
    pub(super) fn shared(&self) -> &Shared {
        unsafe { shared(self.raw) }
    }

    /// How many values there are: on entry, how many arguments.
    #[inline]
    pub(super) fn top(&self) -> i32 {
        unsafe { ffi::lua_gettop(self.raw) }
    }

    #[inline]
    pub(super) fn set_top(&mut self, top: i32) {
        unsafe { ffi::lua_settop(self.raw, top) }
    }

    #[inline]
    pub(super) fn pop(&mut self, count: i32) {
        unsafe { ffi::lua_settop(self.raw, -count - 1) }
    }

    /// Makes room for so many more values.
    #[inline]
    pub(super) fn room(&mut self, count: i32) -> bool {
        unsafe { ffi::lua_checkstack(self.raw, count) != 0 }
    }

    #[inline]
    pub(super) fn kind(&self, at: i32) -> Kind {
        match unsafe { ffi::lua_type(self.raw, at) } {
            ffi::LUA_TNONE => Kind::None,
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// The name of the type of a value, as error texts have it.
    pub(super) fn kind_name(&self, at: i32) -> &'static str {
        let kind = unsafe { ffi::lua_type(self.raw, at) };
        if kind == ffi::LUA_TNONE {
            return "no value";
        }
        unsafe { CStr::from_ptr(ffi::lua_typename(self.raw, kind)) }.to_str().unwrap_or_default()
    }

    #[inline]
    pub(super) fn boolean(&self, at: i32) -> bool {
        unsafe { ffi::lua_toboolean(self.raw, at) != 0 }
    }

    /// A number, or a string that looks like one; else 0.
    #[inline]
    pub(super) fn number(&self, at: i32) -> f64 {
        unsafe { ffi::lua_tonumber(self.raw, at) }
    }

    /// Whether a value is a number, or a string that looks like one.
    pub(super) fn is_number(&self, at: i32) -> bool {
        unsafe { ffi::lua_isnumber(self.raw, at) != 0 }
    }

    /// Whether a value is a string or a number.
    pub(super) fn is_string(&self, at: i32) -> bool {
        matches!(self.kind(at), Kind::String | Kind::Number)
    }

    /// A string. A number becomes one, in its place; anything else is empty.
    #[inline]
    pub(super) fn bytes(&self, at: i32) -> &[u8] {
        let mut len = 0;
        unsafe {
            let start = ffi::lua_tolstring(self.raw, at, &mut len);
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast(), len) }
        }
    }

    /// The address of a table, to tell it from others.
    pub(super) fn address(&self, at: i32) -> usize {
        unsafe { ffi::lua_topointer(self.raw, at) as usize }
    }

    #[inline]
    pub(super) fn push(&mut self, at: i32) {
        unsafe { ffi::lua_pushvalue(self.raw, at) }
    }

    #[inline]
    pub(super) fn push_nil(&mut self) {
        unsafe { ffi::lua_pushnil(self.raw) }
    }

    #[inline]
    pub(super) fn push_boolean(&mut self, yes: bool) {
        unsafe { ffi::lua_pushboolean(self.raw, c_int::from(yes)) }
    }

    #[inline]
    pub(super) fn push_number(&mut self, number: f64) {
        unsafe { ffi::lua_pushnumber(self.raw, number) }
    }

    #[inline]
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        unsafe { ffi::lua_pushlstring(self.raw, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// A value that equals nothing but itself: `cjson.null`.
    pub(super) fn push_null(&mut self) {
        unsafe { ffi::lua_pushlightuserdata(self.raw, null_mut()) }
    }

    /// Whether a value is what [`push_null`](Self::push_null) pushes.
    pub(super) fn is_null(&self, at: i32) -> bool {
        unsafe {
            ffi::lua_type(self.raw, at) == ffi::LUA_TLIGHTUSERDATA
                && ffi::lua_touserdata(self.raw, at).is_null()
        }
    }

    pub(super) fn push_function(&mut self, function: Function) {
        unsafe {
            ffi::lua_pushlightuserdata(self.raw, function as *mut c_void);
            ffi::lua_pushcclosure(self.raw, trampoline, 1);
        }
    }

    /// A function that knows Lua itself, without any of the precautions of the others.
    pub(super) fn push_c_function(&mut self, function: ffi::lua_CFunction) {
        unsafe { ffi::lua_pushcclosure(self.raw, function, 0) }
    }

    /// As [`push_c_function`](Self::push_c_function), with the value on the top as its upvalue.
    pub(super) fn push_c_closure(&mut self, function: ffi::lua_CFunction) {
        unsafe { ffi::lua_pushcclosure(self.raw, function, 1) }
    }

    /// The mark of metatables that are ours.
    pub(super) fn push_mark(&mut self) {
        unsafe { ffi::lua_pushlightuserdata(self.raw, super::protect::mark()) }
    }

    /// The metatable of a value that has one.
    pub(super) fn push_metatable(&mut self, at: i32) {
        if unsafe { ffi::lua_getmetatable(self.raw, at) } == 0 {
            self.push_nil();
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, at: i32) {
        unsafe { ffi::lua_insert(self.raw, at) }
    }

    /// Pops the top into the place of another value.
    pub(super) fn replace(&mut self, at: i32) {
        unsafe { ffi::lua_replace(self.raw, at) }
    }

    #[inline]
    pub(super) fn remove(&mut self, at: i32) {
        unsafe { ffi::lua_remove(self.raw, at) }
    }

    /// Puts the strings on the top together.
    fn concat(&mut self, count: i32) {
        unsafe { ffi::lua_concat(self.raw, count) }
    }

    fn push_where(&mut self, level: i32) {
        unsafe { ffi::luaL_where(self.raw, level) }
    }

    /// A table with room for so many elements and so many fields. Both are bounded: they may be somebody's claim.
    #[inline]
    pub(super) fn new_table(&mut self, elements: usize, fields: usize) {
        const CLAIM_MAX: usize = 1 << 16;
        let bounded = |n: usize| n.min(CLAIM_MAX) as c_int;
        unsafe { ffi::lua_createtable(self.raw, bounded(elements), bounded(fields)) }
    }

    /// Replaces the key on the top by its value in the table at `table`, without asking metatables.
    #[inline]
    pub(super) fn raw_get(&mut self, table: i32) -> Kind {
        assert!(self.kind(table) == Kind::Table);
        unsafe { ffi::lua_rawget(self.raw, table) };
        self.kind(-1)
    }

    #[inline]
    pub(super) fn raw_get_index(&mut self, table: i32, index: i32) -> Kind {
        assert!(self.kind(table) == Kind::Table);
        unsafe { ffi::lua_rawgeti(self.raw, table, ffi::lua_Integer::from(index)) };
        self.kind(-1)
    }

    #[inline]
    pub(super) fn raw_get_field(&mut self, table: i32, name: &str) -> Kind {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.raw_get(table)
    }

    /// Sets the key under the top to the value on the top, and pops both. The key must be neither nil nor NaN.
    #[inline]
    pub(super) fn raw_set(&mut self, table: i32) {
        assert!(self.kind(table) == Kind::Table && self.can_be_key(-2));
        unsafe { ffi::lua_rawset(self.raw, table) }
    }

    /// Whether a value can be a key of a table.
    pub(super) fn can_be_key(&self, at: i32) -> bool {
        match self.kind(at) {
            Kind::Nil | Kind::None => false,
            Kind::Number => !self.number(at).is_nan(),
            _ => true,
        }
    }

    #[inline]
    pub(super) fn raw_set_index(&mut self, table: i32, index: i32) {
        assert!(self.kind(table) == Kind::Table);
        unsafe { ffi::lua_rawseti(self.raw, table, ffi::lua_Integer::from(index)) }
    }

    /// Sets a field to the value on the top, and pops it.
    #[inline]
    pub(super) fn raw_set_field(&mut self, table: i32, name: &str) {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.raw_set(table);
    }

    /// Replaces the key on the top by the next key and its value; pops it and is false at the end. The key must come
    /// from here, and nothing may have been added to the table since.
    #[inline]
    pub(super) fn next(&mut self, table: i32) -> bool {
        assert!(self.kind(table) == Kind::Table);
        unsafe { ffi::lua_next(self.raw, table) != 0 }
    }

    /// The length of a string or of a table.
    #[inline]
    pub(super) fn length(&self, at: i32) -> usize {
        unsafe { ffi::lua_objlen(self.raw, at) }
    }

    /// Makes the table on the top the metatable of the value at `at`, and pops it.
    pub(super) fn set_metatable(&mut self, at: i32) {
        assert!(self.kind(-1) == Kind::Table);
        unsafe { ffi::lua_setmetatable(self.raw, at) };
    }

    /// Pushes the table with the globals of functions that are compiled from here on.
    pub(super) fn push_globals(&mut self) {
        unsafe { ffi::lua_pushvalue(self.raw, ffi::LUA_GLOBALSINDEX) }
    }

    /// Makes the table on the top that of the globals, and pops it.
    pub(super) fn set_globals(&mut self) {
        assert!(self.kind(-1) == Kind::Table);
        unsafe { ffi::lua_replace(self.raw, ffi::LUA_GLOBALSINDEX) }
    }

    /// Gives the function at `function` the table on the top as its globals, and pops it.
    pub(super) fn set_environment(&mut self, function: i32) {
        assert!(self.kind(-1) == Kind::Table);
        unsafe { ffi::lua_setfenv(self.raw, function) };
    }

    /// Keeps the value on the top, and pops it.
    pub(super) fn keep(&mut self) -> Kept {
        Kept(unsafe { ffi::luaL_ref(self.raw, ffi::LUA_REGISTRYINDEX) })
    }

    #[inline]
    pub(super) fn push_kept(&mut self, kept: &Kept) {
        unsafe { ffi::lua_rawgeti(self.raw, ffi::LUA_REGISTRYINDEX, ffi::lua_Integer::from(kept.0)) };
    }

    pub(super) fn forget(&mut self, kept: Kept) {
        unsafe { ffi::luaL_unref(self.raw, ffi::LUA_REGISTRYINDEX, kept.0) }
    }

    fn absolute(&self, at: i32) -> i32 {
        if at < 0 && at > ffi::LUA_REGISTRYINDEX { self.top() + 1 + at } else { at }
    }

    /// The refusal of an argument, in the words of Lua.
    pub(super) fn bad_argument(&self, at: i32, why: &str) -> Raise {
        let mut at = at;
        // SAFETY: plain data, filled by Lua below; all its fields may be zero.
        let mut info: ffi::lua_Debug = unsafe { std::mem::zeroed() };
        let (name, is_method) = unsafe {
            if ffi::lua_getstack(self.raw, 0, &mut info) == 0
                || ffi::lua_getinfo(self.raw, c"n".as_ptr(), &mut info) == 0
                || info.name.is_null()
            {
                (Cow::Borrowed("?"), false)
            } else {
                let is_method = CStr::from_ptr(info.namewhat) == c"method";
                (CStr::from_ptr(info.name).to_string_lossy(), is_method)
            }
        };
        if is_method {
            at -= 1;
            if at == 0 {
                return format!("calling '{name}' on bad self ({why})").into();
            }
        }
        format!("bad argument #{at} to '{name}' ({why})").into()
    }

    fn wrong_kind(&self, at: i32, wanted: &str) -> Raise {
        self.bad_argument(at, &format!("{wanted} expected, got {}", self.kind_name(at)))
    }

    /// An argument that has to be a string.
    pub(super) fn string_argument(&self, at: i32) -> Result<&[u8], Raise> {
        if self.is_string(at) { Ok(self.bytes(at)) } else { Err(self.wrong_kind(at, "string")) }
    }

    /// An argument that has to be a number.
    pub(super) fn number_argument(&self, at: i32) -> Result<f64, Raise> {
        if self.is_number(at) { Ok(self.number(at)) } else { Err(self.wrong_kind(at, "number")) }
    }

    /// A value as `tostring` shows it, without asking metatables.
    pub(super) fn describe(&mut self, at: i32) -> Vec<u8> {
        match self.kind(at) {
            Kind::String | Kind::Number => {
                self.push(at);
                let text = self.bytes(-1).to_vec();
                self.pop(1);
                text
            }
            Kind::Boolean => {
                if self.boolean(at) {
                    b"true".to_vec()
                } else {
                    b"false".to_vec()
                }
            }
            Kind::Nil | Kind::None => b"nil".to_vec(),
            _ => format!("{}: {:#x}", self.kind_name(at), self.address(at)).into_bytes(),
        }
    }

    /// Where the error that is being handled was raised: the source and the line.
    pub(super) fn place_of_error(&self) -> Option<(Vec<u8>, i32)> {
        for level in 1..=2 {
            let mut info: ffi::lua_Debug = unsafe { std::mem::zeroed() };
            let (what, source) = unsafe {
                if ffi::lua_getstack(self.raw, level, &mut info) == 0
                    || ffi::lua_getinfo(self.raw, c"Sl".as_ptr(), &mut info) == 0
                {
                    return None;
                }
                (CStr::from_ptr(info.what), CStr::from_ptr(info.source))
            };
            if what != c"C" || level == 2 {
                return Some((source.to_bytes().to_vec(), info.currentline));
            }
        }
        None
    }
}

/// A value that is kept in a state while it is on no stack.
#[derive(Debug)]
pub(super) struct Kept(c_int);

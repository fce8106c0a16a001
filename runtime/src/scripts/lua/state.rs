//! A state of Lua: its memory, what runs in it, and how a script is called.

use super::compile;
use super::entry::hook;
use super::spare::Spare;
use super::stack::{Kind, Stack};
use crate::scripts::libs::JsonConfig;
use mlua_sys as ffi;
use std::alloc::{Layout, handle_alloc_error};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::time::Instant;

/// What a state of Lua may use before its script is ended: enough for any honest one.
pub(in crate::scripts) const MEMORY_MAX: usize = if cfg!(test) { 64 << 20 } else { 1 << 30 };

/// Instructions between two looks at the time and at SCRIPT KILL.
const PULSE_INSTRUCTIONS: c_int = 10_000;

/// Looks after a script that runs, and says with what error it has to end if it has to.
pub(in crate::scripts) type Pulse = fn(NonNull<c_void>) -> Option<&'static str>;

/// What belongs to a state besides what Lua knows. The allocator is given it, and so everybody finds it.
pub(in crate::scripts) struct Shared {
    pub(super) used: Cell<usize>,
    /// A function of ours runs: an error of Lua would jump over it.
    pub(super) in_rust: Cell<bool>,
    /// The script is to end, whatever it does.
    pub(in crate::scripts) killed: Cell<Option<&'static str>>,
    /// What runs, for those who know its type; none between two scripts.
    pub(in crate::scripts) run: Cell<Option<NonNull<c_void>>>,
    /// The library that is being loaded.
    pub(in crate::scripts) loading: Cell<Option<NonNull<c_void>>>,
    /// When it has to end.
    pub(in crate::scripts) deadline: Cell<Option<Instant>>,
    /// What the script has set `cjson` to.
    pub(in crate::scripts) json: Cell<JsonConfig>,
    /// Where `math.random` is.
    pub(in crate::scripts) random: Cell<u64>,
    /// Short blocks that nobody uses at the moment.
    spare: Spare,
    /// What functions of ours have done since somebody last looked after the script.
    pub(super) steps: Cell<u32>,
    pulse: Pulse,
}

impl Shared {
    /// With what error the script has to end, if it has to.
    pub(super) fn over(&self) -> Option<&'static str> {
        if self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            return Some("FUNCTION LOAD timeout");
        }
        self.run.get().and_then(self.pulse)
    }
}

/// A state of Lua: one script runs in it at a time.
pub(in crate::scripts) struct State {
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
    // SAFETY: `ud` is the `Shared` of the state, which outlives it.
    let shared = unsafe { &*ud.cast::<Shared>() };
    let old = if at.is_null() { 0 } else { old };
    let used = shared.used.get() - old + new;
    if new > old && used > MEMORY_MAX && !shared.in_rust.get() {
        return null_mut();
    }
    // SAFETY: `at` came from here with size `old`, as Lua promises.
    let got = unsafe { shared.spare.realloc(at.cast(), old, new) };
    if new > 0 && got.is_null() && shared.in_rust.get() {
        // The machine has no memory left. Lua would jump over frames that own things.
        handle_alloc_error(Layout::new::<u8>());
    }
    if new == 0 || !got.is_null() {
        shared.used.set(used);
    }
    got.cast()
}

impl State {
    /// A state with nothing in it.
    pub(in crate::scripts) fn new(pulse: Pulse) -> Self {
        let shared = Box::new(Shared {
            used: Cell::new(0),
            in_rust: Cell::new(true),
            killed: Cell::new(None),
            run: Cell::new(None),
            loading: Cell::new(None),
            deadline: Cell::new(None),
            json: Cell::new(JsonConfig::DEFAULT),
            random: Cell::new(0),
            spare: Spare::default(),
            steps: Cell::new(0),
            pulse,
        });
        let shared = NonNull::from(Box::leak(shared));
        // SAFETY: `allocate` takes what it is given here.
        let raw = unsafe { ffi::lua_newstate(allocate, shared.as_ptr().cast()) };
        let raw = NonNull::new(raw).expect("memory for an interpreter");
        Self { raw, shared }
    }

    /// Opens a library of Lua's own.
    pub(in crate::scripts) fn open(&mut self, name: &CStr, library: ffi::lua_CFunction) {
        // SAFETY: allocations do not fail here (`in_rust`), and the libraries raise no other errors while they are opened.
        unsafe {
            let raw = self.raw.as_ptr();
            ffi::lua_pushcclosure(raw, library, 0);
            ffi::lua_pushstring(raw, name.as_ptr());
            ffi::lua_call(raw, 1, 0);
        }
    }

    pub(in crate::scripts) fn shared(&self) -> &Shared {
        // SAFETY: lives as long as the state.
        unsafe { self.shared.as_ref() }
    }

    /// Bytes that Lua uses.
    pub(in crate::scripts) fn used(&self) -> usize {
        self.shared().used.get()
    }

    /// The stack, while no script runs.
    pub(in crate::scripts) fn stack(&mut self) -> Stack<'_> {
        // SAFETY: the state lives as long as it is borrowed, and no script runs: `in_rust` is set.
        unsafe { Stack::of(self.raw.as_ptr()) }
    }

    /// Compiles a source and leaves the function on the stack, or returns why it cannot be.
    pub(in crate::scripts) fn load(&mut self, source: &[u8], name: &CStr) -> Result<(), Vec<u8>> {
        // Here memory may be refused: nothing of ours is jumped over.
        self.shared().in_rust.set(false);
        // SAFETY: the caller of a state keeps its stack short; errors end in `load`.
        let status = unsafe { compile::load(self.raw.as_ptr(), source, name) };
        self.shared().in_rust.set(true);
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
    pub(in crate::scripts) fn call(&mut self, arguments: usize, handler: i32) -> bool {
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

    /// Frees all garbage.
    pub(in crate::scripts) fn collect(&mut self) {
        // SAFETY: nothing that scripts can make has a finalizer, so that none of their code runs here.
        unsafe {
            ffi::lua_gc(self.raw.as_ptr(), ffi::LUA_GCCOLLECT, 0);
        }
    }
}

/// What belongs to the state of a thread of Lua.
///
/// # Safety
/// The state was made by [`State::new`] and lives.
pub(in crate::scripts) unsafe fn shared<'l>(raw: *mut ffi::lua_State) -> &'l Shared {
    let mut ud = null_mut();
    // SAFETY: as promised by the caller; `ud` is what `State::new` gave the allocator.
    unsafe {
        ffi::lua_getallocf(raw, &mut ud);
        &*ud.cast::<Shared>()
    }
}

//! How Lua enters functions of ours, and how errors leave them.

use super::stack::Stack;
use super::state::{MEMORY_MAX, shared};
use mlua_sys as ffi;
use std::borrow::Cow;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An error on its way to the script.
#[derive(Debug)]
pub(in crate::scripts) enum Raise {
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
        text.into_bytes().into()
    }
}

impl From<Vec<u8>> for Raise {
    fn from(text: Vec<u8>) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// What a function that scripts call returns: how many values it leaves on the stack.
pub(in crate::scripts) type Returned = Result<usize, Raise>;

/// A function that scripts call.
pub(in crate::scripts) type Function = fn(&mut Stack<'_>) -> Returned;

/// Pushes a table with the text as its `err`: how errors of commands come to scripts.
pub(in crate::scripts) fn push_error_table(stack: &mut Stack<'_>, text: &[&[u8]]) {
    stack.new_table(0, 1);
    match text {
        [text] => stack.push_bytes(text),
        pieces => stack.push_bytes(&pieces.concat()),
    }
    stack.raw_set_field(-2, "err");
}

/// Every so many instructions: a look at the time, and the end of a script that is to end.
pub(super) unsafe extern "C-unwind" fn hook(raw: *mut ffi::lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: called by Lua, with a state that lives; this frame owns nothing.
    unsafe {
        if is_over(raw) {
            raise_killed(raw);
        }
    }
}

/// A look at the time and at SCRIPT KILL: whether the script has to end.
///
/// # Safety
/// Called by Lua, or from a function that Lua has called and that uses nothing of what runs.
pub(in crate::scripts) unsafe fn is_over(raw: *mut ffi::lua_State) -> bool {
    // SAFETY: as promised by the caller, the state lives.
    let shared = unsafe { shared(raw) };
    if shared.killed.get().is_none() {
        shared.in_rust.set(true);
        shared.killed.set(shared.over());
        shared.in_rust.set(false);
    }
    shared.killed.get().is_some()
}

/// Ends the script with the error of those that were killed. From here on every line does: `pcall` cannot hold it up.
///
/// # Safety
/// Called by Lua, from a frame that owns nothing, of a state whose script has been killed.
pub(in crate::scripts) unsafe fn raise_killed(raw: *mut ffi::lua_State) -> ! {
    // SAFETY: as promised by the caller; `in_rust` is set as long as the `Stack` is used, which has the room it asks for.
    unsafe {
        ffi::lua_sethook(raw, Some(hook), ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT, 1);
        let shared = shared(raw);
        shared.in_rust.set(true);
        let text = shared.killed.get().unwrap_or_default();
        if ffi::lua_checkstack(raw, 3) != 0 {
            push_error_table(&mut Stack::of(raw), &[b"ERR ", text.as_bytes()]);
        }
        shared.in_rust.set(false);
        ffi::lua_error(raw)
    }
}

/// Called by Lua for every function of ours; raises what it returns. Owns nothing.
pub(super) unsafe extern "C-unwind" fn trampoline(raw: *mut ffi::lua_State) -> c_int {
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
    // SAFETY: the upvalue was put there by `Stack::push_function`, and is a `Function`.
    let (shared, function) = unsafe {
        let function = ffi::lua_touserdata(raw, ffi::lua_upvalueindex(1));
        (shared(raw), std::mem::transmute::<*mut c_void, Function>(function))
    };
    shared.in_rust.set(true);
    // SAFETY: the state lives while Lua runs in it, and `in_rust` is set for as long as the `Stack` is there.
    let mut stack = unsafe { Stack::of(raw) };
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

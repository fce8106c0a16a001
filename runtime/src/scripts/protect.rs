//! What scripts must not do with Lua itself: functions that take the place of those of Lua, or stand in front of them.
//!
//! They know Lua as C does, because they pass arguments and errors of the originals through as they are. So none of them owns
//! anything: an error may jump over any of these frames.
//!
//! A table that scripts may read but not change is given to them as an empty one with a metatable (see `sandbox.rs`):
//!
//! | field of the metatable | holds                                                    |
//! |------------------------|----------------------------------------------------------|
//! | `1`                    | [`MARK`]: scripts cannot make one, so it is ours         |
//! | `2`                    | the table itself                                         |
//! | `3`                    | what `getmetatable` shows                                |
//! | `__index`              | the table itself                                         |
//! | `__newindex`           | [`read_only`]                                            |
//!
//! What works without metatables (`rawset`, `next` and the like) has a guard here that knows of these.

use super::lua::{load, raise_killed, shared};
use mlua_sys as ffi;
use std::ffi::{CStr, c_char, c_int, c_void};

/// The mark of our metatables: only its address matters. Scripts can get hold of no such value.
static MARK: u8 = 0;

/// Values that fit the stack of a function (`LUAI_MAXCSTACK`).
const STACK_MAX: i64 = 8_000;

/// The mark, as a value.
pub(super) fn mark() -> *mut c_void {
    (&raw const MARK).cast_mut().cast()
}

/// What stands in front of functions of Lua: the table they are in, their name, and the guard, which has the original as its
/// upvalue.
pub(super) const GUARDS: &[(&str, &str, ffi::lua_CFunction)] = &[
    ("", "rawset", changes_table),
    ("", "setmetatable", changes_table),
    ("table", "insert", changes_table),
    ("", "rawget", rawget),
    ("", "next", next),
    ("", "getmetatable", getmetatable),
    ("", "unpack", unpack),
    ("coroutine", "resume", resumes),
];

/// What takes the place of functions of Lua.
pub(super) const REPLACEMENTS: &[(&str, ffi::lua_CFunction)] = &[
    ("pcall", pcall),
    ("xpcall", xpcall),
    ("pairs", pairs),
    ("load", load_pieces),
    ("loadstring", load_string),
    ("collectgarbage", collect_garbage),
];

// SAFETY of all functions below: called by Lua with its state. None owns anything, so errors may jump over them.

/// Raises a text with the place of the caller in front of it.
pub(super) unsafe fn raise(raw: *mut ffi::lua_State, text: &CStr) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_where(raw, 1);
        ffi::lua_pushstring(raw, text.as_ptr());
        ffi::lua_concat(raw, 2);
        ffi::lua_error(raw)
    }
}

/// Whether a value is a table that scripts must not change. If so, its metatable is pushed.
unsafe fn push_protection(raw: *mut ffi::lua_State, at: c_int) -> bool {
    // SAFETY: as above.
    unsafe {
        if ffi::lua_type(raw, at) != ffi::LUA_TTABLE || ffi::lua_getmetatable(raw, at) == 0 {
            return false;
        }
        ffi::lua_rawgeti(raw, -1, 1);
        let ours =
            ffi::lua_type(raw, -1) == ffi::LUA_TLIGHTUSERDATA && ffi::lua_touserdata(raw, -1) == mark();
        ffi::lua_settop(raw, if ours { -2 } else { -3 });
        ours
    }
}

/// Calls the function that a guard stands in front of.
unsafe fn original(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above; the upvalue was put there by `sandbox.rs`.
    unsafe {
        match ffi::lua_tocfunction(raw, ffi::lua_upvalueindex(1)) {
            Some(function) => function(raw),
            None => raise(raw, c"internal error"),
        }
    }
}

/// `__newindex` of what scripts must not change.
pub(super) unsafe extern "C-unwind" fn read_only(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { raise(raw, c"Attempt to modify a readonly table") }
}

/// `__index` of the globals.
pub(super) unsafe extern "C-unwind" fn no_such_global(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if ffi::lua_gettop(raw) != 2 {
            return raise(raw, c"Wrong number of arguments to luaProtectedTableError");
        }
        if ffi::lua_isstring(raw, 2) == 0 {
            return raise(raw, c"Second argument to luaProtectedTableError must be a string or number");
        }
        ffi::luaL_where(raw, 1);
        ffi::lua_pushstring(raw, c"Script attempted to access nonexistent global variable '".as_ptr());
        ffi::lua_pushvalue(raw, 2);
        ffi::lua_pushstring(raw, c"'".as_ptr());
        ffi::lua_concat(raw, 4);
        ffi::lua_error(raw)
    }
}

/// In front of what changes the table that is its first argument.
unsafe extern "C-unwind" fn changes_table(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { if push_protection(raw, 1) { read_only(raw) } else { original(raw) } }
}

unsafe extern "C-unwind" fn rawget(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        if ffi::lua_gettop(raw) >= 2 {
            look_behind_protection(raw);
        }
        original(raw)
    }
}

/// The keys of a protected table are those of the table behind it.
unsafe extern "C-unwind" fn next(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::lua_settop(raw, 2);
        look_behind_protection(raw);
        original(raw)
    }
}

/// Puts the table behind a protected one in its place as the first of two arguments.
unsafe fn look_behind_protection(raw: *mut ffi::lua_State) {
    // SAFETY: as above.
    unsafe {
        ffi::lua_settop(raw, 2);
        if push_protection(raw, 1) {
            ffi::lua_rawgeti(raw, -1, 2);
            ffi::lua_replace(raw, 1);
            ffi::lua_settop(raw, 2);
        }
    }
}

unsafe extern "C-unwind" fn pairs(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above; the upvalue is the guarded `next`.
    unsafe {
        ffi::luaL_checktype(raw, 1, ffi::LUA_TTABLE);
        ffi::lua_pushvalue(raw, ffi::lua_upvalueindex(1));
        ffi::lua_pushvalue(raw, 1);
        ffi::lua_pushnil(raw);
        3
    }
}

unsafe extern "C-unwind" fn getmetatable(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above. Strings have a metatable of ours, too.
    unsafe {
        let is_string = ffi::lua_type(raw, 1) == ffi::LUA_TSTRING && ffi::lua_getmetatable(raw, 1) != 0;
        if is_string || push_protection(raw, 1) {
            ffi::lua_rawgeti(raw, -1, 3);
            return 1;
        }
        original(raw)
    }
}

/// The original computes the number of results as an `int`, which may run over (CVE-2025-46817).
unsafe extern "C-unwind" fn unpack(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let number = |at: c_int, otherwise: i64| {
            if ffi::lua_type(raw, at) <= ffi::LUA_TNIL {
                otherwise
            } else {
                ffi::lua_tonumber(raw, at) as i64
            }
        };
        if ffi::lua_type(raw, 1) == ffi::LUA_TTABLE {
            let first = number(2, 1);
            let last = number(3, ffi::lua_objlen(raw, 1) as i64);
            let fits = |n: i64| i32::try_from(n).is_ok();
            if !fits(first) || !fits(last) || last - first >= STACK_MAX {
                return raise(raw, c"too many results to unpack");
            }
        }
        original(raw)
    }
}

/// As `pcall` of Lua, but for errors of commands: of those the script is given the text, as it was before they were tables.
unsafe extern "C-unwind" fn pcall(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checkany(raw, 1);
        let arguments = ffi::lua_gettop(raw) - 1;
        let failed = ffi::lua_pcall(raw, arguments, ffi::LUA_MULTRET, 0) != ffi::LUA_OK;
        if shared(raw).killed.get().is_some() {
            raise_killed(raw);
        }
        if ffi::lua_checkstack(raw, 2) == 0 {
            ffi::lua_settop(raw, 0);
            return raise(raw, c"stack overflow");
        }
        if failed && ffi::lua_type(raw, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushstring(raw, c"err".as_ptr());
            ffi::lua_rawget(raw, -2);
            if ffi::lua_isstring(raw, -1) != 0 {
                ffi::lua_replace(raw, -2);
            } else {
                ffi::lua_settop(raw, -2);
            }
        }
        ffi::lua_pushboolean(raw, c_int::from(!failed));
        ffi::lua_insert(raw, 1);
        ffi::lua_gettop(raw)
    }
}

/// As `xpcall` of Lua, which forgets to make room for what it returns.
unsafe extern "C-unwind" fn xpcall(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::luaL_checkany(raw, 2);
        ffi::lua_settop(raw, 2);
        ffi::lua_pushcclosure(raw, handles_error, 1);
        ffi::lua_insert(raw, 1);
        let failed = ffi::lua_pcall(raw, 0, ffi::LUA_MULTRET, 1) != ffi::LUA_OK;
        if shared(raw).killed.get().is_some() {
            raise_killed(raw);
        }
        if ffi::lua_checkstack(raw, 1) == 0 {
            ffi::lua_settop(raw, 0);
            return raise(raw, c"stack overflow");
        }
        ffi::lua_pushboolean(raw, c_int::from(!failed));
        ffi::lua_replace(raw, 1);
        ffi::lua_gettop(raw)
    }
}

/// In front of the handler of `xpcall`, which is its upvalue: it hears of no error that ends the script. Such an error comes
/// from the hook, and while that is under way Lua calls no other: nobody could end the handler.
unsafe extern "C-unwind" fn handles_error(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        ffi::lua_settop(raw, 1);
        if shared(raw).killed.get().is_none() {
            ffi::lua_pushvalue(raw, ffi::lua_upvalueindex(1));
            ffi::lua_insert(raw, 1);
            ffi::lua_call(raw, 1, 1);
        }
        1
    }
}

/// In front of `coroutine.resume`, which returns errors as values: not those that end the script.
unsafe extern "C-unwind" fn resumes(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above.
    unsafe {
        let results = original(raw);
        if shared(raw).killed.get().is_some() {
            raise_killed(raw);
        }
        results
    }
}

/// `loadstring`: text only.
unsafe extern "C-unwind" fn load_string(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above. The strings are on the stack while they are used.
    unsafe {
        let mut len = 0;
        let source = ffi::luaL_checklstring(raw, 1, &mut len);
        let name = ffi::luaL_optlstring(raw, 2, source, std::ptr::null_mut());
        loaded(raw, load(raw, std::slice::from_raw_parts(source.cast(), len), CStr::from_ptr(name)))
    }
}

/// `load`: as `loadstring`, with the source in pieces.
unsafe extern "C-unwind" fn load_pieces(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above. The pieces are put together in a buffer of Lua's.
    unsafe {
        ffi::luaL_checktype(raw, 1, ffi::LUA_TFUNCTION);
        let name = ffi::luaL_optlstring(raw, 2, c"=(load)".as_ptr(), std::ptr::null_mut());
        ffi::lua_settop(raw, 2);
        ffi::lua_pushstring(raw, c"".as_ptr());
        loop {
            ffi::lua_pushvalue(raw, 1);
            ffi::lua_call(raw, 0, 1);
            match ffi::lua_type(raw, -1) {
                ffi::LUA_TNIL => break,
                ffi::LUA_TSTRING | ffi::LUA_TNUMBER => {
                    if ffi::lua_objlen(raw, -1) == 0 {
                        break;
                    }
                    ffi::lua_concat(raw, 2);
                }
                _ => {
                    ffi::lua_pushnil(raw);
                    ffi::lua_pushstring(raw, c"reader function must return a string".as_ptr());
                    return 2;
                }
            }
        }
        let mut len = 0;
        let source: *const c_char = ffi::lua_tolstring(raw, 3, &mut len);
        loaded(raw, load(raw, std::slice::from_raw_parts(source.cast(), len), CStr::from_ptr(name)))
    }
}

/// What `load` and `loadstring` return.
unsafe fn loaded(raw: *mut ffi::lua_State, status: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        if status == ffi::LUA_OK {
            return 1;
        }
        ffi::lua_pushnil(raw);
        ffi::lua_insert(raw, -2);
        2
    }
}

/// A script may have its garbage collected. How the collector works is not its business: others come after it.
unsafe extern "C-unwind" fn collect_garbage(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: as above; the options end with a null.
    unsafe {
        let mut len = 0;
        let option = ffi::luaL_optlstring(raw, 1, c"collect".as_ptr(), &mut len);
        match CStr::from_ptr(option).to_bytes() {
            b"collect" => ffi::lua_pushnumber(raw, f64::from(ffi::lua_gc(raw, ffi::LUA_GCCOLLECT, 0))),
            b"step" => {
                let done = ffi::lua_gc(raw, ffi::LUA_GCSTEP, ffi::luaL_optinteger(raw, 2, 0) as c_int);
                ffi::lua_pushboolean(raw, done);
            }
            b"count" => {
                let (kb, rest) =
                    (ffi::lua_gc(raw, ffi::LUA_GCCOUNT, 0), ffi::lua_gc(raw, ffi::LUA_GCCOUNTB, 0));
                ffi::lua_pushnumber(raw, f64::from(kb) + f64::from(rest) / 1024.0);
            }
            b"stop" | b"restart" | b"setpause" | b"setstepmul" => ffi::lua_pushnumber(raw, 0.0),
            _ => {
                let why = ffi::lua_pushfstring(raw, c"invalid option '%s'".as_ptr(), option);
                return ffi::luaL_argerror(raw, 1, why);
            }
        }
        1
    }
}

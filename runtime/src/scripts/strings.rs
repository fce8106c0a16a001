//! `string.find`, `match`, `gmatch` and `gsub`, with the matcher of `pattern.rs` in place of that of Lua.
//!
//! They know Lua as C does, as `protect.rs` does: `gsub` calls functions of the script, whose errors jump over its frame. So
//! none of them owns anything.

use super::lua::{is_over, raise_killed};
use super::pattern::{Capture, Captures, Failure, Matcher};
use super::protect::raise;
use mlua_sys as ffi;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// What takes the place of functions of Lua's `string`.
pub(super) const FUNCTIONS: &[(&str, ffi::lua_CFunction)] =
    &[("find", find), ("match", first_match), ("gmatch", gmatch), ("gsub", gsub)];

// What all functions below rest on, and each `unsafe` says how: `raw` is the state that Lua called with. No frame
// owns anything, so errors may jump over it. A string stays where it is as long as it is an argument or an upvalue.

/// An argument that has to be a string.
unsafe fn text<'l>(raw: *mut ffi::lua_State, at: c_int) -> &'l [u8] {
    let mut len = 0;
    // SAFETY: the pointer and the length are those of one string of Lua, which is an argument or an upvalue of
    // the caller for `'l`.
    unsafe { std::slice::from_raw_parts(ffi::luaL_checklstring(raw, at, &mut len).cast(), len) }
}

/// Raises what the matcher says, or the error of a script that has to end.
unsafe fn fail(raw: *mut ffi::lua_State, failure: Failure) -> c_int {
    // SAFETY: the texts of errors are literals, and neither this frame nor those that called it own what would
    // have to be dropped.
    unsafe {
        match failure {
            Failure::Malformed(why) => raise(raw, why),
            Failure::Ended => raise_killed(raw),
        }
    }
}

/// Pushes a capture; without any, the first is the whole match.
unsafe fn push_capture(
    raw: *mut ffi::lua_State,
    text: &[u8],
    captures: &Captures,
    at: usize,
    (start, end): (usize, usize),
) {
    let push = |start: usize, end: usize| {
        let part = &text[start..end];
        // SAFETY: `part` lives in the subject, which is still on the stack; there is room for one value, or
        // for all, as `push_captures` sees to.
        unsafe { ffi::lua_pushlstring(raw, part.as_ptr().cast(), part.len()) };
    };
    match captures.all().get(at) {
        None if at == 0 => push(start, end),
        Some(Capture::Text(start, end)) => push(*start, *end),
        // SAFETY: a number, for which there is room in the same way.
        Some(Capture::At(position)) => unsafe {
            ffi::lua_pushinteger(raw, *position as ffi::lua_Integer + 1)
        },
        // SAFETY: the text is a literal, and this frame owns nothing that the error jumps over.
        None => unsafe {
            raise(raw, c"invalid capture index");
        },
        // SAFETY: the text is a literal, and this frame owns nothing that the error jumps over.
        Some(Capture::Open(_)) => unsafe {
            raise(raw, c"unfinished capture");
        },
    }
}

/// Pushes all captures, or the whole match if there are none and it is `wanted`. Returns how many these are.
unsafe fn push_captures(
    raw: *mut ffi::lua_State,
    text: &[u8],
    captures: &Captures,
    found: (usize, usize),
    wanted: bool,
) -> c_int {
    let count = captures.all().len().max(usize::from(wanted));
    // SAFETY: room is made before anything is pushed, and the captures own nothing should there be none.
    unsafe {
        ffi::luaL_checkstack(raw, count as c_int, c"too many captures".as_ptr());
        (0..count).for_each(|at| push_capture(raw, text, captures, at, found));
    }
    count as c_int
}

unsafe extern "C-unwind" fn find(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: called by Lua with its state, which is passed on.
    unsafe { look(raw, true) }
}

unsafe extern "C-unwind" fn first_match(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: called by Lua with its state, which is passed on.
    unsafe { look(raw, false) }
}

/// `find` gives the place of the match and its captures, `match` only these.
unsafe fn look(raw: *mut ffi::lua_State, with_place: bool) -> c_int {
    const SPECIAL: &[u8] = b"^$*+?.([%-";
    // SAFETY: both strings are arguments, and stay on the stack until this returns: what is pushed lies above
    // them. The matcher borrows from them and owns nothing.
    unsafe {
        let (text, pattern) = (text(raw, 1), text(raw, 2));
        // As C does, from the end if it is negative.
        let first = ffi::luaL_optinteger(raw, 3, 1) as i64;
        let from = if first < 0 { first.saturating_add(text.len() as i64) } else { first - 1 };
        let from = usize::try_from(from).unwrap_or(0).min(text.len());
        let plain = with_place
            && (ffi::lua_toboolean(raw, 4) != 0 || !pattern.iter().any(|byte| SPECIAL.contains(byte)));
        if plain {
            let Some(at) = memchr::memmem::find(&text[from..], pattern) else {
                ffi::lua_pushnil(raw);
                return 1;
            };
            ffi::lua_pushinteger(raw, (from + at + 1) as ffi::lua_Integer);
            ffi::lua_pushinteger(raw, (from + at + pattern.len()) as ffi::lua_Integer);
            return 2;
        }
        let goes_on = || !is_over(raw);
        let anchored = pattern.first() == Some(&b'^');
        let mut matcher = Matcher::new(text, &pattern[usize::from(anchored)..], &goes_on);
        match matcher.find(from, anchored) {
            Err(failure) => fail(raw, failure),
            Ok(None) => {
                ffi::lua_pushnil(raw);
                1
            }
            Ok(Some((start, end))) => {
                if with_place {
                    ffi::lua_pushinteger(raw, start as ffi::lua_Integer + 1);
                    ffi::lua_pushinteger(raw, end as ffi::lua_Integer);
                }
                let place = if with_place { 2 } else { 0 };
                place + push_captures(raw, text, matcher.captures(), (start, end), !with_place)
            }
        }
    }
}

unsafe extern "C-unwind" fn gmatch(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: called by Lua; `settop` leaves the two strings that are checked before it, and with the number
    // there are the three values that the closure takes for its upvalues.
    unsafe {
        text(raw, 1);
        text(raw, 2);
        ffi::lua_settop(raw, 2);
        ffi::lua_pushinteger(raw, 0);
        ffi::lua_pushcclosure(raw, next_match, 3);
        1
    }
}

/// What `gmatch` returns. Its upvalues are the text, the pattern, and where to go on.
unsafe extern "C-unwind" fn next_match(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: the strings are upvalues of this closure, which `gmatch` made with all three, and which Lua keeps
    // while it runs. The third is replaced by a number that has just been pushed.
    unsafe {
        let (text, pattern) = (text(raw, ffi::lua_upvalueindex(1)), text(raw, ffi::lua_upvalueindex(2)));
        let from = usize::try_from(ffi::lua_tointeger(raw, ffi::lua_upvalueindex(3))).unwrap_or(0);
        let goes_on = || !is_over(raw);
        let mut matcher = Matcher::new(text, pattern, &goes_on);
        match matcher.find(from, false) {
            Err(failure) => fail(raw, failure),
            Ok(None) => 0,
            Ok(Some((start, end))) => {
                // Behind a match of nothing a byte is skipped.
                let next = end + usize::from(end == start);
                ffi::lua_pushinteger(raw, next as ffi::lua_Integer);
                ffi::lua_replace(raw, ffi::lua_upvalueindex(3));
                push_captures(raw, text, matcher.captures(), (start, end), true)
            }
        }
    }
}

unsafe extern "C-unwind" fn gsub(raw: *mut ffi::lua_State) -> c_int {
    // SAFETY: called by Lua; text and pattern are arguments and stay where they are. The buffer lies on the stack
    // of Lua, but for its last piece, which is in this frame and owns nothing; between its calls as many values
    // are popped as were pushed, as it demands.
    unsafe {
        let (text, pattern) = (text(raw, 1), text(raw, 2));
        let kind = ffi::lua_type(raw, 3);
        let known = [ffi::LUA_TNUMBER, ffi::LUA_TSTRING, ffi::LUA_TTABLE, ffi::LUA_TFUNCTION].contains(&kind);
        let max = ffi::luaL_optinteger(raw, 4, text.len() as ffi::lua_Integer + 1) as c_int;
        if !known {
            return ffi::luaL_argerror(raw, 3, c"string/function/table expected".as_ptr());
        }
        let goes_on = || !is_over(raw);
        let anchored = pattern.first() == Some(&b'^');
        let mut matcher = Matcher::new(text, &pattern[usize::from(anchored)..], &goes_on);
        let mut buffer = MaybeUninit::<ffi::luaL_Buffer>::uninit();
        let buffer = buffer.as_mut_ptr();
        ffi::luaL_buffinit(raw, buffer);
        let (mut at, mut count) = (0, 0);
        while count < max {
            let end = match matcher.at(at) {
                Ok(end) => end,
                Err(failure) => return fail(raw, failure),
            };
            if let Some(end) = end {
                count += 1;
                add_replacement(raw, buffer, text, matcher.captures(), (at, end));
            }
            match (end, text.get(at)) {
                (Some(end), _) if end > at => at = end,
                (_, Some(byte)) => {
                    add(buffer, std::slice::from_ref(byte));
                    at += 1;
                }
                (_, None) => break,
            }
            if anchored {
                break;
            }
        }
        add(buffer, &text[at..]);
        ffi::luaL_pushresult(buffer);
        ffi::lua_pushinteger(raw, count as ffi::lua_Integer);
        2
    }
}

unsafe fn add(buffer: *mut ffi::luaL_Buffer, bytes: &[u8]) {
    // SAFETY: the buffer is that of `gsub`, which has begun it and lives; the bytes are copied.
    unsafe { ffi::luaL_addlstring(buffer, bytes.as_ptr().cast(), bytes.len()) }
}

/// Adds what takes the place of a match: what the third argument says.
unsafe fn add_replacement(
    raw: *mut ffi::lua_State,
    buffer: *mut ffi::luaL_Buffer,
    whole: &[u8],
    captures: &Captures,
    found: (usize, usize),
) {
    // SAFETY: the third argument of `gsub` is still there. Whatever it is, one value is left above the buffer's
    // own, which the buffer takes or which is popped; an error jumps over frames that own nothing.
    unsafe {
        match ffi::lua_type(raw, 3) {
            ffi::LUA_TFUNCTION => {
                ffi::lua_pushvalue(raw, 3);
                let count = push_captures(raw, whole, captures, found, true);
                ffi::lua_call(raw, count, 1);
            }
            ffi::LUA_TTABLE => {
                push_capture(raw, whole, captures, 0, found);
                ffi::lua_gettable(raw, 3);
            }
            _ => return add_template(raw, buffer, whole, captures, found),
        }
        if ffi::lua_toboolean(raw, -1) == 0 {
            ffi::lua_settop(raw, -2);
            return add(buffer, &whole[found.0..found.1]);
        }
        if ffi::lua_isstring(raw, -1) == 0 {
            let kind: *const c_void = ffi::lua_typename(raw, ffi::lua_type(raw, -1)).cast();
            ffi::luaL_where(raw, 1);
            ffi::lua_pushstring(raw, c"invalid replacement value (a ".as_ptr());
            ffi::lua_pushstring(raw, kind.cast());
            ffi::lua_pushstring(raw, c")".as_ptr());
            ffi::lua_concat(raw, 4);
            ffi::lua_error(raw);
        }
        ffi::luaL_addvalue(buffer);
    }
}

/// A text with `%0` for the match, `%1` to `%9` for its captures, and `%` before a byte that stands for itself.
unsafe fn add_template(
    raw: *mut ffi::lua_State,
    buffer: *mut ffi::luaL_Buffer,
    whole: &[u8],
    captures: &Captures,
    found: (usize, usize),
) {
    // SAFETY: the third argument is a string, or a number that becomes one in its place before anything is
    // pushed. The buffer takes each capture that is pushed.
    unsafe {
        let mut template = text(raw, 3);
        while let Some(sign) = memchr::memchr(b'%', template) {
            add(buffer, &template[..sign]);
            match template.get(sign + 1) {
                Some(b'0') => add(buffer, &whole[found.0..found.1]),
                Some(digit @ b'1'..=b'9') => {
                    push_capture(raw, whole, captures, usize::from(digit - b'1'), found);
                    ffi::luaL_addvalue(buffer);
                }
                // Behind the end of a string C finds a zero byte.
                other => add(buffer, &[other.copied().unwrap_or(0)]),
            }
            template = template.get(sign + 2..).unwrap_or_default();
        }
        add(buffer, template);
    }
}

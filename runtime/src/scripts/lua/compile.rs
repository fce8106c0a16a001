//! Sources to functions.

use mlua_sys as ffi;
use std::ffi::{CStr, c_char, c_int, c_void};

/// A source in pieces: one of them hides the first byte of what `string.dump` made.
struct Pieces {
    pieces: [(*const c_char, usize); 2],
    next: usize,
}

/// Compiles text. Never what `string.dump` made: it is not checked, and so could reach anything. A first byte that would
/// mark it so is hidden behind a space, and the parser complains about it as about any other.
///
/// The collector rests meanwhile: the parser of 5.1 holds strings that the collector does not know of (CVE-2025-49844).
///
/// # Safety
/// `raw` is a state with room for two values. Errors do not leave this function.
pub(in crate::scripts) unsafe fn load(raw: *mut ffi::lua_State, source: &[u8], name: &CStr) -> c_int {
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

/// Called by Lua for the next piece; none is left when its length is zero.
unsafe extern "C-unwind" fn read(_: *mut ffi::lua_State, ud: *mut c_void, len: *mut usize) -> *const c_char {
    // SAFETY: `ud` is the `Pieces` of `load`, which outlives the call of `lua_load`, and `len` a variable of its.
    let (pieces, len) = unsafe { (&mut *ud.cast::<Pieces>(), &mut *len) };
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

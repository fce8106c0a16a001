//! The texts of errors: which argument it was, and where.

use super::entry::Raise;
use super::stack::{Kind, Stack};
use mlua_sys as ffi;
use std::borrow::Cow;
use std::ffi::CStr;

impl Stack<'_> {
    /// What Lua knows of a function that is being called: those things that `what` asks for. None: there is no such level.
    fn look_up(&self, level: i32, what: &CStr) -> Option<ffi::lua_Debug> {
        // SAFETY: plain data, filled by Lua below; all its fields may be zero.
        let mut info: ffi::lua_Debug = unsafe { std::mem::zeroed() };
        // SAFETY: the state lives. What is asked for (`n`, `S`, `l`) neither pushes nor pops, and raises nothing.
        let found = unsafe {
            ffi::lua_getstack(self.raw(), level, &mut info) != 0
                && ffi::lua_getinfo(self.raw(), what.as_ptr(), &mut info) != 0
        };
        found.then_some(info)
    }

    /// The refusal of an argument, in the words of Lua.
    pub(in crate::scripts) fn bad_argument(&self, at: i32, why: impl AsRef<[u8]>) -> Raise {
        let (mut at, why) = (at, why.as_ref());
        let info = self.look_up(0, c"n").filter(|info| !info.name.is_null());
        let (name, is_method) = match &info {
            None => (Cow::Borrowed("?"), false),
            // SAFETY: texts that live as long as the function that is being called.
            Some(info) => unsafe {
                let is_method = CStr::from_ptr(info.namewhat) == c"method";
                (CStr::from_ptr(info.name).to_string_lossy(), is_method)
            },
        };
        if is_method {
            at -= 1;
            if at == 0 {
                return [format!("calling '{name}' on bad self (").as_bytes(), why, b")"].concat().into();
            }
        }
        [format!("bad argument #{at} to '{name}' (").as_bytes(), why, b")"].concat().into()
    }

    fn wrong_kind(&self, at: i32, wanted: &str) -> Raise {
        self.bad_argument(at, format!("{wanted} expected, got {}", self.kind_name(at)))
    }

    /// An argument that has to be a string.
    pub(in crate::scripts) fn string_argument(&self, at: i32) -> Result<&[u8], Raise> {
        if self.is_string(at) { Ok(self.bytes(at)) } else { Err(self.wrong_kind(at, "string")) }
    }

    /// An argument that has to be a number.
    pub(in crate::scripts) fn number_argument(&self, at: i32) -> Result<f64, Raise> {
        if self.is_number(at) { Ok(self.number(at)) } else { Err(self.wrong_kind(at, "number")) }
    }

    /// A value as `tostring` shows it, without asking metatables.
    pub(in crate::scripts) fn describe(&mut self, at: i32) -> Vec<u8> {
        match self.kind(at) {
            Kind::String | Kind::Number => {
                self.push(at);
                let text = self.bytes(-1).to_vec();
                self.pop(1);
                text
            }
            Kind::Boolean => self.boolean(at).to_string().into_bytes(),
            Kind::Nil | Kind::None => b"nil".to_vec(),
            _ => format!("{}: {:#x}", self.kind_name(at), self.address(at)).into_bytes(),
        }
    }

    /// Where the error that is being handled was raised: the source and the line.
    pub(in crate::scripts) fn place_of_error(&self) -> Option<(Vec<u8>, i32)> {
        for level in 1..=2 {
            let info = self.look_up(level, c"Sl")?;
            // SAFETY: texts that live as long as the function that is being called.
            let (what, source) = unsafe { (CStr::from_ptr(info.what), CStr::from_ptr(info.source)) };
            if what != c"C" || level == 2 {
                return Some((source.to_bytes().to_vec(), info.currentline));
            }
        }
        None
    }
}

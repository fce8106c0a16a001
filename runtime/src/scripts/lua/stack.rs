//! What functions of ours may do with the values of a state.

use super::entry::{Function, Raise, trampoline};
use super::state::{MEMORY_MAX, Shared, State, shared};
use crate::scripts::protect;
use mlua_sys as ffi;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scripts) enum Kind {
    None,
    Nil,
    Boolean,
    Number,
    String,
    Table,
    Function,
    Other,
}

/// The stack of a function that runs. Indexes are Lua's: from 1 up, or from -1 down.
///
/// What its operations rely on:
/// - the state lives, and `Shared::in_rust` is set, as long as the `Stack` is there ([`Stack::of`]): so no allocation fails
///   and none of them raises an error;
/// - an index from the top down names a value that the caller has pushed, or knows to be there; one from the bottom up may be
///   beyond the top. Lua's own assertions, which debug builds have, check that;
/// - there is room for 20 values beyond the arguments; who pushes more asks for it with [`room`](Self::room). The same
///   assertions check it.
pub(in crate::scripts) struct Stack<'l> {
    raw: *mut ffi::lua_State,
    state: PhantomData<&'l State>,
}

/// A value that is kept in a state while it is on no stack.
#[derive(Debug)]
pub(in crate::scripts) struct Kept(c_int);

impl Stack<'_> {
    /// The stack of what runs in a state.
    ///
    /// # Safety
    /// The state was made by [`State::new`]. It lives, and its `Shared::in_rust` is set, for as long as the result is used.
    pub(super) unsafe fn of(raw: *mut ffi::lua_State) -> Self {
        Self { raw, state: PhantomData }
    }

    pub(super) fn raw(&self) -> *mut ffi::lua_State {
        self.raw
    }

    pub(in crate::scripts) fn shared(&self) -> &Shared {
        // SAFETY: the state lives, and was made by `State::new`.
        unsafe { shared(self.raw) }
    }

    /// How many values there are: on entry, how many arguments.
    #[inline]
    pub(in crate::scripts) fn top(&self) -> i32 {
        // SAFETY: only reads.
        unsafe { ffi::lua_gettop(self.raw) }
    }

    #[inline]
    pub(in crate::scripts) fn set_top(&mut self, top: i32) {
        // SAFETY: down to values that are there, or up into the room that there is.
        unsafe { ffi::lua_settop(self.raw, top) }
    }

    #[inline]
    pub(in crate::scripts) fn pop(&mut self, count: i32) {
        // SAFETY: so many values are there, as the caller knows.
        unsafe { ffi::lua_settop(self.raw, -count - 1) }
    }

    /// Makes room for so many more values.
    #[inline]
    pub(in crate::scripts) fn room(&mut self, count: i32) -> bool {
        // SAFETY: refuses what is too much; the memory for the rest is not refused (`in_rust`).
        unsafe { ffi::lua_checkstack(self.raw, count) != 0 }
    }

    /// Refuses so many bytes more if they are beyond what a script may use, and garbage does not make room for them. To be
    /// called before anything that may be long is pushed: Lua itself does not refuse it (`in_rust`).
    #[inline]
    pub(in crate::scripts) fn claim(&mut self, bytes: usize) -> Result<(), Raise> {
        if self.shared().used.get().saturating_add(bytes) > MEMORY_MAX {
            self.make_room(bytes)
        } else {
            Ok(())
        }
    }

    /// [`claim`](Self::claim), for functions that work for long on what the script gave them: looks after the script from
    /// time to time, which may have been killed, or have to go on elsewhere. Not for those that use what runs (`run::current`).
    #[inline]
    pub(in crate::scripts) fn spend(&mut self, bytes: usize) -> Result<(), Raise> {
        const STEPS: u32 = 4096;
        let shared = self.shared();
        let steps = shared.steps.get() + 1;
        shared.steps.set(if steps < STEPS { steps } else { 0 });
        if steps >= STEPS {
            self.look()?;
        }
        self.claim(bytes)
    }

    /// A look at the time and at SCRIPT KILL.
    #[cold]
    fn look(&self) -> Result<(), Raise> {
        let shared = self.shared();
        if shared.killed.get().is_none() {
            shared.killed.set(shared.over());
        }
        shared.killed.get().map_or(Ok(()), |why| Err(Raise::Table(why)))
    }

    #[cold]
    fn make_room(&mut self, bytes: usize) -> Result<(), Raise> {
        // If that frees little it would be done again and again.
        const ENOUGH: usize = MEMORY_MAX / 4 * 3;
        // SAFETY: what is in use is on the stack or reachable from there, and nothing has a finalizer.
        unsafe { ffi::lua_gc(self.raw, ffi::LUA_GCCOLLECT, 0) };
        let used = self.shared().used.get();
        let fits = used <= ENOUGH && used.saturating_add(bytes) <= MEMORY_MAX;
        if fits { Ok(()) } else { Err("not enough memory".into()) }
    }

    #[inline]
    pub(in crate::scripts) fn kind(&self, at: i32) -> Kind {
        // SAFETY: only reads.
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
    pub(in crate::scripts) fn kind_name(&self, at: i32) -> &'static str {
        // SAFETY: only reads.
        let kind = unsafe { ffi::lua_type(self.raw, at) };
        if kind == ffi::LUA_TNONE {
            return "no value";
        }
        // SAFETY: the names of types are constants of Lua.
        unsafe { CStr::from_ptr(ffi::lua_typename(self.raw, kind)) }.to_str().unwrap_or_default()
    }

    #[inline]
    pub(in crate::scripts) fn boolean(&self, at: i32) -> bool {
        // SAFETY: only reads.
        unsafe { ffi::lua_toboolean(self.raw, at) != 0 }
    }

    /// A number, or a string that looks like one; else 0.
    #[inline]
    pub(in crate::scripts) fn number(&self, at: i32) -> f64 {
        // SAFETY: only reads: a string stays one.
        unsafe { ffi::lua_tonumber(self.raw, at) }
    }

    /// Whether a value is a number, or a string that looks like one.
    pub(in crate::scripts) fn is_number(&self, at: i32) -> bool {
        // SAFETY: only reads.
        unsafe { ffi::lua_isnumber(self.raw, at) != 0 }
    }

    /// Whether a value is a string or a number.
    pub(in crate::scripts) fn is_string(&self, at: i32) -> bool {
        matches!(self.kind(at), Kind::String | Kind::Number)
    }

    /// A string. A number becomes one, in its place; anything else is empty.
    #[inline]
    pub(in crate::scripts) fn bytes(&self, at: i32) -> &[u8] {
        let mut len = 0;
        // SAFETY: the string is the value's own, which nobody pops while the `Stack` is borrowed; strings never change. What
        // becomes a string of a number is not refused memory (`in_rust`).
        unsafe {
            let start = ffi::lua_tolstring(self.raw, at, &mut len);
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast(), len) }
        }
    }

    /// The address of a table, to tell it from others.
    pub(in crate::scripts) fn address(&self, at: i32) -> usize {
        // SAFETY: only reads.
        unsafe { ffi::lua_topointer(self.raw, at) as usize }
    }

    #[inline]
    pub(in crate::scripts) fn push(&mut self, at: i32) {
        // SAFETY: the value is there, and room for another.
        unsafe { ffi::lua_pushvalue(self.raw, at) }
    }

    #[inline]
    pub(in crate::scripts) fn push_nil(&mut self) {
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnil(self.raw) }
    }

    #[inline]
    pub(in crate::scripts) fn push_boolean(&mut self, yes: bool) {
        // SAFETY: there is room.
        unsafe { ffi::lua_pushboolean(self.raw, c_int::from(yes)) }
    }

    #[inline]
    pub(in crate::scripts) fn push_number(&mut self, number: f64) {
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnumber(self.raw, number) }
    }

    #[inline]
    pub(in crate::scripts) fn push_bytes(&mut self, bytes: &[u8]) {
        // SAFETY: there is room; the bytes are copied, into memory that is not refused (`in_rust`).
        unsafe { ffi::lua_pushlstring(self.raw, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// A value that equals nothing but itself: `cjson.null`.
    pub(in crate::scripts) fn push_null(&mut self) {
        // SAFETY: there is room; nobody follows the address.
        unsafe { ffi::lua_pushlightuserdata(self.raw, null_mut()) }
    }

    /// Whether a value is what [`push_null`](Self::push_null) pushes.
    pub(in crate::scripts) fn is_null(&self, at: i32) -> bool {
        // SAFETY: only reads.
        unsafe {
            ffi::lua_type(self.raw, at) == ffi::LUA_TLIGHTUSERDATA
                && ffi::lua_touserdata(self.raw, at).is_null()
        }
    }

    pub(in crate::scripts) fn push_function(&mut self, function: Function) {
        // SAFETY: there is room for two values. Scripts cannot change the upvalue, so `trampoline` finds a `Function` in it.
        unsafe {
            ffi::lua_pushlightuserdata(self.raw, function as *mut c_void);
            ffi::lua_pushcclosure(self.raw, trampoline, 1);
        }
    }

    /// A function that knows Lua itself, without any of the precautions of the others.
    pub(in crate::scripts) fn push_c_function(&mut self, function: ffi::lua_CFunction) {
        // SAFETY: there is room. What the function does when it is called is its own business (`protect.rs`).
        unsafe { ffi::lua_pushcclosure(self.raw, function, 0) }
    }

    /// As [`push_c_function`](Self::push_c_function), with the value on the top as its upvalue.
    pub(in crate::scripts) fn push_c_closure(&mut self, function: ffi::lua_CFunction) {
        // SAFETY: as above; the upvalue is there, as the caller knows.
        unsafe { ffi::lua_pushcclosure(self.raw, function, 1) }
    }

    /// The mark of metatables that are ours.
    pub(in crate::scripts) fn push_mark(&mut self) {
        // SAFETY: there is room; nobody follows the address.
        unsafe { ffi::lua_pushlightuserdata(self.raw, protect::mark()) }
    }

    /// The metatable of a value that has one; else nil.
    pub(in crate::scripts) fn push_metatable(&mut self, at: i32) {
        // SAFETY: the value is there, and room for another.
        if unsafe { ffi::lua_getmetatable(self.raw, at) } == 0 {
            self.push_nil();
        }
    }

    #[inline]
    pub(in crate::scripts) fn insert(&mut self, at: i32) {
        // SAFETY: the index is that of a value.
        unsafe { ffi::lua_insert(self.raw, at) }
    }

    /// Pops the top into the place of another value.
    pub(in crate::scripts) fn replace(&mut self, at: i32) {
        // SAFETY: the index is that of a value.
        unsafe { ffi::lua_replace(self.raw, at) }
    }

    #[inline]
    pub(in crate::scripts) fn remove(&mut self, at: i32) {
        // SAFETY: the index is that of a value.
        unsafe { ffi::lua_remove(self.raw, at) }
    }

    /// Puts the strings on the top together.
    pub(super) fn concat(&mut self, count: i32) {
        // SAFETY: so many are there, and strings: no metatable is asked.
        unsafe { ffi::lua_concat(self.raw, count) }
    }

    /// Pushes the place in the source where the function of a level is.
    pub(super) fn push_where(&mut self, level: i32) {
        // SAFETY: there is room; of a level that is not there the place is empty.
        unsafe { ffi::luaL_where(self.raw, level) }
    }

    /// A table with room for so many elements and so many fields. Both are bounded: they may be somebody's claim.
    #[inline]
    pub(in crate::scripts) fn new_table(&mut self, elements: usize, fields: usize) {
        const CLAIM_MAX: usize = 1 << 16;
        let bounded = |n: usize| n.min(CLAIM_MAX) as c_int;
        // SAFETY: there is room on the stack, and the memory is not refused (`in_rust`).
        unsafe { ffi::lua_createtable(self.raw, bounded(elements), bounded(fields)) }
    }

    /// Replaces the key on the top by its value in the table at `table`, without asking metatables.
    #[inline]
    pub(in crate::scripts) fn raw_get(&mut self, table: i32) -> Kind {
        assert!(self.kind(table) == Kind::Table);
        // SAFETY: it is a table, as has been looked.
        unsafe { ffi::lua_rawget(self.raw, table) };
        self.kind(-1)
    }

    #[inline]
    pub(in crate::scripts) fn raw_get_index(&mut self, table: i32, index: i32) -> Kind {
        assert!(self.kind(table) == Kind::Table);
        // SAFETY: it is a table, as has been looked, and there is room.
        unsafe { ffi::lua_rawgeti(self.raw, table, ffi::lua_Integer::from(index)) };
        self.kind(-1)
    }

    #[inline]
    pub(in crate::scripts) fn raw_get_field(&mut self, table: i32, name: &str) -> Kind {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.raw_get(table)
    }

    /// Sets the key under the top to the value on the top, and pops both. The key must be neither nil nor NaN.
    #[inline]
    pub(in crate::scripts) fn raw_set(&mut self, table: i32) {
        assert!(self.kind(table) == Kind::Table && self.can_be_key(-2));
        // SAFETY: it is a table and the key can be one, as has been looked; memory is not refused (`in_rust`).
        unsafe { ffi::lua_rawset(self.raw, table) }
    }

    /// Whether a value can be a key of a table.
    pub(in crate::scripts) fn can_be_key(&self, at: i32) -> bool {
        match self.kind(at) {
            Kind::Nil | Kind::None => false,
            Kind::Number => !self.number(at).is_nan(),
            _ => true,
        }
    }

    #[inline]
    pub(in crate::scripts) fn raw_set_index(&mut self, table: i32, index: i32) {
        assert!(self.kind(table) == Kind::Table);
        // SAFETY: it is a table, as has been looked; memory is not refused (`in_rust`).
        unsafe { ffi::lua_rawseti(self.raw, table, ffi::lua_Integer::from(index)) }
    }

    /// Sets a field to the value on the top, and pops it.
    #[inline]
    pub(in crate::scripts) fn raw_set_field(&mut self, table: i32, name: &str) {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.raw_set(table);
    }

    /// Replaces the key on the top by the next key and its value; pops it and is false at the end. The key must come
    /// from here, and nothing may have been added to the table since.
    #[inline]
    pub(in crate::scripts) fn next(&mut self, table: i32) -> bool {
        assert!(self.kind(table) == Kind::Table);
        // SAFETY: it is a table, as has been looked, and the key is one of its keys: no error is raised.
        unsafe { ffi::lua_next(self.raw, table) != 0 }
    }

    /// The length of a string or of a table.
    #[inline]
    pub(in crate::scripts) fn length(&self, at: i32) -> usize {
        // SAFETY: only reads, but for a number, which becomes a string with memory that is not refused (`in_rust`).
        unsafe { ffi::lua_objlen(self.raw, at) }
    }

    /// Makes the table on the top the metatable of the value at `at`, and pops it.
    pub(in crate::scripts) fn set_metatable(&mut self, at: i32) {
        assert!(self.kind(-1) == Kind::Table);
        // SAFETY: it is a table, as has been looked.
        unsafe { ffi::lua_setmetatable(self.raw, at) };
    }

    /// Pushes the table with the globals of functions that are compiled from here on.
    pub(in crate::scripts) fn push_globals(&mut self) {
        // SAFETY: there is room.
        unsafe { ffi::lua_pushvalue(self.raw, ffi::LUA_GLOBALSINDEX) }
    }

    /// Makes the table on the top that of the globals, and pops it.
    pub(in crate::scripts) fn set_globals(&mut self) {
        assert!(self.kind(-1) == Kind::Table);
        // SAFETY: it is a table, as has been looked.
        unsafe { ffi::lua_replace(self.raw, ffi::LUA_GLOBALSINDEX) }
    }

    /// Gives the function at `function` the table on the top as its globals, and pops it.
    pub(in crate::scripts) fn set_environment(&mut self, function: i32) {
        assert!(self.kind(-1) == Kind::Table);
        // SAFETY: it is a table, as has been looked; on what has no globals it does nothing.
        unsafe { ffi::lua_setfenv(self.raw, function) };
    }

    /// Keeps the value on the top, and pops it.
    pub(in crate::scripts) fn keep(&mut self) -> Kept {
        // SAFETY: the value is there, and room for another; memory is not refused (`in_rust`).
        Kept(unsafe { ffi::luaL_ref(self.raw, ffi::LUA_REGISTRYINDEX) })
    }

    #[inline]
    pub(in crate::scripts) fn push_kept(&mut self, kept: &Kept) {
        // SAFETY: the registry is a table, and there is room.
        unsafe { ffi::lua_rawgeti(self.raw, ffi::LUA_REGISTRYINDEX, ffi::lua_Integer::from(kept.0)) };
    }

    pub(in crate::scripts) fn forget(&mut self, kept: Kept) {
        // SAFETY: the registry is a table, and there is room for two values; memory is not refused (`in_rust`).
        unsafe { ffi::luaL_unref(self.raw, ffi::LUA_REGISTRYINDEX, kept.0) }
    }

    fn absolute(&self, at: i32) -> i32 {
        if at < 0 && at > ffi::LUA_REGISTRYINDEX { self.top() + 1 + at } else { at }
    }
}

//! Scripts and functions in Lua, with their keys, arguments, reply and time as a program has them.

use super::access::{Limits, with_list};
use super::{Error, FromReply, Store};
use std::time::Duration;

/// A call of a script or of a function, from [`Store::script`], [`Store::script_by_sha`] or [`Store::function`].
///
/// It runs on the thread that calls [`run`](Self::run), and nobody else sees or changes the keys that it touches meanwhile. What
/// it changes is one piece of the log.
#[derive(Clone, Debug)]
#[must_use = "it does nothing before it is run"]
pub struct Script<'s> {
    store: &'s Store,
    commands: [&'static str; 2],
    what: Vec<u8>,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
    read_only: bool,
    limits: Limits,
}

impl Store {
    /// Runs a script in Lua with these keys (`KEYS`) and arguments (`ARGV`). Its reply is a type of your choice: see
    /// [`FromReply`]. The source is compiled once.
    ///
    /// # Errors
    /// It does not compile, it raised an error, or the reply is of another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let add = "return redis.call('INCRBY', KEYS[1], ARGV[1] * ARGV[2])";
    /// let sum: i64 = store.eval(add, ["total"], ["6", "7"])?;
    /// assert_eq!(sum, 42);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn eval<T: FromReply>(
        &self,
        source: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        args: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<T, Error> {
        self.script(source).keys(keys).args(args).run()
    }

    /// A script in Lua, with what it is to be run with still to come.
    ///
    /// ```
    /// use baton::Store;
    /// use std::time::Duration;
    ///
    /// let store = Store::memory();
    /// store.rpush("queue", ["a", "b", "c"])?;
    /// let script = store
    ///     .script("return redis.call('LRANGE', KEYS[1], 0, ARGV[1])")
    ///     .key("queue")
    ///     .arg("1")
    ///     .read_only()
    ///     .time_limit(Duration::from_secs(1));
    /// let first: Vec<String> = script.run()?;
    /// assert_eq!(first, ["a", "b"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn script(&self, source: impl AsRef<[u8]>) -> Script<'_> {
        self.code(["EVAL", "EVAL_RO"], source.as_ref())
    }

    /// A script that is known already, by its SHA-1 in hexadecimal: from [`load_script`](Self::load_script), or since it ran.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let sha = store.load_script("return ARGV[1] .. '!'")?;
    /// assert_eq!(store.script_by_sha(&sha).arg("hello").run::<String>()?, "hello!");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn script_by_sha(&self, sha: impl AsRef<[u8]>) -> Script<'_> {
        self.code(["EVALSHA", "EVALSHA_RO"], sha.as_ref())
    }

    /// A function of a library that has been loaded.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let library = "#!lua name=greetings
    ///     redis.register_function('greet', function(keys, args) return 'hello, ' .. args[1] end)";
    /// assert_eq!(store.load_library(library)?, "greetings");
    /// assert_eq!(store.function("greet").arg("ada").run::<String>()?, "hello, ada");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn function(&self, name: impl AsRef<[u8]>) -> Script<'_> {
        self.code(["FCALL", "FCALL_RO"], name.as_ref())
    }

    fn code(&self, commands: [&'static str; 2], what: &[u8]) -> Script<'_> {
        let (keys, args) = (Vec::new(), Vec::new());
        let (what, limits) = (what.to_vec(), Limits::default());
        Script { store: self, commands, what, keys, args, read_only: false, limits }
    }

    /// Makes a script known without running it. Returns its SHA-1.
    ///
    /// # Errors
    /// It does not compile.
    pub fn load_script(&self, source: impl AsRef<[u8]>) -> Result<String, Error> {
        self.call(&[b"SCRIPT", b"LOAD", source.as_ref()])
    }

    /// Loads a library of functions, in place of that of the same name. Returns its name. Libraries are part of the data: they
    /// are in snapshots and in the log.
    ///
    /// # Errors
    /// It does not compile, registers no functions, or one that another library has.
    pub fn load_library(&self, source: impl AsRef<[u8]>) -> Result<String, Error> {
        self.call(&[b"FUNCTION", b"LOAD", b"REPLACE", source.as_ref()])
    }
}

impl Script<'_> {
    /// Adds a key: an element of `KEYS`. A script should be told of all keys that it touches: those are what it waits for.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.keys.push(key.as_ref().to_vec());
        self
    }

    /// Adds keys.
    pub fn keys(mut self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.keys.extend(keys.into_iter().map(|key| key.as_ref().to_vec()));
        self
    }

    /// Adds an argument: an element of `ARGV`.
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_vec()));
        self
    }

    /// It may change nothing: a command that would is an error.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// A script that takes longer ends with an error, unless it has changed something: what a script does is done as a whole.
    /// Without a limit it runs until somebody else kills it (`store.run(["SCRIPT", "KILL"])`).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// let endless = store.script("while true do end").time_limit(Duration::from_millis(20));
    /// assert!(endless.run::<()>().unwrap_err().to_string().starts_with("ERR Script took longer than it may"));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limits.script_time = Some(limit);
        self
    }

    /// Runs it. It can be run again.
    ///
    /// # Errors
    /// There is no such script or function, it raised an error or took too long, or the reply is of another type.
    pub fn run<T: FromReply>(&self) -> Result<T, Error> {
        let command = self.commands[usize::from(self.read_only)];
        let count = self.keys.len().to_string();
        let head = [command.as_bytes(), &self.what, count.as_bytes()];
        let call = |args: &[&[u8]]| self.store.call_within(self.limits, args, T::from_reply);
        with_list(&head, self.keys.iter().chain(&self.args), call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Reply;

    #[test]
    fn keys_arguments_and_replies() {
        let store = Store::memory();
        let all = "return {KEYS, ARGV}";
        let (keys, args): (Vec<String>, Vec<String>) = store.eval(all, ["a", "b"], ["c"]).unwrap();
        assert_eq!((keys, args), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
        let none: [&str; 0] = [];
        let mixed = store.eval::<Reply>("return {1, 'x'}", none, none).unwrap();
        assert_eq!(mixed, Reply::Array(vec![Reply::Integer(1), Reply::Bytes("x".into())]));
        assert_eq!(store.eval::<Option<i64>>("return false", none, none).unwrap(), None);
        let error = store.eval::<i64>("return 'x'", none, none).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        let error = store.eval::<i64>("return redis.error_reply('MY word')", none, none).unwrap_err();
        assert_eq!(error.to_string(), "MY word");
    }

    #[test]
    fn what_is_known_by_name() {
        let store = Store::memory();
        let none = "0".repeat(40);
        let error = store.script_by_sha(&none).run::<i64>().unwrap_err();
        assert!(error.to_string().starts_with("NOSCRIPT"), "{error}");
        let sha = store.load_script("return redis.call('SET', KEYS[1], ARGV[1])").unwrap();
        let script = store.script_by_sha(&sha).key("k").arg("v");
        script.run::<()>().unwrap();
        script.run::<()>().unwrap();
        assert_eq!(store.get("k").unwrap().as_deref(), Some(&b"v"[..]));
        assert!(script.read_only().run::<()>().is_err());
        assert!(store.function("nosuch").run::<()>().is_err());
        assert!(store.load_library("#!lua name=l\n(").is_err());
    }

    #[test]
    fn a_limit_ends_what_has_changed_nothing() {
        let store = Store::memory();
        let limit = Duration::from_millis(5);
        let ends = |source: &str| {
            let error = store.script(source).key("k").time_limit(limit).run::<i64>().unwrap_err();
            assert!(error.to_string().starts_with("ERR Script took longer than it may script: "), "{error}");
        };
        ends("while true do end");
        ends("while true do pcall(function() while true do redis.call('get', KEYS[1]) end end) end");
        // This one is done as a whole, however long that takes.
        let writes = "redis.call('SET', KEYS[1], 'v') local at = os.clock() while os.clock() < at + 0.05 do end return 1";
        assert_eq!(store.script(writes).key("k").time_limit(limit).run::<i64>().unwrap(), 1);
        assert_eq!(store.script("return 1").time_limit(limit).run::<i64>().unwrap(), 1);
    }
}

//! Scripts on a store: what they return, what they may not do, and what they leave.

mod libs;
mod security;

use crate::store::{Error, Reply, Store};

/// Runs a script with these keys on a store, and shows the reply.
pub(super) fn eval(store: &Store, script: &str, keys: &[&str]) -> String {
    let count = keys.len().to_string();
    let mut args = vec!["EVAL", script, &count];
    args.extend(keys);
    show(store.run(args))
}

fn show(reply: Result<Reply, Error>) -> String {
    match reply {
        Ok(reply) => text(&reply),
        Err(error) => error.to_string(),
    }
}

fn text(reply: &Reply) -> String {
    let all = |replies: &[Reply]| replies.iter().map(text).collect::<Vec<_>>().join(" ");
    match reply {
        Reply::Null => "nil".to_owned(),
        Reply::Integer(n) => n.to_string(),
        Reply::Double(x) => format!(",{x}"),
        Reply::Boolean(yes) => format!("#{yes}"),
        Reply::Status(line) => format!("+{line}"),
        Reply::Bytes(bytes) => format!("'{}'", bytes.escape_ascii().to_string().replace("\\\"", "\"")),
        Reply::Array(all_of) => format!("[{}]", all(all_of)),
        Reply::Set(all_of) => format!("~[{}]", all(all_of)),
        Reply::Map(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{}={}", text(k), text(v))).collect();
            format!("{{{}}}", pairs.join(" "))
        }
        Reply::Error(line) => format!("-{line}"),
    }
}

/// A script on an empty store returns this. Of an error the beginning is enough.
#[track_caller]
pub(super) fn check(script: &str, expected: &str) {
    let store = Store::builder().shards(4).memory();
    let got = eval(&store, script, &[]);
    let same = if expected.ends_with("..") {
        got.starts_with(expected.trim_end_matches(".."))
    } else {
        got == expected
    };
    assert!(same, "{script}\n  returned {got}\n  not      {expected}");
}

#[test]
fn values_become_replies() {
    for (script, reply) in [
        ("return 1", "1"),
        ("return 3.99", "3"),
        ("return -0.5", "0"),
        ("return 1e300", "-9223372036854775808"),
        ("return 'a\\0b'", "'a\\x00b'"),
        ("return true", "1"),
        ("return false", "nil"),
        ("return nil", "nil"),
        ("return", "nil"),
        ("return {1, 'a', {2}, nil, 3}", "[1 'a' [2]]"),
        ("return {ok='fine'}", "+fine"),
        ("return {err='MY problem'}", "MY problem"),
        ("return {1, {err='ERR inside'}}", "[1 -ERR inside]"),
        ("return {double=1.5}", ",1.5"),
        ("return {map={a=1}}", "{'a'=1}"),
        ("return {set={a=true}}", "~['a']"),
        ("redis.setresp(3) return {true, false}", "[#true #false]"),
        ("return redis.status_reply('OK')", "+OK"),
        ("return redis.error_reply('MY word')", "MY word"),
        ("return redis.error_reply('-MY word')", "MY word"),
        ("return redis.error_reply('word')", "ERR word"),
        ("return redis.sha1hex('')", "'da39a3ee5e6b4b0d3255bfef95601890afd80709'"),
        ("return function() end", "nil"),
    ] {
        check(script, reply);
    }
}

#[test]
fn commands_are_called() {
    for (script, reply) in [
        ("return redis.call('set', 'k', 1)", "+OK"),
        ("redis.call('set', 'k', 1.5) return redis.call('get', 'k')", "'1.5'"),
        ("redis.call('set', 'k', 1e15) return redis.call('get', 'k')", "'1000000000000000'"),
        ("return redis.call('get', 'absent')", "nil"),
        ("return redis.call('rpush', 'l', 1, 2, 3)", "3"),
        ("redis.call('rpush', 'l', 1, 2) return redis.call('lrange', 'l', 0, -1)", "['1' '2']"),
        ("return redis.call('type', 'k').ok", "'none'"),
        ("redis.setresp(3) redis.call('hset', 'h', 'f', 'v') return redis.call('hgetall', 'h').map.f", "'v'"),
        ("redis.setresp(3) return redis.call('get', 'absent') == nil", "#true"),
        (
            "return redis.pcall('incr', 'k', 'x').err",
            "'ERR Wrong number of args calling command from script'",
        ),
        (
            "redis.call('set', 'k', 'x') return redis.pcall('incr', 'k')",
            "ERR value is not an integer or out of range",
        ),
        ("return {pcall(redis.call, 'nosuch')}", "[nil 'ERR Unknown command called from script']"),
        ("return redis.call()", "ERR Please specify at least one argument for this call script: .."),
        ("return redis.call('get', {})", "ERR Command arguments must be strings or integers script: .."),
        ("return redis.call('eval', 'x', 0)", "ERR This Redis command is not allowed from script script: .."),
        ("return redis.pcall('blpop', 'l', 0)", "nil"),
    ] {
        check(script, reply);
    }
}

#[test]
fn errors_say_where_they_arose() {
    let sha = |script: &str| String::from_utf8_lossy(&super::api::hex_digest(script.as_bytes())).into_owned();
    for (script, error, line) in [
        ("error('x')", "ERR user_script:1: x", 1),
        ("\n\nerror({err='MY x'})", "MY x", 3),
        ("return redis.call('get')", "ERR Wrong number of args calling command from script", 1),
        ("local x = nil + 1", "ERR user_script:1: attempt to perform arithmetic on a nil value", 1),
        (
            "return nosuch",
            "ERR user_script:1: Script attempted to access nonexistent global variable 'nosuch'",
            1,
        ),
    ] {
        check(script, &format!("{error} script: {}, on @user_script:{line}.", sha(script)));
    }
    check(
        "return (",
        "ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'",
    );
}

#[test]
fn keys_and_arguments() {
    let store = Store::memory();
    assert_eq!(show(store.run(["EVAL", "return {KEYS, ARGV}", "2", "a", "b", "c"])), "[['a' 'b'] ['c']]");
    for (numkeys, error) in [
        ("x", "ERR value is not an integer or out of range"),
        ("-1", "ERR Number of keys can't be negative"),
        ("3", "ERR Number of keys can't be greater than number of args"),
    ] {
        assert_eq!(show(store.run(["EVAL", "return 1", numkeys, "a", "b"])), error);
    }
}

#[test]
fn scripts_are_known_by_their_sha1() {
    let store = Store::memory();
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let run = |args: &[&str]| show(store.run(args));
    assert_eq!(run(&["EVALSHA", sha, "0"]), "NOSCRIPT No matching script. Please use EVAL.");
    assert_eq!(run(&["SCRIPT", "LOAD", "return 1"]), format!("'{sha}'"));
    assert_eq!(run(&["EVALSHA", &sha.to_uppercase(), "0"]), "1");
    assert_eq!(run(&["SCRIPT", "EXISTS", sha, "x"]), "[1 0]");
    assert_eq!(run(&["SCRIPT", "SHOW", sha]), "'return 1'");
    assert_eq!(run(&["SCRIPT", "FLUSH", "ASYNC"]), "+OK");
    assert_eq!(run(&["SCRIPT", "EXISTS", sha]), "[0]");
    assert_eq!(run(&["SCRIPT", "FLUSH", "LATER"]), "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
    assert!(run(&["SCRIPT", "LOAD", "("]).starts_with("ERR Error compiling script"));
    assert_eq!(run(&["SCRIPT", "KILL"]), "NOTBUSY No scripts in execution right now.");
    assert!(run(&["SCRIPT", "DEBUG", "YES"]).starts_with("ERR SCRIPT DEBUG is not supported"));
}

#[test]
fn scripts_that_read_only() {
    let store = Store::memory();
    let run = |args: &[&str]| show(store.run(args));
    let write = "return redis.call('set', KEYS[1], 1)";
    let refused = "ERR Write commands are not allowed from read-only scripts.";
    assert!(run(&["EVAL_RO", write, "1", "k"]).starts_with(refused));
    let flagged = format!("#!lua flags=no-writes\n{write}");
    assert!(run(&["EVAL", &flagged, "1", "k"]).starts_with(refused));
    let plain = format!("#!lua\n{write}");
    assert_eq!(run(&["EVAL", &plain, "1", "k"]), "+OK");
    assert_eq!(
        run(&["EVAL_RO", &plain, "1", "k"]),
        "ERR Can not execute a script with write flag using *_ro command."
    );
    assert_eq!(run(&["EVAL_RO", "return redis.call('get', KEYS[1])", "1", "k"]), "'1'");
}

#[test]
fn a_script_that_touches_what_it_did_not_declare_has_it_all_the_same() {
    let store = Store::builder().shards(8).memory();
    let script = "redis.call('incr', KEYS[1]) if redis.call('exists', 'far') == 1 then
                  for i = 1, 20 do redis.call('set', 'undeclared:' .. i, i) end end return redis.call('dbsize')";
    assert_eq!(eval(&store, script, &["near"]), "1");
    let narrow = "redis.call('incr', KEYS[1]) if ARGV[1] then
                  for i = 1, 20 do redis.call('set', 'other:' .. i, i) end end return 1";
    let run = |args: &[&str]| show(store.run([&["EVAL", narrow, "1", "k"], args].concat()));
    // It is known for touching only its key, until it does not.
    assert_eq!(run(&[]), "1");
    assert_eq!(run(&[]), "1");
    assert_eq!(run(&["all"]), "1");
    assert_eq!(show(store.run(["GET", "k"])), "'3'", "and ran once each time");
    assert_eq!(show(store.run(["GET", "other:20"])), "'20'");
}

#[test]
fn the_generator_is_that_of_redis() {
    check("math.randomseed(123) return tostring(math.random())", "'0.27951200179733'");
    check("math.randomseed(10) return {math.random(100), math.random(5, 6)}", "[88 6]");
    check("return math.random(0)", "ERR user_script:1: bad argument #1 to 'random' (interval is empty)..");
}

#[test]
fn functions_are_loaded_listed_and_called() {
    let store = Store::memory();
    let run = |args: &[&str]| show(store.run(args));
    let library = "#!lua name=mylib\n
        local function get(keys, args) return redis.call('get', keys[1]) end
        redis.register_function('put', function(keys, args) return redis.call('set', keys[1], args[1]) end)
        redis.register_function{function_name='look', callback=get, flags={'no-writes'}, description='Looks.'}";
    assert_eq!(run(&["FUNCTION", "LOAD", library]), "'mylib'");
    assert_eq!(run(&["FUNCTION", "LOAD", library]), "ERR Library 'mylib' already exists");
    assert_eq!(run(&["FUNCTION", "LOAD", "REPLACE", library]), "'mylib'");
    assert_eq!(run(&["FCALL", "put", "1", "k", "v"]), "+OK");
    assert_eq!(run(&["FCALL", "PUT", "1", "k", "v"]), "+OK", "to functions case does not matter");
    let same = "#!lua name=MYLIB\nredis.register_function('Put', function() end)";
    assert_eq!(run(&["FUNCTION", "LOAD", same]), "ERR Function Put already exists");
    let other = "#!lua name=MYLIB\nredis.register_function('a', function() return 1 end)
                 redis.register_function('A', function() return 2 end)";
    assert_eq!(run(&["FUNCTION", "LOAD", other]), "'MYLIB'", "to libraries it does");
    assert_eq!(run(&["FCALL", "A", "0"]), "1");
    assert_eq!(run(&["FUNCTION", "LOAD", "REPLACE", "replace", other]), "'MYLIB'");
    assert_eq!(run(&["FUNCTION", "DELETE", "MYLIB"]), "+OK");
    assert_eq!(run(&["FCALL_RO", "look", "1", "k"]), "'v'");
    assert_eq!(
        run(&["FCALL_RO", "put", "1", "k", "v"]),
        "ERR Can not execute a script with write flag using *_ro command."
    );
    assert_eq!(run(&["FCALL", "nosuch", "0"]), "ERR Function not found");
    assert_eq!(run(&["FCALL", "put", "x"]), "ERR Bad number of keys provided");
    let listed = "[{'library_name'='mylib' 'engine'='LUA' 'functions'=[{'name'='put' 'description'=nil 'flags'=~[]} \
                  {'name'='look' 'description'='Looks.' 'flags'=~[+no-writes]}]}]";
    assert_eq!(run(&["FUNCTION", "LIST", "LIBRARYNAME", "MY*"]), listed);
    assert_eq!(run(&["FUNCTION", "LIST", "LIBRARYNAME", "x"]), "[]");
    let dump = store.run(["FUNCTION", "DUMP"]).unwrap();
    let Reply::Bytes(dump) = dump else { panic!("{dump:?}") };
    assert_eq!(show(store.run([&b"FUNCTION"[..], b"RESTORE", &dump])), "ERR Library mylib already exists");
    let extra = [&b"FUNCTION"[..], b"RESTORE", &dump, b"REPLACE", b"x"];
    let bad =
        |sub| format!("ERR unknown subcommand or wrong number of arguments for '{sub}'. Try FUNCTION HELP.");
    assert_eq!(show(store.run(extra)), bad("RESTORE"));
    assert_eq!(run(&["FUNCTION", "flush", "SYNC", "x"]), bad("flush"));
    assert_eq!(run(&["FUNCTION", "FLUSH", "x"]), "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
    assert_eq!(run(&["FUNCTION", "DELETE", "mylib"]), "+OK");
    assert_eq!(run(&["FUNCTION", "DELETE", "mylib"]), "ERR Library not found");
    assert_eq!(run(&["FCALL", "look", "1", "k"]), "ERR Function not found");
    assert_eq!(show(store.run([&b"FUNCTION"[..], b"RESTORE", &dump, b"FLUSH"])), "+OK");
    assert_eq!(run(&["FCALL", "look", "1", "k"]), "'v'");
    assert_eq!(
        run(&["FUNCTION", "STATS"]),
        "{'running_script'=nil 'engines'={'LUA'={'libraries_count'=1 'functions_count'=2}}}"
    );
    assert_eq!(run(&["FUNCTION", "FLUSH"]), "+OK");
    assert_eq!(run(&["FUNCTION", "LIST"]), "[]");
}

#[test]
fn libraries_that_are_refused() {
    let store = Store::memory();
    for (library, error) in [
        ("return 1", "ERR Missing library metadata"),
        ("#!lua name=x\n", "ERR No functions registered"),
        ("#!lua name=x\n(", "ERR Error compiling function: .."),
        ("#!lua name=x\nredis.call('get', 'k')", "ERR Error registering functions: .."),
        ("#!lua name=x\nx = 1", "ERR Error registering functions: .."),
        (
            "#!lua name=x\nlocal f = math.floor",
            "ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable \
             'math'",
        ),
        (
            "#!lua name=x\ngetmetatable('').__index = 1",
            "ERR Error registering functions: ERR user_function:2: Script att..",
        ),
        ("#!lua name=x\nredis.register_function('a b', print)", "ERR Error registering functions: .."),
        (
            "#!lua name=x\nredis.register_function('f', function() end) redis.register_function('f', function() end)",
            "ERR Error registering functions: ERR Function already exists in the library",
        ),
        (
            "#!lua name=x\nredis.register_function{function_name='f', callback=function() end, flags={'fast'}}",
            "ERR Error registering functions: ERR unknown flag given",
        ),
        ("#!lua name=x\nwhile true do end", "ERR Error registering functions: ERR FUNCTION LOAD timeout"),
    ] {
        let got = show(store.run(["FUNCTION", "LOAD", library]));
        assert!(got.starts_with(error.trim_end_matches("..")), "{library}: {got}");
    }
    assert_eq!(show(store.run(["FUNCTION", "LIST"])), "[]");
}

#[test]
fn functions_see_all_globals_but_cannot_register_others() {
    let store = Store::memory();
    let run = |args: &[&str]| show(store.run(args));
    let library =
        "#!lua name=x\nredis.register_function('look', function() return type(math) .. type(redis.call) end)
                   redis.register_function('register', function() redis.register_function('f', print) end)";
    assert_eq!(run(&["FUNCTION", "LOAD", library]), "'x'");
    assert_eq!(run(&["FCALL", "look", "0"]), "'tablefunction'");
    let missing = "ERR user_function:3: attempt to call field 'register_function' (a nil value)";
    assert!(
        run(&["FCALL", "register", "0"]).starts_with("ERR user_function:3: Script attempted"),
        "print is not there"
    );
    let library = "#!lua name=x\n\nredis.register_function('register', function() redis.register_function('f', type) end)";
    assert_eq!(run(&["FUNCTION", "LOAD", "REPLACE", library]), "'x'");
    assert!(run(&["FCALL", "register", "0"]).starts_with(missing));
}

#[test]
fn what_has_no_order_is_sorted_for_scripts() {
    let store = Store::memory();
    store.run(["SADD", "s", "z", "aa", "b", "a", "d", "c"]).unwrap();
    let sort =
        |how: &str| eval(&store, &format!("return redis.call('sort', 's', 'by', 'constant'{how})"), &["s"]);
    assert_eq!(sort(""), "['a' 'aa' 'b' 'c' 'd' 'z']");
    assert_eq!(sort(", 'desc', 'get', '#'"), "['z' 'd' 'c' 'b' 'aa' 'a']");
}

//! What scripts must not be able to do, by the class of fault by which scripts got out of other servers.

use super::{check, eval};
use crate::store::Store;

const READ_ONLY: &str = "ERR user_script:1: Attempt to modify a readonly table..";

#[test]
fn nothing_that_others_use_can_be_changed() {
    for script in [
        "a = 1",
        "redis = 1",
        "_G = {}",
        "_G.x = 1",
        "redis.call = 1",
        "server.call = 1",
        "cjson.encode = 1",
        "bit.band = 1",
        "string.upper = 1",
        "math.floor = 1",
        "table.insert = 1",
        "rawset(_G, 'x', 1)",
        "rawset(redis, 'call', 1)",
        "setmetatable(_G, {})",
        "setmetatable(redis, {})",
        "getmetatable(_G).__index = 1",
        "getmetatable('').__index = 1",
        "getmetatable('').x = 1",
        "getmetatable('').__index.upper = 1",
        "table.insert(redis, 1)",
        "table.insert(_G, 1)",
        "for _, t in pairs({string, cjson}) do t.x = 1 end",
        "local f, t = pairs(redis) t.call = 1",
        "getfenv(0).x = 1",
        "getfenv(redis.call).x = 1",
    ] {
        check(script, READ_ONLY);
    }
}

#[test]
fn what_is_protected_reads_as_if_it_were_not() {
    for (script, reply) in [
        ("local n = 0 for k, v in pairs(redis) do n = n + 1 end return n > 10", "1"),
        ("return next(math) ~= nil", "1"),
        ("return type(rawget(_G, 'redis'))", "'table'"),
        ("return getmetatable(redis) == nil", "1"),
        ("return ('x'):upper() .. string.upper('y')", "'XY'"),
        (
            "local t = setmetatable({}, {__index = {a = 1}}) rawset(t, 'b', 2) table.insert(t, 3) return {t.a, t.b, t[1]}",
            "[1 2 3]",
        ),
        ("local n = 0 for k in pairs({a = 1, b = 2}) do n = n + 1 end return n", "2"),
        ("return _G.redis == redis and _G == getfenv()", "1"),
    ] {
        check(script, reply);
    }
}

#[test]
fn globals_that_reach_the_system_are_not_there() {
    for name in [
        "print",
        "dofile",
        "loadfile",
        "io",
        "package",
        "require",
        "module",
        "debug",
        "newproxy",
        "os.execute",
    ] {
        let script = format!("return {name}");
        match name.split_once('.') {
            None => {
                check(&script, "ERR user_script:1: Script attempted to access nonexistent global variable..")
            }
            Some(_) => check(&script, "nil"),
        }
    }
}

#[test]
fn a_script_does_not_see_what_another_did_to_its_environment() {
    let store = Store::memory();
    let script = "if ARGV[1] then setfenv(1, setmetatable({x = 1}, {__index = _G})) end return {x ~= nil}";
    let polluted = "setfenv(0, {}) setfenv(1, {}) return 1";
    assert_eq!(eval(&store, polluted, &[]), "1");
    assert_eq!(
        eval(&store, polluted, &[]),
        "ERR user_script:1: ..".trim_end_matches("ERR user_script:1: ..").to_owned() + "1"
    );
    assert!(eval(&store, script, &[]).starts_with("ERR user_script:1: Script attempted to access"));
    assert_eq!(eval(&store, "return loadstring('return type(redis)')()", &[]), "'table'");
    let changed = "cjson.encode_max_depth(1) return pcall(cjson.encode, {{}})";
    assert_eq!(eval(&store, changed, &[]), "nil");
    assert_eq!(eval(&store, "return cjson.encode({{{}}})", &[]), "'[[{}]]'");
}

/// CVE-2015-4335 and its kin: bytecode is not checked, and so reaches any memory.
#[test]
fn bytecode_is_not_loaded() {
    for script in [
        "return loadstring(string.dump(function() return 1 end))",
        "local s = string.dump(function() return 1 end) return load(function() local x = s s = nil return x end)",
        "local s = string.dump(function() return 1 end) local at = 0
         return load(function() at = at + 1 return at <= #s and s:sub(at, at) or nil end)",
    ] {
        check(script, "nil");
    }
    check(
        "\u{1b}Lua",
        "ERR Error compiling script (new function): user_script:1: unexpected symbol near 'char(27)'",
    );
}

/// CVE-2018-11218, -11219, -12326, 2022-36021: lengths in what the libraries decode.
#[test]
fn lengths_are_claims() {
    for script in [
        "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
        "return cmsgpack.unpack('\\223\\255\\255\\255\\255\\1')",
        "return cmsgpack.unpack('\\219\\255\\255\\255\\255a')",
        "return cmsgpack.unpack(string.rep('\\145', 100000))",
        "return cmsgpack.unpack_limit('a', 1, -1)",
        "return cmsgpack.unpack_one('a', 2147483648)",
        "return struct.pack('I2147483648', 10)",
        "return struct.unpack('c2147483647', 'a')",
        "return struct.unpack('Bc0', '\\255a')",
        "return struct.unpack('c0', 'a')",
        "return struct.unpack('b', 'a', 2^62)",
        "return struct.unpack('!1048576 i4', 'a')",
        "return cjson.decode(string.rep('[', 100000))",
        "return cjson.decode(string.rep('{\"a\":', 100000))",
        "cjson.decode_max_depth(2147483647) return cjson.decode(string.rep('[', 100000))",
        "cjson.encode_max_depth(2147483647) local t = {} t[1] = t return cjson.encode(t)",
    ] {
        check(script, "ERR user_script:1: ..");
    }
}

/// CVE-2024-31449: `bit.tohex` with a length below all.
#[test]
fn tohex_has_eight_digits_at_most() {
    check("return {bit.tohex(1, -2147483648), bit.tohex(1, 2147483647)}", "['00000001' '00000001']");
}

/// CVE-2025-46817: counts that run over.
#[test]
fn unpack_gives_what_fits() {
    for script in [
        "return unpack({}, 0, 2147483647)",
        "return unpack({}, -2147483648, 2147483647)",
        "return unpack({}, -2147483648, 0)",
        "return unpack({1, 2}, 1, 1e10)",
        "return {unpack({}, 1, 100000)}",
    ] {
        check(script, "ERR user_script:1: too many results to unpack..");
    }
    check("return {unpack({1, 2, 3}, 2, 3)}", "[2 3]");
    check("return #{unpack({}, 2, 1)}", "0");
}

/// CVE-2024-46981, 2025-49844: what the collector frees while it is in use.
#[test]
fn the_collector_may_come_at_any_time() {
    for script in [
        "for i = 1, 200 do collectgarbage('setpause', 0) collectgarbage('step') loadstring('return ' .. i, 'name' .. i)() end
         return collectgarbage('count') > 0",
        "for i = 1, 50 do local s = string.rep('x = {', 100) .. string.rep('}', 100)
         collectgarbage() load(function() collectgarbage() local x = s s = nil return x end, string.rep('n', i)) end return true",
        "collectgarbage('stop') for i = 1, 1000 do local t = {string.rep('x', 10000)} end return true",
    ] {
        check(script, "1");
    }
}

/// CVE-2021-32626, 2022-24834: the stacks of Lua and of C.
#[test]
fn recursion_ends() {
    for script in [
        "local function f() return 1 + f() end return f()",
        "local function f(s) return (s:gsub('.', f)) end return f('x')",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "local t = {} t = setmetatable(t, {__index = function(t, k) return t[k .. 'x'] end}) return t.x",
        "return loadstring('return ' .. string.rep('(', 1000) .. '1' .. string.rep(')', 1000))()",
        "return string.find(string.rep('a', 100000), string.rep('a?', 100000))",
        "return string.rep('a', 100000):match(string.rep('a-', 50000) .. 'b')",
        "local x = {} for i = 1, 300 do x = {x} end return tostring(nil .. 'x')",
        "local function f() return pcall(f) end f() local function g() return xpcall(g, g) end g() error('x')",
    ] {
        check(script, "ERR ..");
    }
    // Deep, but as deep as Lua allows.
    check("local a = {} a[1] = a return type(a)", "'table'");
    let store = Store::memory();
    assert!(eval(&store, "local t = {} for i = 1, 5000 do t = {t} end return 1", &[]) == "1");
}

#[test]
fn memory_is_limited() {
    for script in [
        "local t = {} while true do t[#t + 1] = #t .. string.rep('x', 100000) end",
        "local s = 'x' while true do s = s .. s end",
        "return string.rep('x', 2147483647)",
        "local ok, err = pcall(function() local s = 'x' while true do s = s .. s end end) error(err)",
    ] {
        check(script, "ERR ..");
    }
    check("return string.rep('', 2147483647)", "''");
    check("return #string.rep('ab', 1000000)", "2000000");
}

/// What is in several places is written several times: of a small table there may become any number of bytes.
#[test]
fn what_scripts_make_of_little_is_limited() {
    // Long at the end, so that few values are enough.
    let doubled = "local t = string.rep('x', 500000) for i = 1, 40 do t = {t, t} end";
    let wide = "local t = string.rep('x', 500000) \
                for i = 1, 15 do local n = {} for j = 1, 20 do n[j] = t end t = n end";
    for script in [
        format!("{doubled} return cjson.encode(t)"),
        format!("{wide} return cmsgpack.pack(t)"),
        "return cjson.decode('[' .. string.rep('[],', 1000000) .. '[]]')".to_owned(),
        "return cmsgpack.unpack('\\221\\0\\31\\255\\255' .. string.rep('\\144', 2097151))".to_owned(),
    ] {
        check(&script, "ERR user_script:1: not enough memory..");
    }
    check(&format!("{doubled} return t"), "ERR the reply of the script is too long");
    check(&format!("{wide} return {{map = t}}"), "ERR the reply of the script is too long");
    // Garbage makes room.
    check("for i = 1, 20 do local s = string.rep('x', 20000000) end return 1", "1");
}

#[test]
fn an_error_leaves_nothing_in_what_all_scripts_share() {
    let store = Store::memory();
    for shared in ["redis", "_G", "string", "getmetatable('')"] {
        assert!(eval(&store, &format!("error({shared})"), &[]).starts_with("ERR unknown error script: "));
        check(&format!("return pcall(error, {shared})"), "nil");
    }
    for name in ["source", "line", "err"] {
        let missing = "ERR user_script:1: Script attempted to access nonexistent global variable";
        assert!(eval(&store, &format!("return {name}"), &[]).starts_with(missing));
        assert_eq!(eval(&store, &format!("return rawget(redis, '{name}')"), &[]), "nil");
    }
}

/// CVE-2022-24735, 2025-46818: what a script puts in the way of another runs with the rights of whoever runs that.
#[test]
fn values_of_other_types_have_no_metatables() {
    check(
        "return getmetatable(1) == nil and getmetatable(true) == nil and getmetatable(nil) == nil
         and getmetatable(type) == nil and getmetatable(coroutine.create(function() end)) == nil and getmetatable(cjson.null) == nil",
        "1",
    );
    for value in ["1", "true", "nil", "type", "'x'", "cjson.null"] {
        let error = "ERR user_script:1: bad argument #1 to 'setmetatable' (table expected..";
        check(&format!("setmetatable({value}, {{}})"), error);
    }
}

/// CVE-2022-24736: the handler of errors looked for what scripts had taken away.
#[test]
fn errors_need_no_globals() {
    check("local e = error setfenv(0, {}) setfenv(1, {}) e('x')", "ERR user_script:1: x..");
    check("local e = error setfenv(0, {}) setfenv(1, setmetatable({}, {__index = e})) return y", "ERR ..");
}

/// CVE-2025-46819: the brackets of a long string are counted.
#[test]
fn sources_are_limited() {
    let script = format!("return [{}[x", "=".repeat(80 << 20));
    let error = "ERR Error compiling script (new function): not enough memory";
    assert_eq!(eval(&Store::memory(), &script, &[]), error);
    check("return loadstring('return [' .. string.rep('=', 20000000) .. '[x')", "nil");
}

/// CVE-2024-46981: what was still in use when a state of Lua was closed.
#[test]
fn interpreters_are_closed_with_all_that_scripts_left() {
    let store = Store::memory();
    let script =
        "local t = setmetatable({}, {__gc = function() redis.call('set', 'k', 'v') end, __mode = 'kv'})
                  t[1] = coroutine.create(function() coroutine.yield(t) end) coroutine.resume(t[1])
                  collectgarbage() collectgarbage('step') return 1";
    for _ in 0..20 {
        assert_eq!(eval(&store, script, &[]), "1");
        store.run(["SCRIPT", "FLUSH"]).unwrap();
    }
    assert_eq!(eval(&store, "return redis.call('exists', 'k')", &[]), "0");
}

/// Whatever a script does, SCRIPT KILL ends it.
#[test]
fn nothing_holds_up_the_end_of_a_script() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do xpcall(error, function() while true do end end) end",
        "local function f() while true do end end
         local function g() while true do coroutine.resume(coroutine.create(f)) end end
         while true do coroutine.resume(coroutine.create(g)) end",
        "for x in coroutine.wrap(function() while true do pcall(coroutine.yield) end end) do end",
        "return setmetatable({}, {__index = function() while true do end end}).x",
        "return string.gsub('x', 'x', function() while true do end end)",
        "while true do pcall(redis.call, 'get', KEYS[1]) end",
        "while true do redis.pcall('nosuch') end",
        "local t = string.rep('x', 9999) for i = 1, 15 do local n = {} for j = 1, 20 do n[j] = t end t = n end
         while true do pcall(cmsgpack.pack, t) end",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "load(function() while true do end end)",
        "return string.find(string.rep('a', 1000), string.rep('a-', 20) .. 'b')",
        "return string.rep('a', 1000):gsub(string.rep('a*', 20) .. 'b', '')",
        "for x in string.gmatch(string.rep('(', 100000), '%b()') do end while true do end",
        "return loadstring('while true do end')()",
    ] {
        let store = Store::builder().shards(2).memory();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| eval(&store, script, &["k"]));
            let mut patience = 0;
            while store.run(["SCRIPT", "KILL"]).is_err() {
                patience += 1;
                assert!(patience < 30_000 && !running.is_finished(), "{script}");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let ended = running.join().unwrap();
            assert!(ended.starts_with("ERR Script killed by user with SCRIPT KILL. script: "), "{script}: {ended}");
        });
        assert_eq!(eval(&store, "return 1", &[]), "1");
    }
}

#[test]
fn formats_are_short() {
    check("return #string.format('%099.99f', 1e308)", "409");
    check("return string.format('%100d', 1)", "ERR user_script:1: invalid format..");
    check("return #string.format('%99.99f', 1e308)", "409");
    check("return string.format('%s', string.rep('x', 1000)):len()", "1000");
}

//! Scripts: whatever one does, it ends, changes nothing if it may not, and leaves no trace in Lua for the next one.

use crate::input::Choices;
use baton::registry::Registry;
use baton::replication::identity::ReplId;
use baton::scripts::COMMANDS;
use baton::storage::RealStorage;
use baton::{Node, NodeOptions, Store};
use baton_engine::settings::Settings;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// How long a script may read. One that writes is ended by the watchdog.
const TIME: Duration = Duration::from_millis(20);
/// After how long the watchdog ends a script.
const WATCHED: Duration = Duration::from_millis(200);
/// After how long one that did not end is a hang.
const HANG: Duration = Duration::from_secs(120);

/// Describes all that a script can reach of Lua without having made it, down to which function is which.
const PROBE: &str = "
    local seen, out = {[KEYS] = true, [ARGV] = true}, {}
    local function walk(name, t)
        if seen[t] then return end
        seen[t] = true
        for k, v in pairs(t) do
            if not seen[v] then out[#out + 1] = name .. '.' .. tostring(k) .. '=' .. tostring(v) end
            if type(v) == 'table' then walk(name .. '.' .. tostring(k), v) end
        end
    end
    walk('_G', _G)
    walk('string', getmetatable(''))
    table.sort(out)
    local absent = redis.call('get', 'absent')
    return table.concat(out, ';') .. tostring(absent) .. cjson.encode({1 / 3, {}})";

/// A node, what the probe says of it, and since when a script has been running.
struct Bench {
    node: Arc<Node>,
    untouched: String,
    /// Milliseconds since `began`; zero while nothing runs.
    since: AtomicU64,
    began: Instant,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let node = Node::new(NodeOptions {
        cores: 1,
        settings: Settings::default(),
        hash_seed: [1, 2, 3, 4],
        seed: 5,
        replication_id: ReplId::from_random([6; 20]),
        registry: Registry::new(&[COMMANDS]),
        used_memory: |_| 0,
        storage: Arc::new(RealStorage),
    });
    let untouched = look(&Store::of_node(node.clone()));
    std::thread::spawn(watch);
    Bench { node, untouched, since: AtomicU64::new(0), began: Instant::now() }
});

fn look(store: &Store) -> String {
    let none: [&str; 0] = [];
    store.eval(PROBE, none, none).expect("a probe that runs")
}

/// Ends scripts that take long, as the end of a node does.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let bench = &*BENCH;
        let since = Duration::from_millis(bench.since.load(Ordering::Relaxed));
        let ran = if since.is_zero() { Duration::ZERO } else { bench.began.elapsed().saturating_sub(since) };
        if ran >= WATCHED {
            bench.node.scripts.busy.end_all();
        }
        if ran >= HANG {
            eprintln!("a script does not end");
            std::process::abort();
        }
    }
}

/// Text: a script, and behind zero bytes its key and its arguments. Anything else stands for choices from a grammar.
pub fn script(data: &[u8]) {
    // One at a time: they share a node.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bench = &*BENCH;
    let store = Store::of_node(bench.node.clone());
    let is_text = data.iter().all(|byte| *byte == 0 || byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let mut parts = data.split(|byte| *byte == 0);
    let (source, args) = if is_text {
        let source = parts.next().unwrap_or_default().to_vec();
        (source, parts.map(<[u8]>::to_vec).collect())
    } else {
        let mut choices = Choices::new(data);
        let mut source = String::new();
        while !choices.is_over() && source.len() < 4_000 {
            statement(&mut choices, 3, &mut source);
        }
        source.push_str("return x");
        (source.into_bytes(), vec![b"k".to_vec(), b"10".to_vec()])
    };
    let running = || bench.since.store(bench.began.elapsed().as_millis().max(1) as u64, Ordering::Relaxed);
    let call = || store.script(&source).keys(args.iter().take(1)).args(args.iter().skip(1)).time_limit(TIME);

    running();
    drop(call().read_only().run::<baton::Reply>());
    assert!(store.is_empty().expect("a size"), "a script wrote that may not");
    drop(call().run::<baton::Reply>());
    let library = [b"#!lua name=l\n", &source[..]].concat();
    drop(store.load_library(&library));
    bench.since.store(0, Ordering::Relaxed);

    // Not FUNCTION FLUSH: it forgets the interpreter, which is what is looked at.
    drop(store.run(["FUNCTION", "DELETE", "l"]));
    store.run(["FLUSHALL"]).expect("a store that is emptied");
    assert_eq!(look(&store), bench.untouched, "what the next script sees");
}

const STATEMENTS: &[&str] = &[
    "x = $; ",
    "local x = $; ",
    "local x = {$, $, a = $}; ",
    "x[$] = $; ",
    "if $ then % end ",
    "for i = 1, 3 do % end ",
    "for k, v in pairs($) do % end ",
    "pcall(function() % end) ",
    "xpcall(function() % end, function(e) % end) ",
    "coroutine.wrap(function() % coroutine.yield($) end)() ",
    "error($) ",
    "setfenv(1, $) ",
    "rawset($, $, $) ",
    "_G[$] = $; ",
    "redis.setresp($) ",
    "table.insert($, $) ",
    "cjson.encode_max_depth($) ",
    "cjson.encode_sparse_array($, $, $) ",
    "collectgarbage() ",
    "return $ ",
];

const VALUES: &[&str] = &[
    "x",
    "nil",
    "true",
    "0",
    "-1",
    "1.5",
    "1e300",
    "0/0",
    "KEYS[1]",
    "ARGV",
    "'a'",
    "'\\255\\0'",
    "{}",
    "{$, $}",
    "{err = $}",
    "{ok = $}",
    "{map = {$, a = $}}",
    "{double = $}",
    "_G",
    "redis",
    "function() % end",
    "($)($)",
    "tostring($)",
    "tonumber($)",
    "#$",
    "$ .. $",
    "$ + $",
    "$ == $",
    "string.rep($, 100)",
    "string.format($, $)",
    "string.gsub($, '(.)', $)",
    "string.find($, $)",
    "setmetatable($, {__index = $, __tostring = $, __call = $})",
    "getmetatable($)",
    "select($, $)",
    "unpack($)",
    "next($)",
    "loadstring($)",
    "string.dump($)",
    "coroutine.create($)",
    "coroutine.resume($, $)",
    "cjson.encode($)",
    "cjson.decode($)",
    "cmsgpack.pack($, $)",
    "cmsgpack.unpack($)",
    "cmsgpack.unpack_limit($, $, $)",
    "struct.pack('>I2s', $, $)",
    "struct.unpack($, $)",
    "bit.tohex($, $)",
    "bit.band($, $)",
    "redis.call('set', 'k', $)",
    "redis.call('get', $)",
    "redis.pcall($, $)",
    "redis.call('lpush', 'l', $)",
    "redis.call('lrange', 'l', 0, -1)",
    "redis.call('hgetall', $)",
    "redis.sha1hex($)",
    "redis.error_reply($)",
    "redis.status_reply($)",
    "redis.acl_check_cmd($, $)",
    "math.random($, $)",
];

fn statement(choices: &mut Choices<'_>, depth: usize, out: &mut String) {
    fill(STATEMENTS[choices.below(STATEMENTS.len())], choices, depth, out);
}

/// `$` becomes a value, `%` a statement: simple ones where it gets deep.
fn fill(template: &str, choices: &mut Choices<'_>, depth: usize, out: &mut String) {
    const SIMPLE: usize = 12;
    for part in template.chars() {
        match part {
            '$' if depth == 0 => out.push_str(VALUES[choices.below(SIMPLE)]),
            '$' => fill(VALUES[choices.below(VALUES.len())], choices, depth - 1, out),
            '%' if depth == 0 => {}
            '%' => statement(choices, depth - 1, out),
            other => out.push(other),
        }
    }
}

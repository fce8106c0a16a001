//! Commands that run scripts and functions, or keep them.

use std::collections::VecDeque;

use sha1::{Digest, Sha1};

use super::args::{self, Arg, Kind, Words};
use super::commands::{FAMILIES, Shape};
use super::compare::Compare;
use super::differences::differs_in_effect;
use super::lua::Lua;
use super::random::Random;

/// Bodies that may be asked for by their SHA1.
const KNOWN_MAX: usize = 60;
/// After so many bodies all are forgotten: newer servers keep no more than five hundred that came with EVAL.
const BODIES_MAX: usize = 250;
const LIBRARIES: u64 = 4;
const FUNCTIONS: u64 = 8;

/// Of commands of these names scripts would show what servers do not have in common, or what depends on the clock.
const NOT_IN_SCRIPTS: &[&str] = &[
    "OBJECT",
    "SORT",
    "SORT_RO",
    "BITCOUNT",
    "BITPOS",
    "LPOS",
    "DBSIZE",
    "COMMAND",
    "RESTORE",
    "WAIT",
    "SCAN",
    "SWAPDB",
    "XREADGROUP",
    "XCLAIM",
    "XAUTOCLAIM",
    "XREAD",
    "XINFO",
    "XPENDING",
    "PUBSUB",
    "CLIENT",
    "EXEC",
    "DISCARD",
    "INCRBYFLOAT",
    "HINCRBYFLOAT",
    "EXPIREAT",
    "PEXPIREAT",
    "BLMPOP",
    "BLMOVE",
    "BRPOPLPUSH",
    "BLPOP",
    "BRPOP",
    "BZPOPMIN",
    "BZPOPMAX",
    "BZMPOP",
    "LCS",
    "KEYS",
    "MOVE",
];

const SHEBANGS: &[&str] = &[
    "#!lua\n",
    "#!lua flags=no-writes\n",
    "#!lua flags=no-writes,allow-stale\n",
    "#!lua flags=allow-oom\n",
    "#!lua flags=no-cluster\n",
    "#!lua flags=allow-cross-slot-keys\n",
    "#!lua flags=\n",
    "#!lua flags=,\n",
    "#!lua flags=nosuch\n",
    "#!lua flags=no-writes,no-writes\n",
    "#!lua flags=no-writes flags=allow-oom\n",
    "#!lua name=x\n",
    "#!js\n",
    "#!\n",
    "#!lua",
    "#! lua\n",
    "#!LUA\n",
    "#!lua  flags=no-writes\n",
    "#!lua flags = no-writes\n",
    "#!lua\r\n",
];

const HEADERS: &[&str] = &[
    "#!lua name=NAME extra\n",
    "#!lua\n",
    "#!js name=NAME\n",
    "",
    "#!lua name=NAME",
    "#!lua name=bad-name\n",
    "#!lua name=\n",
    "#!lua name=NAME name=NAME\n",
    "#!LUA NAME=NAME\n",
    "#! lua name=NAME\n",
    "#!lua flags=no-writes name=NAME\n",
    "#!lua  name=NAME  \n",
];

const REGISTRATIONS: &[&str] = &[
    "redis.register_function('FUNC', function(KEYS, ARGV)\nBODY\nend)\n",
    "redis.register_function('FUNC', function(KEYS, ARGV) BODY\nend)\n",
    "local function work(KEYS, ARGV) BODY\nend\nredis.register_function{function_name='FUNC', callback=work, flags={'no-writes'}}\n",
    "redis.register_function{function_name='FUNC', callback=function(KEYS, ARGV) BODY\nend, description='some text', flags={}}\n",
    "local n = 7 redis.register_function('FUNC', function(KEYS, ARGV) return {n, #KEYS, ARGV[1]} end)\n",
    "redis.register_function{function_name='FUNC', callback=function() return redis.call('SET', 'str:1', 'v') end, \
     flags={'no-writes', 'allow-stale', 'allow-oom'}}\n",
];

const BAD_REGISTRATIONS: &[&str] = &[
    "redis.register_function('FUNC')\n",
    "redis.register_function('FUNC', 1)\n",
    "redis.register_function('bad name', function() end)\n",
    "redis.register_function{function_name='FUNC'}\n",
    "redis.register_function{callback=function() end}\n",
    "redis.register_function{function_name='FUNC', callback=function() end, flags={'nosuch'}}\n",
    "redis.register_function{function_name='FUNC', callback=function() end, flags=1}\n",
    "redis.register_function{function_name='FUNC', callback=function() end, nosuch=1}\n",
    "redis.register_function{function_name=1, callback=function() end}\n",
    "redis.register_function{function_name='FUNC', callback=function() end, description={}}\n",
    "redis.register_function(1, function() end)\n",
    "redis.register_function()\n",
    "redis.register_function(1, 2, 3)\n",
    "redis.register_function({})\n",
    "redis.call('GET', 'x')\n",
    "x = 1\n",
    "return nosuch\n",
    "redis.setresp(3)\n",
    "redis.log(redis.LOG_DEBUG, 'x')\n",
    "return redis.sha1hex('')\n",
    "local x = redis.nosuch\n",
    "syntax error here\n",
    "redis.register_function('FUNC', function() end, {})\n",
    "redis.register_function{[1]='FUNC', [2]=function() end}\n",
    "redis.register_function{'FUNC', function() end}\n",
    "KEYS = 1\n",
    "redis.register_function('', function() end)\n",
    "redis.acl_check_cmd('get')\n",
];

/// Draws commands on scripts, and remembers what could be run.
pub struct Scripts {
    shapes: Vec<&'static Shape>,
    /// Those whose replies come in any order.
    unordered: Vec<&'static Shape>,
    /// Names of bodies, and whether their replies come in any order.
    known: VecDeque<(String, bool)>,
    bodies: usize,
}

impl Scripts {
    pub fn new() -> Scripts {
        let fits = |shape: &&Shape| {
            let name = shape.name.split(' ').next().unwrap_or_default();
            !name.starts_with("GEO") && !NOT_IN_SCRIPTS.contains(&name)
        };
        let with = |compare: &[Compare]| -> Vec<&'static Shape> {
            let all = FAMILIES.iter().copied().flatten();
            all.filter(|shape| fits(shape) && compare.contains(&shape.compare)).collect()
        };
        let unordered = with(&[Compare::Unordered, Compare::Pairs]);
        Scripts { shapes: with(&[Compare::Exact]), unordered, known: VecDeque::new(), bodies: 0 }
    }

    /// A command, and how its replies are compared.
    pub fn command(&mut self, random: &mut Random) -> (Words, Compare) {
        if self.bodies > BODIES_MAX {
            self.bodies = 0;
            return (words("SCRIPT FLUSH"), Compare::Exact);
        }
        match random.below(100) {
            0..=62 => self.eval(random),
            63..=70 => self.evalsha(random),
            71..=74 => self.script(random),
            75..=82 => self.load(random),
            83..=94 => self.fcall(random),
            _ => (function(random), Compare::Script { unordered: true }),
        }
    }

    fn eval(&mut self, random: &mut Random) -> (Words, Compare) {
        let (body, unordered) = self.body(random);
        self.know(&body, unordered);
        let name = random.pick(&["EVAL", "EVAL", "EVAL", "EVAL", "eval", "EVAL_RO"]);
        (with_keys(name, body, random), Compare::Script { unordered })
    }

    fn know(&mut self, body: &[u8], unordered: bool) {
        let name = Sha1::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        self.bodies += 1;
        self.known.push_back((name, unordered));
        if self.known.len() > KNOWN_MAX {
            self.known.pop_front();
        }
    }

    fn some_name(&self, random: &mut Random) -> (String, bool) {
        let wild = [
            "",
            "x",
            "0123456789012345678901234567890123456789",
            "ffffffffffffffffffffffffffffffffffffffffff",
        ];
        if self.known.is_empty() || random.percent(6) {
            return (random.pick(&wild).to_owned(), false);
        }
        let (name, unordered) = &self.known[random.below(self.known.len() as u64) as usize];
        let name = if random.percent(10) { name.to_ascii_uppercase() } else { name.clone() };
        (name, *unordered)
    }

    fn evalsha(&mut self, random: &mut Random) -> (Words, Compare) {
        let (name, unordered) = self.some_name(random);
        let command = random.pick(&["EVALSHA", "EVALSHA", "evalsha", "EVALSHA_RO"]);
        (with_keys(command, name.into_bytes(), random), Compare::Script { unordered })
    }

    fn script(&mut self, random: &mut Random) -> (Words, Compare) {
        let mut line = words("SCRIPT");
        match random.below(12) {
            0..=3 => {
                let (body, unordered) = self.body(random);
                self.know(&body, unordered);
                line.extend([b"LOAD".to_vec(), body]);
            }
            4..=8 => {
                line.push(b"EXISTS".to_vec());
                line.extend((0..random.below(4)).map(|_| self.some_name(random).0.into_bytes()));
            }
            _ => line.extend(words(random.pick(&[
                "FLUSH",
                "FLUSH SYNC",
                "FLUSH ASYNC",
                "FLUSH NOW",
                "KILL",
                "KILL x",
                "NOSUCH",
                "LOAD",
                "LOAD a b",
                "FLUSH SYNC SYNC",
            ]))),
        }
        (line, Compare::Exact)
    }

    fn body(&self, random: &mut Random) -> (Vec<u8>, bool) {
        let (body, unordered) = self.plain_body(random);
        if random.percent(90) {
            return (body, unordered);
        }
        let mut source = random.pick(SHEBANGS).as_bytes().to_vec();
        source.extend(body);
        (source, unordered)
    }

    fn plain_body(&self, random: &mut Random) -> (Vec<u8>, bool) {
        Lua::body(random, |random, unordered| self.inner_command(random, unordered))
    }

    /// A command for `redis.call`, one whose reply comes in any order or not.
    fn inner_command(&self, random: &mut Random, unordered: bool) -> Words {
        const NEVER: &[&str] = &[
            "MULTI",
            "EXEC",
            "WATCH x",
            "SUBSCRIBE x",
            "AUTH a b",
            "EVAL x 0",
            "EVALSHA x 0",
            "FCALL x 0",
            "SCRIPT LOAD x",
            "MONITOR",
            "nosuch",
            "CLIENT NOSUCH",
            "SPUBLISH a b",
            "RESET",
            "HELLO 3",
            "CONFIG NOSUCH",
            "FUNCTION LIST",
            "PING a b c",
            "SAVE x",
            "OBJECT",
            "XINFO",
            "ACL NOSUCH",
            "DEBUG x",
            "SHUTDOWN x",
            "PSYNC a b",
            "QUIT x",
        ];
        if random.percent(4) {
            return words(random.pick(NEVER));
        }
        loop {
            let shape = random.pick(if unordered { &self.unordered } else { &self.shapes });
            let mut line = words(shape.name);
            args::draw_all(shape.args, random, &mut line);
            let may_be_odd = shape.may_be_odd && line.len() > 1;
            if may_be_odd && random.percent(5) {
                line.pop();
            } else if may_be_odd && random.percent(3) {
                line.push(args::refused_word(random));
            }
            if !differs_in_effect(&line) && !args::may_have_expired_a_key(&line) {
                return line;
            }
        }
    }

    fn load(&mut self, random: &mut Random) -> (Words, Compare) {
        let name = format!("lib{}", random.below(LIBRARIES));
        let header = if random.percent(88) { "#!lua name=NAME\n" } else { random.pick(HEADERS) };
        let mut source = header.replace("NAME", &name).into_bytes();
        for _ in 0..random.between(1, 3) {
            let good = random.percent(85);
            let template = random.pick(if good { REGISTRATIONS } else { BAD_REGISTRATIONS });
            let template = template.replace("FUNC", &format!("f{}", random.below(FUNCTIONS)));
            match template.split_once("BODY") {
                Some((before, after)) => {
                    source.extend(before.bytes());
                    source.extend(self.plain_body(random).0);
                    source.extend(after.bytes());
                }
                None => source.extend(template.bytes()),
            }
        }
        let mut line =
            words(random.pick(&["FUNCTION LOAD", "FUNCTION LOAD REPLACE", "FUNCTION LOAD REPLACE"]));
        line.push(source);
        (line, Compare::Script { unordered: false })
    }

    fn fcall(&mut self, random: &mut Random) -> (Words, Compare) {
        let command = random.pick(&["FCALL", "FCALL", "FCALL", "fcall", "FCALL_RO"]);
        let name = if random.percent(96) { format!("f{}", random.below(FUNCTIONS)) } else { "nosuch".into() };
        (with_keys(command, name.into_bytes(), random), Compare::Script { unordered: true })
    }
}

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The command with its first argument, a number of keys, keys and arguments.
fn with_keys(command: &str, first: Vec<u8>, random: &mut Random) -> Words {
    let mut line = vec![command.as_bytes().to_vec(), first];
    let keys = random.below(4) as i64;
    let claimed = match random.below(100) {
        0..=93 => keys.to_string(),
        94..=96 => (keys + random.between(-2, 5)).to_string(),
        _ => random.pick(&["-1", "x", "", "1.5", "99999999999999999999", "9223372036854775807"]).to_owned(),
    };
    line.push(claimed.into_bytes());
    for _ in 0..keys {
        Arg::Key(Kind::Any).draw(random, &mut line);
    }
    for _ in 0..random.below(4) {
        Arg::Value.draw(random, &mut line);
    }
    if random.percent(2) {
        line.truncate(random.between(1, 3) as usize);
    }
    line
}

fn function(random: &mut Random) -> Words {
    const LINES: &[&str] = &[
        "LIST",
        "LIST",
        "LIST WITHCODE",
        "LIST LIBRARYNAME lib1",
        "LIST LIBRARYNAME lib*",
        "LIST LIBRARYNAME LIB1 WITHCODE",
        "LIST LIBRARYNAME",
        "LIST NOSUCH",
        "LIST WITHCODE WITHCODE",
        "LIST LIBRARYNAME a LIBRARYNAME b",
        "DELETE lib0",
        "DELETE lib1",
        "DELETE LIB2",
        "DELETE nosuch",
        "DELETE",
        "FLUSH",
        "FLUSH SYNC",
        "FLUSH NOW",
        "FLUSH ASYNC x",
        "STATS",
        "STATS x",
        "KILL",
        "NOSUCH",
        "RESTORE x",
        "RESTORE x FLUSH",
        "RESTORE x NOSUCH",
        "RESTORE",
        "LOAD",
        "LOAD REPLACE",
        "LOAD x y",
        "LOAD REPLACE x y",
    ];
    let mut line = words("FUNCTION");
    line.extend(words(random.pick(LINES)));
    line
}

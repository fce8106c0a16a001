//! Sources of scripts, drawn from a grammar: see `templates.rs`.

use super::args::{Words, sets_a_time};
use super::random::Random;
use super::templates::*;

/// Beyond this there are only expressions without parts.
const DEPTH_MAX: u32 = 4;

/// Draws a source. `commands` gives the words of commands: of those whose replies come in no order, or of the others.
pub struct Lua<'r, C: FnMut(&mut Random, bool) -> Words> {
    random: &'r mut Random,
    commands: C,
    out: Vec<u8>,
    /// Some reply in it may come in any order.
    unordered: bool,
}

impl<'r, C: FnMut(&mut Random, bool) -> Words> Lua<'r, C> {
    /// A body, and whether something in it comes in any order.
    pub fn body(random: &'r mut Random, commands: C) -> (Vec<u8>, bool) {
        let mut lua = Lua { random, commands, out: Vec::new(), unordered: false };
        lua.one_of(BEGINNINGS, 0);
        for _ in 0..lua.random.below(5) {
            lua.one_of(STATEMENTS, 1);
            let end: &[u8] = lua.random.pick(&[b"\n", b"\n", b" ", b"; "]);
            lua.out.extend_from_slice(end);
        }
        lua.one_of(LAST, 0);
        if lua.random.percent(4) {
            lua.spoil();
        }
        (lua.out, lua.unordered)
    }

    fn spoil(&mut self) {
        let at = self.random.below(self.out.len() as u64 + 1) as usize;
        if self.random.percent(30) {
            self.out.truncate(at);
        } else {
            let what = self.random.pick(SPOILERS).bytes();
            self.out.splice(at..at, what);
        }
    }

    fn expand(&mut self, template: &str, depth: u32) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            self.out.extend_from_slice(before.as_bytes());
            let (kind, after) = after.split_at(1);
            self.part(kind, depth + 1);
            rest = after;
        }
        self.out.extend_from_slice(rest.as_bytes());
    }

    fn part(&mut self, kind: &str, depth: u32) {
        let deep = depth > DEPTH_MAX;
        let templates = match kind {
            "e" if deep || self.random.percent(25) => ATOMS,
            "e" if self.random.percent(12) => {
                let operator = self.random.pick(OPERATORS);
                return self.expand(&format!("($a {operator} $e)"), depth);
            }
            "e" => EXPRESSIONS,
            "t" if deep => &["{$a}", "{}", "{$a, $a}"],
            "t" => TABLES,
            "b" if deep => &["x = $a", "return $a"],
            "b" => STATEMENTS,
            "a" => ATOMS,
            "n" => NUMBERS,
            "s" => STRINGS,
            "v" => &["x", "y", "z", "x", "y", "w", "i"],
            "i" => &["1", "2", "3", "4"],
            "j" => return self.literal(JSON),
            "m" => return self.literal(MESSAGES),
            "f" => return self.literal(FORMATS),
            "p" => return self.literal(LUA_PATTERNS),
            "c" => return self.command(false),
            "u" => return self.command(true),
            other => unreachable!("${other} in a template"),
        };
        self.one_of(templates, depth);
    }

    fn one_of(&mut self, templates: &[&str], depth: u32) {
        let template = self.random.pick(templates);
        self.expand(template, depth);
    }

    fn literal(&mut self, texts: &[&str]) {
        let text = self.random.pick(texts);
        // Escapes of MessagePack are those of Lua; those of JSON are its own.
        match text.contains('"') || text.contains('\'') || text.contains('\n') {
            true => self.out.extend(format!("[==[{text}]==]").bytes()),
            false => self.out.extend(format!("'{text}'").bytes()),
        }
    }

    fn command(&mut self, unordered: bool) {
        let words = (self.commands)(self.random, unordered);
        self.unordered |= unordered;
        // Any other number could be a time that is over before the test is.
        let may_change = !sets_a_time(&words);
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                self.out.extend_from_slice(b", ");
            }
            let digits = std::str::from_utf8(word).ok().and_then(|word| word.parse::<i32>().ok());
            match digits {
                Some(number) if number.to_string().as_bytes() == word && self.random.percent(50) => {
                    self.out.extend_from_slice(word);
                }
                _ if at > 0 && may_change && self.random.percent(8) => self.part("a", DEPTH_MAX),
                _ => quote(word, &mut self.out),
            }
        }
    }
}

/// A string of Lua in quotes.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for byte in text {
        match byte {
            b'\'' | b'\\' => out.extend([b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend(format!("\\{byte:03}").bytes()),
        }
    }
    out.push(b'\'');
}

//! Patterns of Lua 5.1: what `string.find` and its kin match.
//!
//! | item                | matches                                     | item      | matches                                     |
//! |---------------------|---------------------------------------------|-----------|---------------------------------------------|
//! | `.`                 | any byte                                    | `%b()`    | up to the bracket that closes this one      |
//! | `%a` `%d` ...       | a class of bytes; `%A`: all others          | `%f[set]` | nothing, where a set begins                 |
//! | `[set]` `[^set]`    | a byte that is in the set, or is not        | `%1`      | what the first capture has matched          |
//! | `x*` `x+` `x-` `x?` | as many as can be, at least one, as few as can be, one or none | `(..)` | a capture; `()` of the position |
//!
//! The matcher of Lua takes as long as it takes, without a look at the time, and as much of the stack as a pattern is long.
//! This one asks now and then whether it may go on, and knows how deep it is. A pattern ends at its first zero byte, as
//! in 5.1.

/// Captures that a pattern may have.
pub(super) const CAPTURES_MAX: usize = 32;

/// How deep repetitions and captures may lie behind each other: each takes a frame of the stack.
const DEPTH_MAX: usize = 8 * 1024;

/// Bytes and items that are looked at between two questions whether to go on.
const STEPS: u32 = 1 << 16;

/// What a capture has matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// It has begun here, and has not ended.
    Open(usize),
    /// From here to there.
    Text(usize, usize),
    /// A position.
    At(usize),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The pattern is none.
    Malformed(&'static std::ffi::CStr),
    /// It may not go on.
    Ended,
}

/// The captures of a match. Owns nothing: errors of Lua may jump over it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Captures {
    all: [Capture; CAPTURES_MAX],
    count: usize,
}

impl Captures {
    pub(super) const fn none() -> Self {
        Self { all: [Capture::At(0); CAPTURES_MAX], count: 0 }
    }

    pub(super) fn all(&self) -> &[Capture] {
        &self.all[..self.count]
    }
}

type Matched = Result<Option<usize>, Failure>;

/// A text that a pattern is matched with. Positions are counted from zero.
pub(super) struct Matcher<'t> {
    text: &'t [u8],
    pattern: &'t [u8],
    captures: Captures,
    depth: usize,
    steps: u32,
    /// Whether to go on.
    goes_on: &'t dyn Fn() -> bool,
}

impl<'t> Matcher<'t> {
    pub(super) fn new(text: &'t [u8], pattern: &'t [u8], goes_on: &'t dyn Fn() -> bool) -> Self {
        let end = memchr::memchr(0, pattern).unwrap_or(pattern.len());
        let pattern = &pattern[..end];
        Self { text, pattern, captures: Captures::none(), depth: 0, steps: 0, goes_on }
    }

    /// The first match that begins here or later, at `from` only if `anchored`: where it begins and ends.
    pub(super) fn find(&mut self, from: usize, anchored: bool) -> Result<Option<(usize, usize)>, Failure> {
        for start in from..=self.text.len() {
            if let Some(end) = self.at(start)? {
                return Ok(Some((start, end)));
            }
            if anchored {
                break;
            }
        }
        Ok(None)
    }

    /// Where the match that begins here ends.
    pub(super) fn at(&mut self, start: usize) -> Matched {
        self.captures.count = 0;
        self.depth = 0;
        self.items(start, 0)
    }

    /// What the last match has captured.
    pub(super) fn captures(&self) -> &Captures {
        &self.captures
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.steps += 1;
        if self.steps < STEPS {
            return Ok(());
        }
        self.steps = 0;
        if (self.goes_on)() { Ok(()) } else { Err(Failure::Ended) }
    }

    /// A byte of the pattern; zero behind its end.
    fn p(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    /// Matches the items from `p` on with the text from `s` on.
    fn items(&mut self, mut s: usize, mut p: usize) -> Matched {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Failure::Malformed(c"pattern too complex"));
        }
        let found = loop {
            self.step()?;
            match (self.p(p), self.p(p + 1)) {
                (0, _) => break Some(s),
                (b'(', b')') => break self.begin(Capture::At(s), s, p + 2)?,
                (b'(', _) => break self.begin(Capture::Open(s), s, p + 1)?,
                (b')', _) => break self.end(s, p + 1)?,
                (b'%', b'b') => match self.balanced(s, p + 2)? {
                    Some(after) => (s, p) = (after, p + 4),
                    None => break None,
                },
                (b'%', b'f') => match self.frontier(s, p + 2)? {
                    Some(after) => p = after,
                    None => break None,
                },
                (b'%', digit @ b'0'..=b'9') => match self.again(s, digit)? {
                    Some(after) => (s, p) = (after, p + 2),
                    None => break None,
                },
                (b'$', 0) => break (s == self.text.len()).then_some(s),
                _ => {
                    let end = self.item_end(p)?;
                    match self.p(end) {
                        b'?' => {
                            if self.is_match(s, p, end)
                                && let Some(found) = self.items(s + 1, end + 1)?
                            {
                                break Some(found);
                            }
                            p = end + 1;
                        }
                        b'*' => break self.most(s, s, p, end)?,
                        b'+' if self.is_match(s, p, end) => break self.most(s, s + 1, p, end)?,
                        b'+' => break None,
                        b'-' => break self.least(s, p, end)?,
                        _ if self.is_match(s, p, end) => (s, p) = (s + 1, end),
                        _ => break None,
                    }
                }
            }
        };
        self.depth -= 1;
        Ok(found)
    }

    /// As many as there are from `from` on, but not fewer than up to `least`; and what follows.
    fn most(&mut self, from: usize, least: usize, p: usize, end: usize) -> Matched {
        let mut s = from.max(least);
        while self.is_match(s, p, end) {
            s += 1;
            self.step()?;
        }
        loop {
            if let Some(found) = self.items(s, end + 1)? {
                return Ok(Some(found));
            }
            if s == least {
                return Ok(None);
            }
            s -= 1;
        }
    }

    /// As few as can be, and what follows.
    fn least(&mut self, mut s: usize, p: usize, end: usize) -> Matched {
        loop {
            if let Some(found) = self.items(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_match(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn begin(&mut self, capture: Capture, s: usize, p: usize) -> Matched {
        let count = self.captures.count;
        if count >= CAPTURES_MAX {
            return Err(Failure::Malformed(c"too many captures"));
        }
        self.captures.all[count] = capture;
        self.captures.count = count + 1;
        let found = self.items(s, p)?;
        if found.is_none() {
            self.captures.count -= 1;
        }
        Ok(found)
    }

    fn end(&mut self, s: usize, p: usize) -> Matched {
        let open = self.captures.all().iter().rposition(|capture| matches!(capture, Capture::Open(_)));
        let Some((at, Capture::Open(start))) = open.map(|at| (at, self.captures.all[at])) else {
            return Err(Failure::Malformed(c"invalid pattern capture"));
        };
        self.captures.all[at] = Capture::Text(start, s);
        let found = self.items(s, p)?;
        if found.is_none() {
            self.captures.all[at] = Capture::Open(start);
        }
        Ok(found)
    }

    /// `%1`: what a capture has matched, once more.
    fn again(&self, s: usize, digit: u8) -> Matched {
        const INVALID: Failure = Failure::Malformed(c"invalid capture index");
        let at = usize::from(digit).checked_sub(usize::from(b'1')).ok_or(INVALID)?;
        match self.captures.all().get(at) {
            Some(Capture::Text(start, end)) => {
                let is_there = self.text[s..].starts_with(&self.text[*start..*end]);
                Ok(is_there.then_some(s + end - start))
            }
            // A position is as long as nothing can be.
            Some(Capture::At(_)) => Ok(None),
            Some(Capture::Open(_)) | None => Err(INVALID),
        }
    }

    /// `%bxy`, behind the `b`.
    fn balanced(&mut self, s: usize, p: usize) -> Matched {
        let (opens, closes) = (self.p(p), self.p(p + 1));
        if opens == 0 || closes == 0 {
            return Err(Failure::Malformed(c"unbalanced pattern"));
        }
        if self.text.get(s) != Some(&opens) {
            return Ok(None);
        }
        let mut open = 1_usize;
        for at in s + 1..self.text.len() {
            self.step()?;
            let byte = self.text[at];
            if byte == closes {
                open -= 1;
                if open == 0 {
                    return Ok(Some(at + 1));
                }
            } else if byte == opens {
                open += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`, behind the `f`: where the pattern goes on if a set begins here.
    fn frontier(&self, s: usize, p: usize) -> Matched {
        if self.p(p) != b'[' {
            return Err(Failure::Malformed(c"missing '[' after '%f' in pattern"));
        }
        let end = self.item_end(p)?;
        let before = s.checked_sub(1).map_or(0, |at| self.text[at]);
        let here = self.text.get(s).copied().unwrap_or(0);
        Ok((!self.is_in_set(before, p, end - 1) && self.is_in_set(here, p, end - 1)).then_some(end))
    }

    /// Where the item that begins here ends, without its repetition.
    fn item_end(&self, p: usize) -> Result<usize, Failure> {
        let mut at = p + 1;
        match self.p(p) {
            b'%' if at >= self.pattern.len() => Err(Failure::Malformed(c"malformed pattern (ends with '%')")),
            b'%' => Ok(at + 1),
            b'[' => {
                at += usize::from(self.p(at) == b'^');
                loop {
                    // The first byte belongs to the set whatever it is.
                    match self.p(at) {
                        0 => return Err(Failure::Malformed(c"malformed pattern (missing ']')")),
                        b'%' if at + 1 < self.pattern.len() => at += 2,
                        _ => at += 1,
                    }
                    if self.p(at) == b']' {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(at),
        }
    }

    /// Whether a byte of the text is one that the item from `p` to `end` matches.
    fn is_match(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(byte) = self.text.get(s).copied() else { return false };
        match self.p(p) {
            b'.' => true,
            b'%' => is_in_class(byte, self.p(p + 1)),
            b'[' => self.is_in_set(byte, p, end - 1),
            other => other == byte,
        }
    }

    /// Whether a byte is in the set whose brackets are at `p` and `end`.
    fn is_in_set(&self, byte: u8, p: usize, end: usize) -> bool {
        let negated = self.p(p + 1) == b'^';
        let mut at = p + 1 + usize::from(negated);
        while at < end {
            let found = match self.p(at) {
                b'%' => {
                    at += 1;
                    is_in_class(byte, self.p(at))
                }
                first if self.p(at + 1) == b'-' && at + 2 < end => {
                    at += 2;
                    (first..=self.p(at)).contains(&byte)
                }
                other => other == byte,
            };
            if found {
                return !negated;
            }
            at += 1;
        }
        negated
    }
}

/// Whether a byte is in a class, or is what stands for itself behind a `%`.
fn is_in_class(byte: u8, class: u8) -> bool {
    let is = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        // With the vertical tab, as C has it.
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is != class.is_ascii_uppercase()
}

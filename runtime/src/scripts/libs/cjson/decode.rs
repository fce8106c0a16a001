//! JSON to values.

use super::Config;
use crate::scripts::lua::{Raise, Returned, Stack};

pub(super) fn decode(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 {
        return Err(stack.bad_argument(1, "expected 1 argument"));
    }
    let config = stack.shared().json.get();
    let text = stack.string_argument(1)?.to_vec();
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    let mut parser = Parser { text: &text, at: 0, config, depth: 0, string: Vec::new() };
    let token = parser.token();
    parser.value(stack, token)?;
    match parser.token() {
        Token { kind: Kind::End, .. } => Ok(1),
        token => Err(token.unexpected("the end")),
    }
}

/// More than Lua takes for any value that is not longer in its text.
const VALUE_BYTES: usize = 128;

#[derive(Clone, Copy)]
enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// It is in `Parser::string`.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    at: usize,
}

impl Token {
    fn unexpected(self, wanted: &str) -> Raise {
        let found = match self.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Wrong(what) => what,
        };
        format!("Expected {wanted} but found {found} at character {}", self.at + 1).into()
    }
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    config: Config,
    depth: i32,
    /// The string that was read last.
    string: Vec<u8>,
}

impl Parser<'_> {
    /// A byte from here on; zero beyond the end, which ends the text wherever it is.
    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self) -> Token {
        while matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(0) {
            b'{' => Some(Kind::ObjectBegin),
            b'}' => Some(Kind::ObjectEnd),
            b'[' => Some(Kind::ArrayBegin),
            b']' => Some(Kind::ArrayEnd),
            b',' => Some(Kind::Comma),
            b':' => Some(Kind::Colon),
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            return Token { kind, at };
        }
        let kind = match self.byte(0) {
            0 => Kind::End,
            b'"' => return self.string_token(at),
            b'-' | b'0'..=b'9' => {
                if !self.config.decode_invalid && self.is_invalid_number() {
                    Kind::Wrong("invalid number")
                } else {
                    self.number()
                }
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => self.word(),
            _ => Kind::Wrong("invalid token"),
        };
        Token { kind, at }
    }

    fn word(&mut self) -> Kind {
        let words: [(&[u8], Kind); 3] =
            [(b"true", Kind::Boolean(true)), (b"false", Kind::Boolean(false)), (b"null", Kind::Null)];
        for (word, kind) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return kind;
            }
        }
        if self.config.decode_invalid && self.is_invalid_number() {
            return self.number();
        }
        Kind::Wrong("invalid token")
    }

    /// Whether this is a number for C, but not for JSON.
    fn is_invalid_number(&self) -> bool {
        if self.byte(0) == b'+' {
            return true;
        }
        let from = usize::from(self.byte(0) == b'-');
        match self.byte(from) {
            b'0' => matches!(self.byte(from + 1), b'x' | b'X' | b'0'..=b'9'),
            ..=b'9' => false,
            _ => {
                let rest = self.rest().get(from..from + 3).unwrap_or_default();
                rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Kind {
        match strtod(self.rest()) {
            Some((number, len)) => {
                self.at += len;
                Kind::Number(number)
            }
            None => Kind::Wrong("invalid number"),
        }
    }

    fn string_token(&mut self, start: usize) -> Token {
        self.string.clear();
        self.at += 1;
        loop {
            // Everything up to the next special byte at once.
            let plain = self.rest().iter().position(|byte| matches!(byte, b'"' | b'\\' | 0));
            let plain = plain.unwrap_or(self.rest().len());
            self.string.extend_from_slice(&self.text[self.at.min(self.text.len())..][..plain]);
            self.at += plain;
            match self.byte(0) {
                b'"' => {
                    self.at += 1;
                    return Token { kind: Kind::String, at: start };
                }
                0 => return Token { kind: Kind::Wrong("unexpected end of string"), at: self.at },
                _ => {}
            }
            let escaped = match self.byte(1) {
                byte @ (b'"' | b'\\' | b'/') => byte,
                b'b' => 0x08,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 0x0c,
                b'r' => b'\r',
                b'u' => match self.unicode() {
                    Some(()) => continue,
                    None => return Token { kind: Kind::Wrong("invalid unicode escape code"), at: self.at },
                },
                _ => return Token { kind: Kind::Wrong("invalid escape code"), at: self.at },
            };
            self.string.push(escaped);
            self.at += 2;
        }
    }

    /// Four hexadecimal digits.
    fn hex(&self, ahead: usize) -> Option<u32> {
        (0..4).try_fold(0, |all, at| Some(all << 4 | char::from(self.byte(ahead + at)).to_digit(16)?))
    }

    /// `\uXXXX`, or two of them that are one character.
    fn unicode(&mut self) -> Option<()> {
        let mut code = self.hex(2)?;
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            if code & 0x400 != 0 || self.byte(6) != b'\\' || self.byte(7) != b'u' {
                return None;
            }
            let low = self.hex(8)?;
            if low & 0xfc00 != 0xdc00 {
                return None;
            }
            code = ((code & 0x3ff) << 10 | low & 0x3ff) + 0x1_0000;
            len = 12;
        }
        let mut buffer = [0; 4];
        self.string.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
        self.at += len;
        Some(())
    }

    /// Pushes the value that begins with this token.
    fn value(&mut self, stack: &mut Stack<'_>, token: Token) -> Result<(), Raise> {
        stack.spend(VALUE_BYTES)?;
        match token.kind {
            Kind::String => stack.push_bytes(&self.string),
            Kind::Number(number) => stack.push_number(number),
            Kind::Boolean(yes) => stack.push_boolean(yes),
            Kind::ObjectBegin => self.object(stack)?,
            Kind::ArrayBegin => self.array(stack)?,
            Kind::Null => stack.push_null(),
            _ => return Err(token.unexpected("value")),
        }
        Ok(())
    }

    fn descend(&mut self, stack: &mut Stack<'_>) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth > self.config.decode_depth || !stack.room(3) {
            let (depth, at) = (self.depth, self.at);
            return Err(format!("Found too many nested data structures ({depth}) at character {at}").into());
        }
        stack.new_table(0, 0);
        Ok(())
    }

    fn object(&mut self, stack: &mut Stack<'_>) -> Result<(), Raise> {
        self.descend(stack)?;
        let mut token = self.token();
        if !matches!(token.kind, Kind::ObjectEnd) {
            loop {
                if !matches!(token.kind, Kind::String) {
                    return Err(token.unexpected("object key string"));
                }
                stack.push_bytes(&self.string);
                let colon = self.token();
                if !matches!(colon.kind, Kind::Colon) {
                    return Err(colon.unexpected("colon"));
                }
                let first = self.token();
                self.value(stack, first)?;
                stack.raw_set(-3);
                token = self.token();
                match token.kind {
                    Kind::ObjectEnd => break,
                    Kind::Comma => token = self.token(),
                    _ => return Err(token.unexpected("comma or object end")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self, stack: &mut Stack<'_>) -> Result<(), Raise> {
        self.descend(stack)?;
        let mut token = self.token();
        if !matches!(token.kind, Kind::ArrayEnd) {
            for index in 1.. {
                self.value(stack, token)?;
                stack.raw_set_index(-2, index);
                token = self.token();
                match token.kind {
                    Kind::ArrayEnd => break,
                    Kind::Comma => token = self.token(),
                    _ => return Err(token.unexpected("comma or array end")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

/// The number at the beginning of a text as C reads it, and how long it is.
fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let byte = |at: usize| text.get(at).copied().unwrap_or(0);
    let start = usize::from(matches!(byte(0), b'+' | b'-'));
    let sign = if byte(0) == b'-' { -1.0 } else { 1.0 };
    let begins =
        |word: &[u8]| text.get(start..start + word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    for (word, value) in [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)] {
        if begins(word) {
            return Some((sign * value, start + word.len()));
        }
    }
    if byte(start) == b'0' && matches!(byte(start + 1), b'x' | b'X') && byte(start + 2).is_ascii_hexdigit() {
        let (value, len) = hexadecimal(&text[start + 2..]);
        return Some((sign * value, start + 2 + len));
    }
    let digits = |from: usize| text[from.min(text.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(start);
    let mut end = start + whole;
    let mut decimals = 0;
    if byte(end) == b'.' {
        decimals = digits(end + 1);
        if whole + decimals > 0 {
            end += 1 + decimals;
        }
    }
    if whole + decimals == 0 {
        return None;
    }
    if matches!(byte(end), b'e' | b'E') {
        let sign = usize::from(matches!(byte(end + 1), b'+' | b'-'));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, end))
}

/// `1f.8p3`, without the `0x`.
fn hexadecimal(text: &[u8]) -> (f64, usize) {
    let (mut value, mut exponent, mut at, mut point) = (0.0_f64, 0_i32, 0, None);
    while let Some(byte) = text.get(at) {
        if let Some(digit) = char::from(*byte).to_digit(16) {
            value = value * 16.0 + f64::from(digit);
            exponent -= if point.is_some() { 4 } else { 0 };
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            break;
        }
        at += 1;
    }
    if matches!(text.get(at), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let digits = text[at + 1 + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            let shown = &text[at + 1..at + 1 + sign + digits];
            let by = std::str::from_utf8(shown).ok().and_then(|text| text.parse::<i32>().ok());
            exponent = exponent.saturating_add(by.unwrap_or(if text[at + 1] == b'-' { -5000 } else { 5000 }));
            at += 1 + sign + digits;
        }
    }
    (value * 2.0_f64.powi(exponent.clamp(-5000, 5000)), at)
}

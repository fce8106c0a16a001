//! Bitmaps: strings as rows of bits, and as rows of integers of any width.

use crate::command::Flag::*;
use crate::command::KeyFlag::*;
use crate::command::{Args, Arity, Category, Command, Group, Run, key, keys};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::keyspace::{StrRef, Value, ValueRef};
use crate::number::parse_i64;
use crate::reply::Reply;
use crate::types::bits::{self, BitOp, FieldType, Overflow, RangeUnit};
use smallvec::SmallVec;
use std::borrow::Cow;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "BITCOUNT",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Bitmap],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Bitmap,
        since: "2.6.0",
        complexity: "O(n) for n bytes looked at",
        summary: "Counts the bits that are set in a string or a part of it.",
        run: Run::Keys(bitcount),
        ..Command::BASE
    },
    Command {
        name: "BITFIELD",
        arity: Arity::AtLeast(2),
        flags: &[Write, DenyOom],
        acl: &[Category::Bitmap],
        keys: &[key(1, &[Rw, Update, Access, VariableFlags])],
        group: Group::Bitmap,
        since: "3.2.0",
        complexity: "O(1) for each operation",
        summary: "Reads and changes integers of any width inside a string.",
        run: Run::Keys(bitfield),
        ..Command::BASE
    },
    Command {
        name: "BITFIELD_RO",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Bitmap],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Bitmap,
        since: "6.0.0",
        complexity: "O(1) for each operation",
        summary: "Reads integers of any width inside a string.",
        run: Run::Keys(bitfield_ro),
        ..Command::BASE
    },
    Command {
        name: "BITOP",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom],
        acl: &[Category::Bitmap],
        keys: &[key(2, &[Ow, Update]), keys(3, -1, 1, &[Ro, Access])],
        group: Group::Bitmap,
        since: "2.6.0",
        complexity: "O(n*m) for n strings of up to m bytes",
        summary: "Combines strings bit by bit and stores the result.",
        run: Run::Keys(bitop),
        ..Command::BASE
    },
    Command {
        name: "BITPOS",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::Bitmap],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Bitmap,
        since: "2.8.7",
        complexity: "O(n) for n bytes looked at",
        summary: "Finds the first bit that is set, or clear, in a string or a part of it.",
        run: Run::Keys(bitpos),
        ..Command::BASE
    },
    Command {
        name: "GETBIT",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Bitmap],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Bitmap,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Answers one bit of a string.",
        run: Run::Keys(getbit),
        ..Command::BASE
    },
    Command {
        name: "SETBIT",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom],
        acl: &[Category::Bitmap],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::Bitmap,
        since: "2.2.0",
        complexity: "O(1), or O(n) for n bytes that the string grows",
        summary: "Sets or clears one bit of a string, which grows as needed.",
        run: Run::Keys(setbit),
        ..Command::BASE
    },
];

// ---- single bits -------------------------------------------------------------------------------------------

fn getbit(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let offset = bit_offset(ctx, args.get(2))?;
    Ok(match ctx.keyspace.string(args.get(1))? {
        Some(text) => bits::get_bit(text.bytes(&mut itoa::Buffer::new()), offset).into(),
        None => Reply::Integer(0),
    })
}

fn setbit(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    const NO_BIT: CommandError = CommandError::text("ERR bit is not an integer or out of range");
    let key = args.get(1);
    let offset = bit_offset(ctx, args.get(2))?;
    let on = match parse_i64(args.get(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(NO_BIT),
    };
    let text = ctx.keyspace.string_or_new(key)?;
    let grown = grow(text, bits::bytes_for(offset + 1))?;
    let was = bits::set_bit(text, offset, on);
    if grown || was != on {
        ctx.keyspace.modified(key);
        ctx.keyspace.notify(Class::String, "setbit", key);
    }
    Ok(was.into())
}

/// Lengthens a string by zeros; false when it is long enough.
fn grow(text: &mut Vec<u8>, len: u64) -> Result<bool, CommandError> {
    let len = usize::try_from(len).map_err(|_| CommandError::StringTooLong)?;
    let short = text.len() < len;
    if short {
        text.resize(len, 0);
    }
    Ok(short)
}

/// Reads the number of a bit, below the limit of strings.
fn bit_offset(ctx: &Context<'_>, text: &[u8]) -> Result<u64, CommandError> {
    field_offset(ctx, text, 1)
}

/// Reads the number of a bit, or `#n` for field number `n` of this width.
fn field_offset(ctx: &Context<'_>, text: &[u8], width: u32) -> Result<u64, CommandError> {
    let (number, times) = match text {
        [b'#', number @ ..] if width > 1 => (number, width),
        _ => (text, 1),
    };
    let offset = parse_i64(number).and_then(|n| n.checked_mul(i64::from(times)));
    offset
        .and_then(|n| u64::try_from(n).ok())
        .filter(|n| n / 8 < ctx.settings.proto_max_bulk_len)
        .ok_or(CommandError::text("ERR bit offset is not an integer or out of range"))
}

// ---- ranges ------------------------------------------------------------------------------------------------

/// A range as BITCOUNT and BITPOS take it: `[start [end [BIT|BYTE]]]`.
struct Range {
    start: i64,
    end: Option<i64>,
    unit: RangeUnit,
}

impl Range {
    /// Reads the rest of the arguments. Which of two errors wins is Redis's choice: BITPOS looks at the unit
    /// before the end.
    fn read(mut args: Args<'_>, unit_first: bool) -> Result<Self, CommandError> {
        let words = args.rest();
        if words.len() > 3 {
            return Err(CommandError::Syntax);
        }
        let integer =
            |at: usize| words.get(at).map(|text| parse_i64(text).ok_or(CommandError::NotInteger)).transpose();
        let unit = || match words.get(2) {
            Some(word) if word.eq_ignore_ascii_case(b"BIT") => Ok(RangeUnit::Bit),
            Some(word) if !word.eq_ignore_ascii_case(b"BYTE") => Err(CommandError::Syntax),
            _ => Ok(RangeUnit::Byte),
        };
        let start = integer(0)?.unwrap_or(0);
        if unit_first {
            unit()?;
        }
        Ok(Self { start, end: integer(1)?, unit: unit()? })
    }
}

fn bitcount(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let range = Range::read(args, false)?;
    Ok(Reply::Integer(match ctx.keyspace.string(key)? {
        Some(text) => {
            let mut digits = itoa::Buffer::new();
            let (bytes, end) = (text.bytes(&mut digits), range.end.unwrap_or(-1));
            bits::count_ones_in(bytes, range.start, end, range.unit) as i64
        }
        None => 0,
    }))
}

fn bitpos(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let wanted = match args.integer()? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    let range = Range::read(args, true)?;
    Ok(Reply::Integer(match ctx.keyspace.string(key)? {
        Some(text) => {
            let mut digits = itoa::Buffer::new();
            let found = bits::position(text.bytes(&mut digits), wanted, range.start, range.end, range.unit);
            found.map_or(-1, |at| at as i64)
        }
        // No key is an endless row of zeros.
        None if wanted => -1,
        None => 0,
    }))
}

// ---- BITOP -------------------------------------------------------------------------------------------------

fn bitop(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let op = BitOp::parse(args.required()?).ok_or(CommandError::Syntax)?;
    let (target, sources) = (args.required()?, args.rest());
    // The operations that only Redis 8 has: others would not load a log with them.
    let foreign = !matches!(op, BitOp::And | BitOp::Or | BitOp::Xor | BitOp::Not);
    if op == BitOp::Not && sources.len() != 1 {
        return Err(CommandError::text("ERR BITOP NOT must be called with a single source key."));
    }
    if foreign && op != BitOp::One && sources.len() < 2 {
        let name = String::from_utf8_lossy(args.get(1)).to_uppercase();
        return Err(CommandError::owned(format!(
            "ERR BITOP {name} must be called with at least two source keys."
        )));
    }
    for source in sources {
        ctx.keyspace.string(source)?;
    }
    let result = combine(ctx, op, sources);
    let len = result.len();
    // Lets go what has expired: that comes before our own effect.
    ctx.keyspace.exists(target);
    if len > 0 {
        if foreign {
            ctx.keyspace.propagate(&[b"SET", target, &result]);
        }
        ctx.keyspace.put(target, Value::Bytes(result), None);
        ctx.keyspace.modified(target);
        ctx.keyspace.notify(Class::String, "set", target);
    } else if ctx.keyspace.remove(target) {
        if foreign {
            ctx.keyspace.propagate(&[b"DEL", target]);
        }
        ctx.keyspace.modified(target);
        ctx.keyspace.notify(Class::Generic, "del", target);
    }
    Ok(len.into())
}

/// The strings at keys that have been looked up, bit by bit.
fn combine(ctx: &Context<'_>, op: BitOp, sources: &[&[u8]]) -> Vec<u8> {
    let texts: SmallVec<[Cow<'_, [u8]>; 8]> = sources.iter().map(|source| text_at(ctx, source)).collect();
    let slices: SmallVec<[&[u8]; 8]> = texts.iter().map(|text| &**text).collect();
    op.apply(&slices)
}

/// The string at a key that has been looked up; empty when there is none.
fn text_at<'c>(ctx: &'c Context<'_>, key: &[u8]) -> Cow<'c, [u8]> {
    match ctx.keyspace.peek(key) {
        Some(ValueRef::Str(StrRef::Embedded(bytes) | StrRef::Raw(bytes))) => Cow::Borrowed(bytes),
        Some(ValueRef::Str(text)) => Cow::Owned(text.to_vec()),
        _ => Cow::Borrowed(b""),
    }
}

// ---- BITFIELD ----------------------------------------------------------------------------------------------

/// One step of a BITFIELD.
struct Step {
    field: FieldType,
    offset: u64,
    action: Action,
}

enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

type Steps = SmallVec<[Step; 4]>;

fn bitfield(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let steps = read_steps(ctx, args)?;
    match last_written_bit(&steps) {
        Some(last) => run_steps(ctx, key, &steps, last),
        None => run_gets(ctx, key, &steps),
    }
}

fn bitfield_ro(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let steps = read_steps(ctx, args)?;
    if last_written_bit(&steps).is_some() {
        return Err(CommandError::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    run_gets(ctx, key, &steps)
}

fn read_steps(ctx: &Context<'_>, mut args: Args<'_>) -> Result<Steps, CommandError> {
    const BAD_TYPE: CommandError = CommandError::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    );
    let (mut steps, mut overflow) = (Steps::new(), Overflow::default());
    while let Some(word) = args.take() {
        let is = |name: &[u8], operands| word.eq_ignore_ascii_case(name) && args.left() >= operands;
        let (get, set, add) = (is(b"GET", 2), is(b"SET", 3), is(b"INCRBY", 3));
        if is(b"OVERFLOW", 1) {
            let bad = CommandError::text("ERR Invalid OVERFLOW type specified");
            overflow = Overflow::parse(args.required()?).ok_or(bad)?;
            continue;
        }
        if !(get || set || add) {
            return Err(CommandError::Syntax);
        }
        let field = FieldType::parse(args.required()?).ok_or(BAD_TYPE)?;
        let offset = args.required()?;
        let offset = match offset {
            // A field of one bit has numbers too.
            [b'#', number @ ..] if field.bits() == 1 => bit_offset(ctx, number)?,
            _ => field_offset(ctx, offset, field.bits())?,
        };
        let action = match (get, set) {
            (true, _) => Action::Get,
            (_, true) => Action::Set(args.integer()?, overflow),
            _ => Action::Add(args.integer()?, overflow),
        };
        steps.push(Step { field, offset, action });
    }
    Ok(steps)
}

/// The last bit that any step may write; `None` when all of them only read.
fn last_written_bit(steps: &Steps) -> Option<u64> {
    let writes = steps.iter().filter(|step| !matches!(step.action, Action::Get));
    writes.map(|step| step.offset + u64::from(step.field.bits()) - 1).max()
}

fn run_gets(ctx: &mut Context<'_>, key: &[u8], steps: &Steps) -> Result<Reply, CommandError> {
    let text = ctx.keyspace.string(key)?.unwrap_or(StrRef::Embedded(b""));
    let mut digits = itoa::Buffer::new();
    let bytes = text.bytes(&mut digits);
    ctx.out.array(steps.len());
    for step in steps {
        ctx.out.integer(step.field.get(bytes, step.offset));
    }
    Ok(Reply::Written)
}

fn run_steps(ctx: &mut Context<'_>, key: &[u8], steps: &Steps, last: u64) -> Result<Reply, CommandError> {
    let text = ctx.keyspace.string_or_new(key)?;
    let grown = grow(text, bits::bytes_for(last + 1))?;
    let mut changes = 0;
    ctx.out.array(steps.len());
    for Step { field, offset, action } in steps {
        let old = field.get(text, *offset);
        let (new, answers_old) = match *action {
            Action::Get => (Some(old), true),
            Action::Set(value, overflow) => (field.fit(value, overflow), true),
            Action::Add(increment, overflow) => (field.add(old, increment, overflow), false),
        };
        let Some(new) = new else {
            ctx.out.null();
            continue;
        };
        ctx.out.integer(if answers_old { old } else { new });
        if !matches!(action, Action::Get) {
            field.set(text, *offset, new);
            changes += u64::from(grown || field.get(text, *offset) != old);
        }
    }
    // A string that has only grown, as all overflows failed, has changed too: Redis forgets to log that.
    let changes = changes.max(u64::from(grown));
    if changes > 0 {
        ctx.keyspace.modified_by(key, changes);
        ctx.keyspace.notify(Class::String, "setbit", key);
    }
    Ok(Reply::Written)
}

#[cfg(test)]
mod tests {
    use crate::testing::{WRONG_TYPE, check, check3, traces, with_list};

    const SYNTAX: &str = "-ERR syntax error";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
    const BAD_OFFSET: &str = "-ERR bit offset is not an integer or out of range";

    #[test]
    fn single_bits() {
        check("SETBIT k 7 1; GET k", "\"\\x01\"");
        check("SETBIT k 7 1; SETBIT k 7 0", "1");
        check("SETBIT k 9 1; STRLEN k", "2");
        check("SETBIT k 100 0; STRLEN k", "13");
        check("SET k 1; GETBIT k 3", "1");
        check("SET k 1; SETBIT k 6 1; GET k", "\"3\"");
        check("GETBIT k 3", "0");
        check("SET k a; GETBIT k 300", "0");
        for bad in ["-1", "x", "4294967296", "#1"] {
            check(&format!("SETBIT k {bad} 1"), BAD_OFFSET);
            check(&format!("GETBIT k {bad}"), BAD_OFFSET);
        }
        for bad in ["2", "-1", "x"] {
            check(&format!("SETBIT k 1 {bad}"), "-ERR bit is not an integer or out of range");
        }
        for line in [
            "GETBIT l 1",
            "SETBIT l 1 1",
            "BITCOUNT l",
            "BITPOS l 1",
            "BITOP OR d k l",
            "BITFIELD l SET u8 0 1",
            "BITFIELD l GET u8 0",
            "BITFIELD_RO l GET u8 0",
        ] {
            assert_eq!(with_list(line), WRONG_TYPE, "{line}");
        }
        assert_eq!(with_list("SETBIT l 1 2"), "-ERR bit is not an integer or out of range");
    }

    #[test]
    fn counts() {
        check("BITCOUNT k", "0");
        for (range, ones) in [
            ("", "26"),
            ("0 0", "4"),
            ("1 1", "6"),
            ("1 1 BYTE", "6"),
            ("5 30 BIT", "17"),
            ("-2 -1", "7"),
            ("1", "22"),
            ("3 1", "0"),
            ("-1 -2", "0"),
            ("0 -1 bit", "26"),
        ] {
            check(&format!("SET k foobar; BITCOUNT k {range}"), ones);
        }
        check("BITCOUNT k x", NOT_INTEGER);
        check("BITCOUNT k 0 x", NOT_INTEGER);
        check("BITCOUNT k 0 x FOO", NOT_INTEGER);
        check("BITPOS k 1 0 x FOO", SYNTAX);
        check("BITCOUNT k 0 1 BIT x", SYNTAX);
    }

    #[test]
    fn positions() {
        for (line, at) in [
            ("SET k \"\\xff\\xf0\\x00\"; BITPOS k 0", "12"),
            ("SET k \"\\x00\\xff\\xf0\"; BITPOS k 1 0", "8"),
            ("SET k \"\\x00\\xff\\xf0\"; BITPOS k 1 2", "16"),
            ("SET k \"\\x00\\xff\\xf0\"; BITPOS k 1 2 -1 BYTE", "16"),
            ("SET k \"\\x00\\xff\\xf0\"; BITPOS k 1 7 15 BIT", "8"),
            ("SET k \"\\x00\\x00\\x00\"; BITPOS k 1", "-1"),
            ("SET k \"\\xff\\xff\"; BITPOS k 0", "16"),
            ("SET k \"\\xff\\xff\"; BITPOS k 0 0", "16"),
            ("SET k \"\\xff\\xff\"; BITPOS k 0 0 -1", "-1"),
            ("BITPOS k 0", "0"),
            ("BITPOS k 1", "-1"),
            ("SET k \"\"; BITPOS k 0", "-1"),
            ("BITPOS k 2", "-ERR The bit argument must be 1 or 0."),
            ("BITPOS k x", NOT_INTEGER),
            ("BITPOS k 1 0 1 FOO", SYNTAX),
            ("BITPOS k 1 0 1 BIT x", SYNTAX),
        ] {
            check(line, at);
        }
    }

    #[test]
    fn operations() {
        let with = |op: &str| format!("MSET a \"\\x0f\\xff\" b \"\\x3c\"; BITOP {op}; GET d");
        check(&with("AND d a b"), "\"\\x0c\\x00\"");
        check(&with("or d a b"), "\"?\\xff\"");
        check(&with("XOR d a b"), "\"3\\xff\"");
        check(&with("NOT d a"), "\"\\xf0\\x00\"");
        check(&with("DIFF d a b"), "\"\\x03\\xff\"");
        check("SET a 12; BITOP OR d a", "2");
        check("SET d v; BITOP OR d x y; GET d", "nil");
        check("BITOP FOO d a", SYNTAX);
        check("BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key.");
        check("BITOP diff d a", "-ERR BITOP DIFF must be called with at least two source keys.");
        let logged = |script: &str| traces(script);
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            logged("SET a 1; BITOP OR d a"),
            (texts(&["0: BITOP OR d a"]), texts(&["new d", "set d"]))
        );
        assert_eq!(logged("SET a 1; BITOP ONE d a"), (texts(&["0: SET d 1"]), texts(&["new d", "set d"])));
        assert_eq!(logged("SET d 1; BITOP OR d a").1, texts(&["keymiss a", "del d"]));
    }

    #[test]
    fn fields() {
        check("BITFIELD k", "[]");
        check("BITFIELD k SET u8 0 255 GET u8 0 GET i8 0", "[0 255 -1]");
        check("BITFIELD k SET u8 #1 7 GET u4 12", "[0 7]");
        check("BITFIELD k SET u1 #9 1 GET u1 9", "[0 1]");
        check("BITFIELD k INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 4", "[1 3]");
        check("BITFIELD k OVERFLOW FAIL INCRBY u2 0 4", "[nil]");
        check3("BITFIELD k OVERFLOW FAIL INCRBY u2 0 4", "[nil]");
        check("BITFIELD k SET u8 0 255 INCRBY u8 0 1", "[0 0]");
        check("SET k 1; BITFIELD k GET u8 0", "[49]");
        check("SET k a; BITFIELD_RO k GET u8 0 GET u8 4 GET i64 800", "[97 16 0]");
        let bad_type = "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
        for bad in ["u64", "i65", "u0", "x8", "i", "i-1", ""] {
            check(&format!("BITFIELD k GET \"{bad}\" 0"), bad_type);
        }
        check("BITFIELD k GET u8 -1", BAD_OFFSET);
        check("BITFIELD k GET u8 #9223372036854775807", BAD_OFFSET);
        check("BITFIELD k GET u8 4294967296", BAD_OFFSET);
        check("BITFIELD k OVERFLOW X", "-ERR Invalid OVERFLOW type specified");
        check("BITFIELD k SET u8 0 x", NOT_INTEGER);
        for bad in ["GET u8", "SET u8 0", "OVERFLOW", "FOO", "INCRBY u8 0"] {
            check(&format!("BITFIELD k {bad}"), SYNTAX);
        }
        check("BITFIELD_RO k SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand");
    }

    #[test]
    fn what_is_left_in_the_log() {
        for (script, effects, events) in [
            ("SETBIT k 1 1", 1, &["new k", "setbit k"][..]),
            ("SETBIT k 1 1; SETBIT k 1 1", 0, &[]),
            ("SETBIT k 1 0; SETBIT k 1 1", 1, &["setbit k"]),
            ("BITFIELD k SET u8 0 1 SET u8 8 1", 1, &["new k", "setbit k"]),
            ("SETBIT k 0 1; BITFIELD k SET u1 0 1", 0, &[]),
            ("BITFIELD k OVERFLOW FAIL INCRBY u2 0 4", 1, &["new k", "setbit k"]),
        ] {
            let (got_effects, got_events) = traces(script);
            let last = script.rsplit(';').next().unwrap_or_default().trim();
            assert_eq!(got_effects, vec![format!("0: {last}"); effects], "{script}");
            assert_eq!(got_events, events, "{script}");
        }
    }
}

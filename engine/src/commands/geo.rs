//! The geo commands: sorted sets whose scores are positions.

use crate::command::{
    Args, Arity, Begin, Category, Command, Find, Flag::*, Group, KeyFlag::*, KeySpec, Run, key,
};
use crate::commands::zsets::{AddOptions, add_members, collect, store};
use crate::context::Context;
use crate::error::CommandError;
use crate::number::{LongDouble, format_i64, parse_f64, parse_i64};
use crate::reply::{Out, Reply};
use crate::types::geohash::{Position, Search, Unit, geohash_string};
use crate::types::listpack::{IntText, LpEntry};
use crate::types::zset::{ScoreRange, ZSet};
use smallvec::SmallVec;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "GEOADD",
        arity: Arity::AtLeast(5),
        flags: &[Write, DenyOom],
        acl: &[Category::Geo],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Geo,
        since: "3.2.0",
        complexity: "O(log n) for each member added, n being the size of the set",
        summary: "Adds members with their positions, which become their scores.",
        run: Run::Keys(geoadd),
        ..Command::BASE
    },
    Command {
        name: "GEODIST",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Geo,
        since: "3.2.0",
        complexity: "O(1)",
        summary: "Returns the distance between two members.",
        run: Run::Keys(geodist),
        ..Command::BASE
    },
    Command {
        name: "GEOHASH",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Geo,
        since: "3.2.0",
        complexity: "O(m) for m members asked for",
        summary: "Returns the standard geohash strings of members.",
        run: Run::Keys(geohash),
        ..Command::BASE
    },
    Command {
        name: "GEOPOS",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Geo,
        since: "3.2.0",
        complexity: "O(m) for m members asked for",
        summary: "Returns the longitude and latitude of members.",
        run: Run::Keys(geopos),
        ..Command::BASE
    },
    Command {
        name: "GEORADIUS",
        arity: Arity::AtLeast(6),
        flags: &[Write, DenyOom],
        acl: &[Category::Geo],
        keys: &[
            key(1, &[Ro, Access]),
            KeySpec {
                flags: &[Ow, Update],
                begin: Begin::Keyword("STORE", 6),
                find: Find::Range { last: 0, step: 1, limit: 0 },
            },
            KeySpec {
                flags: &[Ow, Update],
                begin: Begin::Keyword("STOREDIST", 6),
                find: Find::Range { last: 0, step: 1, limit: 0 },
            },
        ],
        group: Group::Geo,
        since: "3.2.0",
        deprecated: Some(("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with `BYRADIUS`")),
        complexity: "O(log n + m), m being the members in the cells that the circle touches",
        summary: "Returns, or stores, the members within a circle around a position.",
        run: Run::Keys(georadius),
        ..Command::BASE
    },
    Command {
        name: "GEORADIUSBYMEMBER",
        arity: Arity::AtLeast(5),
        flags: &[Write, DenyOom],
        acl: &[Category::Geo],
        keys: &[
            key(1, &[Ro, Access]),
            KeySpec {
                flags: &[Ow, Update],
                begin: Begin::Keyword("STORE", 5),
                find: Find::Range { last: 0, step: 1, limit: 0 },
            },
            KeySpec {
                flags: &[Ow, Update],
                begin: Begin::Keyword("STOREDIST", 5),
                find: Find::Range { last: 0, step: 1, limit: 0 },
            },
        ],
        group: Group::Geo,
        since: "3.2.0",
        deprecated: Some(("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with `BYRADIUS` and `FROMMEMBER`")),
        complexity: "O(log n + m), m being the members in the cells that the circle touches",
        summary: "Returns, or stores, the members within a circle around a member.",
        run: Run::Keys(georadiusbymember),
        ..Command::BASE
    },
    Command {
        name: "GEORADIUSBYMEMBER_RO",
        arity: Arity::AtLeast(5),
        flags: &[ReadOnly],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Geo,
        since: "3.2.10",
        deprecated: Some(("6.2.0", "`GEOSEARCH` with `BYRADIUS` and `FROMMEMBER`")),
        complexity: "O(log n + m), m being the members in the cells that the circle touches",
        summary: "Returns the members within a circle around a member.",
        run: Run::Keys(georadiusbymember_ro),
        ..Command::BASE
    },
    Command {
        name: "GEORADIUS_RO",
        arity: Arity::AtLeast(6),
        flags: &[ReadOnly],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Geo,
        since: "3.2.10",
        deprecated: Some(("6.2.0", "`GEOSEARCH` with `BYRADIUS`")),
        complexity: "O(log n + m), m being the members in the cells that the circle touches",
        summary: "Returns the members within a circle around a position.",
        run: Run::Keys(georadius_ro),
        ..Command::BASE
    },
    Command {
        name: "GEOSEARCH",
        arity: Arity::AtLeast(7),
        flags: &[ReadOnly],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Geo,
        since: "6.2.0",
        complexity: "O(log n + m), m being the members in the cells that the shape touches",
        summary: "Returns the members within a circle, a rectangle or a polygon.",
        run: Run::Keys(geosearch),
        ..Command::BASE
    },
    Command {
        name: "GEOSEARCHSTORE",
        arity: Arity::AtLeast(8),
        flags: &[Write, DenyOom],
        acl: &[Category::Geo],
        keys: &[key(1, &[Ow, Update]), key(2, &[Ro, Access])],
        group: Group::Geo,
        since: "6.2.0",
        complexity: "O(log n + m + k log k), m being the members in the cells that the shape touches and k those stored",
        summary: "Stores the members within a circle, a rectangle or a polygon.",
        run: Run::Keys(geosearchstore),
        ..Command::BASE
    },
];

fn geoadd(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let mut options = AddOptions::default();
    while args.left() > 0 {
        if args.word("NX") {
            options.new_only = true;
        } else if args.word("XX") {
            options.existing_only = true;
        } else if args.word("CH") {
            options.count_changes = true;
        } else {
            break;
        }
    }
    let words = args.all().get(2..args.position()).unwrap_or_default();
    let triples = args.rest();
    let fits = !triples.is_empty() && triples.len().is_multiple_of(3);
    if !fits || (options.new_only && options.existing_only) {
        return Err(CommandError::Syntax);
    }
    let mut scores: SmallVec<[f64; 16]> = SmallVec::new();
    for triple in triples.chunks_exact(3) {
        let position = parse_position(triple[0], triple[1])?;
        scores.push(position.score().ok_or_else(|| out_of_range(position))?);
    }
    let dirty = ctx.keyspace.dirty();
    let members = triples.chunks_exact(3).map(|triple| triple[2]);
    let reply = add_members(ctx, key, options, &scores, members.clone())?;
    if ctx.keyspace.dirty() > dirty && ctx.keyspace.has_listeners() {
        let texts: Vec<_> = scores.iter().map(|score| format_i64(*score as i64)).collect();
        let mut effect: Vec<&[u8]> = vec![b"ZADD", key];
        effect.extend(words);
        effect.extend(texts.iter().zip(members).flat_map(|(score, member)| [score.as_bytes(), member]));
        ctx.keyspace.propagate(&effect);
    }
    Ok(reply)
}

/// Reads a longitude and a latitude.
fn parse_position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let degrees = |text| parse_f64(text).ok_or(CommandError::NotFloat);
    let position = Position { longitude: degrees(longitude)?, latitude: degrees(latitude)? };
    if position.is_valid() { Ok(position) } else { Err(out_of_range(position)) }
}

fn out_of_range(Position { longitude, latitude }: Position) -> CommandError {
    CommandError::owned(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
}

fn parse_unit(name: &[u8]) -> Result<Unit, CommandError> {
    Unit::parse(name).ok_or(CommandError::text("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

fn geodist(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let unit = match args.count() {
        ..=4 => Unit::Meters,
        5 => parse_unit(args.get(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let Some(zset) = ctx.keyspace.zset(args.get(1))? else { return Ok(Reply::Null) };
    match (position_of(zset, args.get(2)), position_of(zset, args.get(3))) {
        (Some(from), Some(to)) => {
            ctx.out.bulk(unit.format(from.distance(to)).as_bytes());
            Ok(Reply::Written)
        }
        _ => Ok(Reply::Null),
    }
}

fn position_of(zset: &ZSet, member: &[u8]) -> Option<Position> {
    zset.score(member).map(Position::from_score)
}

fn geohash(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let zset = ctx.keyspace.zset(args.required()?)?;
    let members = args.rest();
    ctx.out.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => ctx.out.bulk(&geohash_string(score)),
            None => ctx.out.null(),
        }
    }
    Ok(Reply::Written)
}

fn geopos(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let zset = ctx.keyspace.zset(args.required()?)?;
    let members = args.rest();
    ctx.out.array(members.len());
    for member in members {
        match zset.and_then(|zset| position_of(zset, member)) {
            Some(position) => write_position(ctx.out, position),
            None => ctx.out.null_array(),
        }
    }
    Ok(Reply::Written)
}

fn write_position(out: &mut Out, position: Position) {
    out.array(2);
    for degrees in [position.longitude, position.latitude] {
        out.double_text(&LongDouble::from(degrees).format_human());
    }
}

/// How a search command is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `GEORADIUS key longitude latitude radius unit`, with or without STORE.
    Coordinates { may_store: bool },
    /// `GEORADIUSBYMEMBER key member radius unit`, with or without STORE.
    Member { may_store: bool },
    /// `GEOSEARCH key`
    Search,
    /// `GEOSEARCHSTORE target key`
    SearchStore,
}

impl Form {
    /// Which argument the sorted set is.
    fn source_at(self) -> usize {
        if self == Self::SearchStore { 2 } else { 1 }
    }

    /// Which argument is the first option.
    fn options_at(self) -> usize {
        match self {
            Self::Coordinates { .. } => 6,
            Self::Member { .. } => 5,
            Self::Search => 2,
            Self::SearchStore => 3,
        }
    }

    /// GEOSEARCH names its center and its shape among the options.
    fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Self::Coordinates { may_store: true } | Self::Member { may_store: true })
    }
}

fn georadius(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    search(ctx, args, Form::Coordinates { may_store: true })
}

fn georadius_ro(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    search(ctx, args, Form::Coordinates { may_store: false })
}

fn georadiusbymember(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    search(ctx, args, Form::Member { may_store: true })
}

fn georadiusbymember_ro(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    search(ctx, args, Form::Member { may_store: false })
}

fn geosearch(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    search(ctx, args, Form::Search)
}

fn geosearchstore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    search(ctx, args, Form::SearchStore)
}

fn search(ctx: &mut Context<'_>, args: Args<'_>, form: Form) -> Result<Reply, CommandError> {
    let zset = ctx.keyspace.zset(args.get(form.source_at()))?;
    let query = Query::parse(args, form, zset)?;
    let found = match (zset, query.search()) {
        (Some(zset), Some(search)) => query.find(zset, &search),
        _ => Vec::new(),
    };
    let Some(target) = query.target else {
        query.write(ctx.out, &found);
        return Ok(Reply::Written);
    };
    let meters = query.unit().meters();
    let score = |found: &Found<'_>| if query.store_distance { found.distance / meters } else { found.score };
    let entries: Vec<_> = found.iter().map(|found| (found.member, score(found))).collect();
    let result = collect(&entries, ctx.settings, ctx.hasher);
    let event = if form.is_search() { "geosearchstore" } else { "georadiusstore" };
    let changes = result.len();
    Ok(store(ctx, target, result, event, changes))
}

/// Where the center of a search is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Center {
    /// Given as a position.
    Given(Position),
    /// That of a member; `None` when there is no such key at all.
    Member(Option<Position>),
}

/// What is searched around the center.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Circle(f64, Unit),
    Rectangle(f64, f64, Unit),
    Polygon(Vec<Position>),
}

impl Shape {
    /// Reads `radius unit`.
    fn circle(args: &mut Args<'_>) -> Result<Self, CommandError> {
        let radius = length(args.required()?, "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(CommandError::text("ERR radius cannot be negative"));
        }
        Ok(Self::Circle(radius, parse_unit(args.required()?)?))
    }

    /// Reads `width height unit`.
    fn rectangle(args: &mut Args<'_>) -> Result<Self, CommandError> {
        let width = length(args.required()?, "ERR need numeric width")?;
        let height = length(args.required()?, "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::text("ERR height or width cannot be negative"));
        }
        Ok(Self::Rectangle(width, height, parse_unit(args.required()?)?))
    }

    /// Reads `num-vertices longitude latitude ...`.
    fn polygon(args: &mut Args<'_>) -> Result<Self, CommandError> {
        let count = parse_i64(args.required()?)
            .and_then(|n| i32::try_from(n).ok())
            .ok_or(CommandError::text("ERR invalid number of vertices"))?;
        let given = args.left() / 2;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| (3..=given).contains(count))
            .ok_or(CommandError::text("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"))?;
        let mut vertices = Vec::with_capacity(count);
        for _ in 0..count {
            vertices.push(parse_position(args.required()?, args.required()?)?);
        }
        Ok(Self::Polygon(vertices))
    }
}

fn length(text: &[u8], error: &'static str) -> Result<f64, CommandError> {
    parse_f64(text).ok_or(CommandError::text(error))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// What a search command asks for.
#[derive(Debug, Default)]
struct Query<'a> {
    center: Option<Center>,
    shape: Option<Shape>,
    with_distance: bool,
    with_hash: bool,
    with_position: bool,
    order: Option<Order>,
    /// 0 is all.
    count: usize,
    /// Any so many rather than the nearest.
    any: bool,
    /// Where the result goes, if not to the client.
    target: Option<&'a [u8]>,
    store_distance: bool,
}

/// A member that was found.
struct Found<'z> {
    member: LpEntry<'z>,
    score: f64,
    position: Position,
    /// In meters from the center.
    distance: f64,
}

impl<'a> Query<'a> {
    fn parse(mut args: Args<'a>, form: Form, zset: Option<&ZSet>) -> Result<Self, CommandError> {
        let mut query = Self::default();
        match form {
            Form::Coordinates { .. } => {
                query.center = Some(Center::Given(parse_position(args.get(2), args.get(3))?));
                args.seek(4);
                query.shape = Some(Shape::circle(&mut args)?);
            }
            Form::Member { .. } => {
                query.center = Some(center_at_member(zset, args.get(2))?);
                // Without a key nobody looks at the radius.
                if zset.is_some() {
                    args.seek(3);
                    query.shape = Some(Shape::circle(&mut args)?);
                }
            }
            Form::Search => {}
            Form::SearchStore => query.target = Some(args.get(1)),
        }
        args.seek(form.options_at());
        while args.left() > 0 {
            let known = query.parse_output(&mut args)?
                || (form.is_search() && query.parse_area(&mut args, zset)?)
                || query.parse_target(&mut args, form)?;
            if !known {
                return Err(CommandError::Syntax);
            }
        }
        query.check(&args, form)?;
        Ok(query)
    }

    /// Reads an option that says what is returned; false when the next word is none.
    fn parse_output(&mut self, args: &mut Args<'a>) -> Result<bool, CommandError> {
        if args.word("WITHDIST") {
            self.with_distance = true;
        } else if args.word("WITHHASH") {
            self.with_hash = true;
        } else if args.word("WITHCOORD") {
            self.with_position = true;
        } else if args.word("ANY") {
            self.any = true;
        } else if args.word("ASC") {
            self.order = Some(Order::Nearest);
        } else if args.word("DESC") {
            self.order = Some(Order::Farthest);
        } else if args.left() > 1 && args.word("COUNT") {
            let count = args.integer()?;
            if count <= 0 {
                return Err(CommandError::text("ERR COUNT must be > 0"));
            }
            self.count = usize::try_from(count).unwrap_or(usize::MAX);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads an option that says what is searched; false when the next word is none, or excluded by an earlier one.
    fn parse_area(&mut self, args: &mut Args<'a>, zset: Option<&ZSet>) -> Result<bool, CommandError> {
        let left = args.left();
        let polygon = matches!(self.shape, Some(Shape::Polygon(_)));
        let circle = matches!(self.shape, Some(Shape::Circle(..)));
        let rectangle = matches!(self.shape, Some(Shape::Rectangle(..)));
        let given = matches!(self.center, Some(Center::Given(_)));
        let member = matches!(self.center, Some(Center::Member(_)));
        if left > 1 && !given && !polygon && args.word("FROMMEMBER") {
            self.center = Some(center_at_member(zset, args.required()?)?);
        } else if left > 2 && !member && !polygon && args.word("FROMLONLAT") {
            self.center = Some(Center::Given(parse_position(args.required()?, args.required()?)?));
        } else if left > 2 && !rectangle && !polygon && args.word("BYRADIUS") {
            self.shape = Some(Shape::circle(args)?);
        } else if left > 3 && !circle && !polygon && args.word("BYBOX") {
            self.shape = Some(Shape::rectangle(args)?);
        } else if left > 2 && !circle && !rectangle && !member && args.word("BYPOLYGON") {
            self.shape = Some(Shape::polygon(args)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads an option that says where the result goes; false when the next word is none.
    fn parse_target(&mut self, args: &mut Args<'a>, form: Form) -> Result<bool, CommandError> {
        if form == Form::SearchStore {
            let found = args.word("STOREDIST");
            self.store_distance |= found;
            return Ok(found);
        }
        if !form.may_store() || args.left() < 2 {
            return Ok(false);
        }
        let word = if args.word("STORE") {
            "STORE"
        } else if args.word("STOREDIST") {
            "STOREDIST"
        } else {
            return Ok(false);
        };
        let target = args.required()?;
        // The key that was announced, and whose shard is held, is the one after the first such word.
        let options = args.all().get(form.options_at()..).unwrap_or_default();
        let mut announced =
            options.iter().skip_while(|arg| !arg.eq_ignore_ascii_case(word.as_bytes())).skip(1);
        if announced.next() != Some(&target) {
            return Err(CommandError::Syntax);
        }
        self.target = Some(target);
        self.store_distance = word == "STOREDIST";
        Ok(true)
    }

    fn check(&self, args: &Args<'_>, form: Form) -> Result<(), CommandError> {
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_position) {
            return Err(CommandError::text(match form {
                Form::SearchStore => {
                    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
                _ => {
                    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                }
            }));
        }
        let name = || String::from_utf8_lossy(args.name()).into_owned();
        let polygon = matches!(self.shape, Some(Shape::Polygon(_)));
        if form.is_search() && self.center.is_none() && !polygon {
            return Err(CommandError::owned(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}",
                name()
            )));
        }
        if form.is_search() && self.shape.is_none() {
            return Err(CommandError::owned(format!(
                "ERR exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for {}",
                name()
            )));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The search, unless its center is a member of nothing.
    fn search(&self) -> Option<Search> {
        let center = match self.center {
            Some(Center::Given(position) | Center::Member(Some(position))) => Some(position),
            Some(Center::Member(None)) | None => None,
        };
        Some(match self.shape.as_ref()? {
            Shape::Circle(radius, unit) => Search::circle(center?, *radius, *unit),
            Shape::Rectangle(width, height, unit) => Search::rectangle(center?, *width, *height, *unit),
            Shape::Polygon(vertices) => Search::polygon(vertices.clone()),
        })
    }

    /// The unit in which distances are returned.
    fn unit(&self) -> Unit {
        match self.shape {
            Some(Shape::Circle(_, unit) | Shape::Rectangle(_, _, unit)) => unit,
            Some(Shape::Polygon(_)) | None => Unit::Meters,
        }
    }

    /// What of a sorted set is found, in the order asked for.
    fn find<'z>(&self, zset: &'z ZSet, search: &Search) -> Vec<Found<'z>> {
        let mut found = candidates(zset, search, if self.any { self.count } else { usize::MAX });
        // The nearest can only be told by sorting.
        let order = self.order.or((self.count > 0 && !self.any).then_some(Order::Nearest));
        let by_distance = |a: &Found<'_>, b: &Found<'_>| match order {
            Some(Order::Farthest) => b.distance.total_cmp(&a.distance),
            _ => a.distance.total_cmp(&b.distance),
        };
        let wanted = if self.count == 0 { found.len() } else { self.count.min(found.len()) };
        if order.is_some() {
            if wanted < found.len() {
                found.select_nth_unstable_by(wanted, by_distance);
            }
            found.truncate(wanted);
            found.sort_by(by_distance);
        }
        found.truncate(wanted);
        found
    }

    fn write(&self, out: &mut Out, found: &[Found<'_>]) {
        let extras = [self.with_distance, self.with_hash, self.with_position];
        let extras = extras.into_iter().filter(|with| *with).count();
        let unit = self.unit();
        let mut text = IntText::default();
        out.array(found.len());
        for found in found {
            if extras > 0 {
                out.array(1 + extras);
            }
            out.bulk(found.member.as_slice(&mut text));
            if self.with_distance {
                out.bulk(unit.format(found.distance).as_bytes());
            }
            if self.with_hash {
                out.integer(found.score as i64);
            }
            if self.with_position {
                write_position(out, found.position);
            }
        }
    }
}

fn center_at_member(zset: Option<&ZSet>, member: &[u8]) -> Result<Center, CommandError> {
    let Some(zset) = zset else { return Ok(Center::Member(None)) };
    match position_of(zset, member) {
        Some(position) => Ok(Center::Member(Some(position))),
        None => Err(CommandError::text("ERR could not decode requested zset member")),
    }
}

/// The members within the shape, `limit` at most, in the order in which the cells are visited.
fn candidates<'z>(zset: &'z ZSet, search: &Search, limit: usize) -> Vec<Found<'z>> {
    let mut found = Vec::new();
    for cell in search.ranges() {
        let range = ScoreRange { max_exclusive: true, ..ScoreRange::closed(cell.min, cell.max_exclusive) };
        for entry in zset.range(zset.ranks_by_score(&range)) {
            if found.len() >= limit {
                return found;
            }
            let position = Position::from_score(entry.score);
            if let Some(distance) = search.distance_if_within(position) {
                found.push(Found { member: entry.member, score: entry.score, position, distance });
            }
        }
    }
    found
}
/// Replies as redis-server 7.0.15 gives them, where it knows the option.
#[cfg(test)]
mod tests {
    use crate::testing::{Bench, WRONG_TYPE, check, check3};

    const SICILY: &str =
        "GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 13.583333 37.316667 Agrigento; ";

    /// After three towns were added.
    #[track_caller]
    fn sicily(line: &str, reply: &str) {
        check(&format!("{SICILY}{line}"), reply);
    }

    #[test]
    fn geoadd_adds_scores() {
        check("GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "2");
        sicily("ZSCORE s Palermo", r#""3479099956230698""#);
        sicily("GEOADD s CH 0 0 Palermo 1 1 x", "2");
        sicily("GEOADD s NX 0 0 Palermo; ZSCORE s Palermo", r#""3479099956230698""#);
        sicily("GEOADD s XX 0 0 x; ZCARD s", "3");
        for (line, error) in [
            ("GEOADD s 13 38", "-ERR wrong number of arguments for 'geoadd' command"),
            ("GEOADD s 13 38 x 14", "-ERR syntax error"),
            ("GEOADD s NX XX 13 38 x", "-ERR syntax error"),
            ("GEOADD s NX CH CH", "-ERR syntax error"),
            ("GEOADD s INCR 13 38 x", "-ERR syntax error"),
            ("GEOADD s x 38 x", "-ERR value is not a valid float"),
            ("GEOADD s 181 38 x", "-ERR invalid longitude,latitude pair 181.000000,38.000000"),
            ("GEOADD s 13 -85.1 x", "-ERR invalid longitude,latitude pair 13.000000,-85.100000"),
            ("GEOADD s 1 1 a 13 inf x", "-ERR invalid longitude,latitude pair 13.000000,inf"),
        ] {
            check(line, error);
        }
    }

    #[test]
    fn geoadd_leaves_zadd() {
        let mut bench = Bench::new();
        bench.run("GEOADD s CH 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
        bench.run("GEOADD s NX 13 38 Palermo");
        assert_eq!(bench.events(), ["new s", "zadd s"]);
        assert_eq!(bench.effects(), ["0: ZADD s CH 3479099956230698 Palermo 3479447370796909 Catania"]);
    }

    #[test]
    fn geodist_geohash_geopos() {
        sicily("GEODIST s Palermo Catania", r#""166274.1516""#);
        sicily("GEODIST s Palermo Catania km", r#""166.2742""#);
        sicily("GEODIST s Palermo Catania MI", r#""103.3182""#);
        sicily("GEODIST s Palermo x", "nil");
        sicily("GEODIST x Palermo Catania", "nil");
        sicily(
            "GEODIST s Palermo Catania parsec",
            "-ERR unsupported unit provided. please use M, KM, FT, MI",
        );
        sicily("GEODIST s Palermo Catania km x", "-ERR syntax error");
        sicily("GEOHASH s Palermo x Catania", r#"["sqc8b49rny0" nil "sqdtr74hyu0"]"#);
        sicily("GEOHASH s", "[]");
        check("GEOHASH s x", "[nil]");
        sicily("GEOPOS s Palermo x", r#"[["13.36138933897018433" "38.11555639549629859"] nil]"#);
        check("GEOPOS s x", "[nil]");
        check3(&format!("{SICILY}GEOPOS s Palermo x"), "[[,13.36138933897018433 ,38.11555639549629859] nil]");
        check3(&format!("{SICILY}GEODIST s Palermo Catania"), r#""166274.1516""#);
    }

    #[test]
    fn georadius() {
        sicily(
            "GEORADIUS s 15 37 200 km WITHDIST ASC",
            r#"[["Catania" "56.4413"] ["Agrigento" "130.4235"] ["Palermo" "190.4424"]]"#,
        );
        sicily("GEORADIUS s 15 37 100 km", r#"["Catania"]"#);
        sicily("GEORADIUS s 15 37 200 km DESC COUNT 2", r#"["Palermo" "Agrigento"]"#);
        sicily("GEORADIUS s 15 37 200 km COUNT 1", r#"["Catania"]"#);
        sicily("GEORADIUS s 15 37 1 km", "[]");
        sicily(
            "GEORADIUS_RO s 15 37 100 km WITHCOORD WITHHASH WITHDIST",
            r#"[["Catania" "56.4413" 3479447370796909 ["15.08726745843887329" "37.50266842333162032"]]]"#,
        );
        check3(
            &format!("{SICILY}GEORADIUS s 15 37 100 km WITHCOORD WITHDIST"),
            r#"[["Catania" "56.4413" [,15.08726745843887329 ,37.50266842333162032]]]"#,
        );
        sicily("GEORADIUSBYMEMBER s Agrigento 100 km ASC", r#"["Agrigento" "Palermo"]"#);
        sicily("GEORADIUSBYMEMBER_RO s Agrigento 50 mi", r#"["Agrigento"]"#);
        check("GEORADIUS s 15 37 200 km", "[]");
        check("GEORADIUSBYMEMBER s x nonsense here", "[]");
        check("GEORADIUSBYMEMBER s x nonsense here STORE d", "0");
    }

    #[test]
    fn searches_refuse() {
        const UNIT: &str = "-ERR unsupported unit provided. please use M, KM, FT, MI";
        for (line, error) in [
            ("GEORADIUS s 15 x 200 km", "-ERR value is not a valid float"),
            ("GEORADIUS s 15 90 200 km", "-ERR invalid longitude,latitude pair 15.000000,90.000000"),
            ("GEORADIUS s 15 37 x km", "-ERR need numeric radius"),
            ("GEORADIUS s 15 37 -1 km", "-ERR radius cannot be negative"),
            ("GEORADIUS s 15 37 1 cm", UNIT),
            ("GEORADIUS s 15 37 1 km COUNT", "-ERR syntax error"),
            ("GEORADIUS s 15 37 1 km COUNT 0", "-ERR COUNT must be > 0"),
            ("GEORADIUS s 15 37 1 km COUNT x", "-ERR value is not an integer or out of range"),
            ("GEORADIUS s 15 37 1 km ANY", "-ERR the ANY argument requires COUNT argument"),
            ("GEORADIUS s 15 37 1 km STORE", "-ERR syntax error"),
            ("GEORADIUS s 15 37 1 km BYBOX 1 1 m", "-ERR syntax error"),
            ("GEORADIUS_RO s 15 37 1 km STORE d", "-ERR syntax error"),
            (
                "GEORADIUS s 15 37 1 km WITHDIST STORE d",
                "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
            ),
            ("GEORADIUSBYMEMBER s x 1 km", "-ERR could not decode requested zset member"),
            ("GEOSEARCH s FROMMEMBER x BYRADIUS 1 m", "-ERR could not decode requested zset member"),
            ("GEOSEARCH s FROMMEMBER Palermo FROMLONLAT 1 1 BYRADIUS 1 m", "-ERR syntax error"),
            ("GEOSEARCH s FROMLONLAT 1 1 BYRADIUS 1 m BYBOX 1 1 m", "-ERR syntax error"),
            ("GEOSEARCH s FROMLONLAT 1 1 BYBOX x 1 m", "-ERR need numeric width"),
            ("GEOSEARCH s FROMLONLAT 1 1 BYBOX 1 x m", "-ERR need numeric height"),
            ("GEOSEARCH s FROMLONLAT 1 1 BYBOX 1 -1 m", "-ERR height or width cannot be negative"),
            ("GEOSEARCH s FROMLONLAT 1 1 BYBOX 1 1 x", UNIT),
            (
                "GEOSEARCH s BYRADIUS 1 m ASC ASC",
                "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH",
            ),
            (
                "geosearch s FROMLONLAT 1 1 ASC ASC",
                "-ERR exactly one of BYRADIUS, BYBOX and BYPOLYGON can be specified for geosearch",
            ),
            ("GEOSEARCH s FROMLONLAT 1 1 BYRADIUS 1 m STOREDIST", "-ERR syntax error"),
            (
                "GEOSEARCHSTORE d s FROMLONLAT 1 1 BYRADIUS 1 m WITHDIST",
                "-ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
            ),
            ("GEOSEARCH s BYPOLYGON x 1 1 2 2", "-ERR invalid number of vertices"),
            ("GEOSEARCH s BYPOLYGON 2 1 1 2 2", "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
            ("GEOSEARCH s BYPOLYGON 4 1 1 2 2 3 3", "-ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"),
            (
                "GEOSEARCH s BYPOLYGON 3 1 1 2 2 3 99",
                "-ERR invalid longitude,latitude pair 3.000000,99.000000",
            ),
        ] {
            sicily(line, error);
        }
    }

    #[test]
    fn geosearch() {
        sicily("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km ASC", r#"["Catania" "Agrigento" "Palermo"]"#);
        sicily("GEOSEARCH s FROMMEMBER Palermo BYRADIUS 100 km DESC", r#"["Agrigento" "Palermo"]"#);
        sicily(
            "GEOSEARCH s FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHDIST COUNT 2",
            r#"[["Catania" "56.4413"] ["Agrigento" "130.4235"]]"#,
        );
        sicily("GEOSEARCH s FROMLONLAT 15 37 BYBOX 100 400 km", r#"["Catania"]"#);
        sicily("GEOSEARCH s BYPOLYGON 4 13 37 13 39 14 39 14 37 ASC", r#"["Palermo" "Agrigento"]"#);
        check("GEOSEARCH s FROMMEMBER x BYRADIUS 1 m", "[]");
        check("GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km", "[]");
    }

    #[test]
    fn any_stops_at_the_first() {
        let mut bench = Bench::new();
        for n in 0..200 {
            bench.run(&format!("GEOADD s {} 37 m{n}", f64::from(n) / 100.0));
        }
        let count = |reply: String| reply.matches('m').count();
        assert_eq!(count(bench.run("GEOSEARCH s FROMLONLAT 1 37 BYRADIUS 500 km COUNT 7 ANY")), 7);
        assert_eq!(count(bench.run("GEOSEARCH s FROMLONLAT 1 37 BYRADIUS 500 km")), 200);
        assert_eq!(bench.run("GEOSEARCH s FROMLONLAT 1 37 BYRADIUS 500 km COUNT 1"), r#"["m100"]"#);
    }

    #[test]
    fn results_are_stored() {
        sicily("GEORADIUS s 15 37 200 km STORE d", "3");
        sicily(
            "GEORADIUS s 15 37 100 km STORE d; ZRANGE d 0 -1 WITHSCORES",
            r#"["Catania" "3479447370796909"]"#,
        );
        sicily("GEORADIUS s 15 37 200 km COUNT 2 STOREDIST d; ZRANGE d 0 -1", r#"["Catania" "Agrigento"]"#);
        sicily(
            "GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST; ZSCORE d Catania",
            r#""56.4412578701582""#,
        );
        sicily("GEOSEARCHSTORE s s FROMLONLAT 15 37 BYBOX 100 400 km; ZRANGE s 0 -1", r#"["Catania"]"#);
        sicily("GEORADIUS s 15 37 200 km STORE d STOREDIST e", "3");
        // Only the first of these is announced as a key.
        sicily("GEORADIUS s 15 37 200 km STORE d STORE e", "-ERR syntax error");
        let mut bench = Bench::new();
        bench.run(SICILY.trim_end_matches("; "));
        bench.events();
        bench.effects();
        bench.run("GEORADIUS s 15 37 200 km STORE d");
        bench.run("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 1 m");
        bench.run("GEOSEARCHSTORE e s FROMLONLAT 15 37 BYRADIUS 100 km");
        bench.run("GEOSEARCHSTORE e none FROMLONLAT 15 37 BYRADIUS 100 km");
        assert_eq!(
            bench.events(),
            ["new d", "georadiusstore d", "del d", "new e", "geosearchstore e", "keymiss none", "del e"]
        );
        assert_eq!(bench.effects().len(), 4);
    }

    #[test]
    fn other_types_are_refused() {
        for line in [
            "GEOADD k 1 1 a",
            "GEODIST k a b",
            "GEOHASH k a",
            "GEOPOS k a",
            "GEORADIUS k x x x x",
            "GEORADIUSBYMEMBER k a 1 m",
            "GEOSEARCH k nonsense a b c d",
            "GEOSEARCHSTORE d k nonsense a b c d",
        ] {
            check(&format!("SET k v; {line}"), WRONG_TYPE);
        }
    }
}

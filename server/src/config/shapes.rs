//! Settings with a shape of their own.

use std::path::{Path, PathBuf};

use super::choices::not_one_of;
use super::field::{Field, Kind, Moment, Reason, Text, WRONG_NUMBER, line, only};
use super::text;
use baton_engine::keyspace::notify;

/// `bind`: the addresses to listen on. A leading `-` marks one that may be unavailable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind(pub Vec<Text>);

const BIND_MAX: usize = 16;

impl Default for Bind {
    fn default() -> Self {
        Self(vec![Text::new("*"), Text::new("-::*")])
    }
}

impl Bind {
    /// Each address, and whether it's fine that it can't be bound.
    pub fn addresses(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.0.iter().map(|address| match &**address {
            [b'-', rest @ ..] => (rest, true),
            all => (all, false),
        })
    }
}

impl Field for Bind {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        if args.len() > BIND_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        self.0 = match args {
            [[]] => Vec::new(),
            _ => args.iter().map(Text::new).collect(),
        };
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        join(&self.0)
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        match self.0.is_empty() {
            true => vec![line(name, b"\"\"")],
            false if *self == Self::default() => Vec::new(),
            false => vec![line(name, &self.show(kind))],
        }
    }
}

fn join<T: AsRef<[u8]>>(words: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_ref());
    }
    out
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// One condition of `save`: so many changes within so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: i64,
    pub changes: i64,
}

/// `save`: a snapshot is written when any of the conditions holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavePoints(pub Vec<SavePoint>);

impl Default for SavePoints {
    fn default() -> Self {
        Self(
            [(3600, 1), (300, 100), (60, 10000)]
                .map(|(seconds, changes)| SavePoint { seconds, changes })
                .into(),
        )
    }
}

impl Field for SavePoints {
    /// Lines of a file add up, the first one having dropped the default; `""` drops all.
    fn parse(&mut self, args: &[&[u8]], _: Kind, moment: Moment) -> Result<(), Reason> {
        let (drop_all, args) = match args {
            [[]] => (true, [].as_slice()),
            _ => (moment != Moment::LaterLine, args),
        };
        let points = args.chunks(2).map(save_point).collect::<Option<Vec<_>>>();
        let points = points.ok_or("Invalid save parameters")?;
        if drop_all {
            self.0.clear();
        }
        self.0.extend(points);
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        join(self.0.iter().map(|point| format!("{} {}", point.seconds, point.changes)))
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        let value = if self.0.is_empty() { b"\"\"".to_vec() } else { self.show(kind) };
        vec![line(name, &value)]
    }

    fn always_written(&self) -> bool {
        true
    }
}

fn save_point(pair: &[&[u8]]) -> Option<SavePoint> {
    let [seconds, changes] = pair else { return None };
    let seconds = text::lenient_integer(seconds, 10).filter(|&n| n >= 1)?;
    let changes = text::lenient_integer(changes, 10).filter(|&n| n >= 0)?;
    Some(SavePoint { seconds, changes })
}

/// When a client that doesn't read its replies is disconnected; 0 means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// Over this, at once.
    pub hard_bytes: u64,
    /// Over this, after `soft_seconds` in a row.
    pub soft_bytes: u64,
    pub soft_seconds: i64,
}

/// `client-output-buffer-limit`, for each class of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    pub normal: OutputBufferLimit,
    pub replica: OutputBufferLimit,
    pub pubsub: OutputBufferLimit,
}

impl Default for OutputBufferLimits {
    fn default() -> Self {
        let limit = |hard: u64, soft: u64, soft_seconds| OutputBufferLimit {
            hard_bytes: hard << 20,
            soft_bytes: soft << 20,
            soft_seconds,
        };
        Self { normal: limit(0, 0, 0), replica: limit(256, 64, 60), pubsub: limit(32, 8, 60) }
    }
}

impl OutputBufferLimits {
    fn class(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"replica" | b"slave" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

impl Field for OutputBufferLimits {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        let mut limits = *self;
        for group in args.chunks(4) {
            let [class, hard, soft, seconds] = group else {
                return Err("Wrong number of arguments in buffer limit configuration.".into());
            };
            let class =
                limits.class(class).ok_or("Invalid client class specified in buffer limit configuration.")?;
            *class = buffer_limit(hard, soft, seconds)
                .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        }
        *self = limits;
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        join(classes.map(|(class, limit)| {
            format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        }))
    }

    fn lines(&self, name: &str, _: Kind) -> Vec<Vec<u8>> {
        let classes = [("normal", self.normal), ("replica", self.replica), ("pubsub", self.pubsub)];
        let lines = classes.map(|(class, limit)| {
            let (hard, soft) = (text::memory_text(limit.hard_bytes), text::memory_text(limit.soft_bytes));
            format!("{name} {class} {hard} {soft} {}", limit.soft_seconds).into_bytes()
        });
        lines.into()
    }
}

fn buffer_limit(hard: &[u8], soft: &[u8], seconds: &[u8]) -> Option<OutputBufferLimit> {
    Some(OutputBufferLimit {
        hard_bytes: text::memory(hard)?,
        soft_bytes: text::memory(soft)?,
        soft_seconds: text::lenient_integer(seconds, 10).filter(|&n| n >= 0)?,
    })
}

/// `oom-score-adj-values`: what the kernel is told for a primary, a replica, and a background child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomScores(pub [i64; 3]);

impl Field for OomScores {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        let mut scores = [0; 3];
        if args.len() != scores.len() {
            return Err(WRONG_NUMBER);
        }
        for (score, arg) in scores.iter_mut().zip(args) {
            *score = text::lenient_integer(arg, 10)
                .filter(|n| (-2000..=2000).contains(n))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        self.0 = scores;
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        join(self.0.map(|score| score.to_string()))
    }
}

/// `notify-keyspace-events`: which events are published, as the bits of the engine's classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(pub u32);

impl Field for KeyspaceEvents {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        self.0 = notify::parse_flags(only(args)?)
            .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(())
    }

    /// Unlike Redis, `n` is shown beside `A`: it isn't part of it, and a rewrite must not lose it.
    fn show(&self, _: Kind) -> Vec<u8> {
        notify::format_flags(self.0).into_bytes()
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        vec![line(name, &text::quote(&self.show(kind)))]
    }
}

/// `replicaof`: the primary to follow, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOf(pub Option<(Text, u16)>);

impl Field for ReplicaOf {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        let [host, port] = args else { return Err(WRONG_NUMBER) };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            self.0 = None;
            return Ok(());
        }
        let port = text::lenient_integer(port, 10).and_then(|port| u16::try_from(port).ok());
        self.0 = Some((Text::new(host), port.ok_or("Invalid master port")?));
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        self.0.as_ref().map_or_else(Vec::new, |(host, port)| format!("{host} {port}").into_bytes())
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        self.0.iter().map(|_| line(name, &self.show(kind))).collect()
    }
}

/// `latency-tracking-info-percentiles`.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Default for Percentiles {
    fn default() -> Self {
        Self(vec![50.0, 99.0, 99.9])
    }
}

impl Field for Percentiles {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        let args = if let [[]] = args { &[] } else { args };
        let mut percentiles = Vec::with_capacity(args.len());
        for arg in args {
            let value = std::str::from_utf8(arg).ok().and_then(|arg| arg.parse::<f64>().ok());
            let value = value
                .filter(|value| !value.is_nan())
                .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&value) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into()
                );
            }
            percentiles.push(value);
        }
        self.0 = percentiles;
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        join(self.0.iter().map(|value| {
            let digits = format!("{value:.6}");
            digits.trim_end_matches('0').trim_end_matches('.').to_owned()
        }))
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        let value = if self.0.is_empty() { b"\"\"".to_vec() } else { self.show(kind) };
        vec![line(name, &value)]
    }

    fn always_written(&self) -> bool {
        true
    }
}

/// What a signal to stop does, beyond an ordinary `SHUTDOWN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOnSignal {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

impl ShutdownOnSignal {
    const WORDS: &[(&'static str, ())] =
        &[("default", ()), ("save", ()), ("nosave", ()), ("now", ()), ("force", ())];
}

impl Field for ShutdownOnSignal {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        let mut flags = Self::default();
        if args.is_empty() {
            return Err(not_one_of(Self::WORDS));
        }
        for arg in args {
            match arg.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => flags.save = true,
                b"nosave" => flags.nosave = true,
                b"now" => flags.now = true,
                b"force" => flags.force = true,
                _ => return Err(not_one_of(Self::WORDS)),
            }
        }
        if flags.save && flags.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        let flags = [("save", self.save), ("nosave", self.nosave), ("now", self.now), ("force", self.force)];
        let words = join(flags.iter().filter(|(_, set)| *set).map(|(word, _)| word));
        if words.is_empty() { b"default".to_vec() } else { words }
    }
}

/// `maxmemory-clients`: a number of bytes, or a part of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Bytes(u64),
    Percent(u8),
}

impl Share {
    /// The limit in bytes; 0 means none.
    pub fn bytes(self, maxmemory: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                u64::try_from(u128::from(maxmemory) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}

impl Field for Share {
    fn parse(&mut self, args: &[&[u8]], _: Kind, _: Moment) -> Result<(), Reason> {
        let arg = only(args)?;
        *self = match arg {
            [digits @ .., b'%'] if text::integer(digits).is_some_and(|n| n >= 0) => {
                let percent = text::integer(digits).and_then(|n| u8::try_from(n).ok()).filter(|&n| n <= 100);
                Self::Percent(percent.ok_or("percentage argument must be less or equal to 100")?)
            }
            _ => Self::Bytes(text::memory(arg).ok_or("argument must be a memory or percent value")?),
        };
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_string().into_bytes(),
            Self::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        let value = match self {
            Self::Bytes(bytes) => text::memory_text(*bytes).into_bytes(),
            Self::Percent(_) => self.show(kind),
        };
        vec![line(name, &value)]
    }
}

/// `dir`: the working directory. A line of the configuration changes to it at once, so that what follows
/// (includes, the log file) is found from there; `CONFIG SET` changes to it when the whole change is sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir(PathBuf);

impl Dir {
    /// The working directory of the process.
    pub fn current() -> Self {
        Self(std::env::current_dir().unwrap_or_default())
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn enter(&self) -> Result<(), Reason> {
        std::env::set_current_dir(&self.0).map_err(|error| os_text(&error))
    }
}

impl Field for Dir {
    fn parse(&mut self, args: &[&[u8]], _: Kind, moment: Moment) -> Result<(), Reason> {
        let arg = only(args)?;
        if arg.is_empty() {
            return Err("dir can't be empty".into());
        }
        let path = std::fs::canonicalize(Text::new(arg).path()).map_err(|error| os_text(&error))?;
        if !path.is_dir() {
            return Err("Not a directory".into());
        }
        let dir = Self(path);
        if moment != Moment::Running {
            dir.enter()?;
        }
        *self = dir;
        Ok(())
    }

    fn show(&self, _: Kind) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt;
        self.0.as_os_str().as_bytes().to_vec()
    }

    fn lines(&self, name: &str, kind: Kind) -> Vec<Vec<u8>> {
        vec![line(name, &text::quote(&self.show(kind)))]
    }

    fn always_written(&self) -> bool {
        true
    }
}

/// The system's own words for an error, as `strerror` gives them.
pub fn os_text(error: &std::io::Error) -> Reason {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().into(),
        None => error.to_string().into(),
    }
}

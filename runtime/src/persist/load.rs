//! Loading a snapshot: by its index, slot by slot as they are asked for, or whole, on all cores.

use super::feed::on_all_cores;
use crate::node::Node;
use crate::replication::Moment;
use baton_engine::error::CommandError;
use baton_engine::keyspace::entry::Entry;
use baton_engine::keyspace::stored::{StoredSection, entry_of};
use baton_engine::rdb::file::{Item, Reader, Record};
use baton_engine::rdb::{Family, RdbError};
use baton_engine::slot::Slot;
use baton_engine::snapshot::{Index, IndexEntry};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Keys whose memory is asked for at once.
const WINDOW: usize = 32;

/// What a snapshot is loaded onto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// An empty node.
    Nothing,
    /// Other data, which may hold none of its keys.
    Data,
    /// Other data, whose keys give way to those of the same name.
    Replaced,
}

/// How a snapshot is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Checks the checksum of a snapshot that is loaded whole (`rdbchecksum`).
    pub verify: bool,
    /// Leaves keys out whose time is over. Not for the base of a log: what follows may speak of them. Not of a snapshot that
    /// says where it stands in the stream of replication either: replicas that go on there have these keys.
    pub skip_expired: bool,
    /// Reads files of versions that are not known, up to what cannot be read (`rdb-version-check relaxed`).
    pub any_version: bool,
    /// A pause after each key of a snapshot that is loaded whole, for tests (`key-load-delay`).
    pub key_delay: Duration,
    /// What is there already. Anything but nothing has it loaded whole.
    pub onto: Onto,
}

/// How far loading has come. Shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// When it began, Unix ms; 0 when nothing is being loaded.
    pub started_ms: AtomicI64,
    /// Bytes to load.
    pub total: AtomicU64,
    /// Bytes read so far.
    pub done: AtomicU64,
    /// Keys loaded.
    pub keys: AtomicU64,
    /// Keys left out because their time was over.
    pub expired: AtomicU64,
    /// Commands of the log replayed.
    pub commands: AtomicU64,
    called_off: AtomicBool,
}

impl Progress {
    /// Something is being loaded from now on.
    pub(crate) fn begin(&self, now_ms: i64) {
        for count in [&self.total, &self.done, &self.keys, &self.expired, &self.commands] {
            count.store(0, Ordering::Relaxed);
        }
        self.started_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Nothing is being loaded any more.
    pub(crate) fn end(&self) {
        self.started_ms.store(0, Ordering::Relaxed);
    }

    /// Loading is given up at the next key or command, this time and ever after: the node ends.
    pub fn call_off(&self) {
        self.called_off.store(true, Ordering::Release);
    }

    /// Whether [`call_off`](Self::call_off) has been called.
    pub fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Acquire)
    }
}

/// What was in a snapshot.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its slots are built when they are asked for.
    pub is_lazy: bool,
    /// Its keys.
    pub keys: u64,
    /// Keys that were left out because their time was over.
    pub expired: u64,
    /// Its AUX fields.
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
    /// The sources of its libraries of functions, until the node has them.
    libraries: Vec<Vec<u8>>,
    /// Why some of them cannot be run.
    pub complaints: Vec<CommandError>,
    /// Where it ends: the commands of an old log with a preamble may follow.
    pub end: usize,
}

/// Why a snapshot cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not what it should be.
    #[error("{}{file}: {error}", if .error.is_checksum() { "RDB CRC error: " } else { "" })]
    Format {
        /// The file.
        file: Arc<str>,
        /// What is wrong, and where.
        error: RdbError,
    },
    /// It is of a version that is not known, and `rdb-version-check` is strict.
    #[error(
        "{file}: can't handle RDB format version {version}. If it was written by a newer server, 'rdb-version-check relaxed' \
        reads it all the same, unless something in it is unknown"
    )]
    Version {
        /// The file.
        file: Arc<str>,
        /// The version of the format.
        version: u16,
    },
    /// It has more databases than the node.
    #[error("{file} has a database {db}: raise 'databases', which is {databases}")]
    Databases {
        /// The file.
        file: Arc<str>,
        /// The database.
        db: u64,
        /// How many there are.
        databases: usize,
    },
    /// It has data of a module.
    #[error("{file} has data of the module '{module}', which is not here")]
    Module {
        /// The file.
        file: Arc<str>,
        /// The module.
        module: String,
    },
    /// The same key twice.
    #[error("{file}: the key '{key}' is there twice in database {db}")]
    Twice {
        /// The file.
        file: Arc<str>,
        /// The key, as it prints.
        key: String,
        /// Its database.
        db: usize,
    },
    /// A library that cannot be added to those that are there.
    #[error("{file}: {why}")]
    Library {
        /// The file.
        file: Arc<str>,
        /// What is wrong with it.
        why: CommandError,
    },
    /// Something else ended the loading already, or it was called off.
    #[error("{0}: given up")]
    GivenUp(Arc<str>),
}

/// Loads a snapshot into a node, which holds what the options say.
///
/// # Errors
/// [`LoadError`]: parts may have been loaded, and the node must not serve them.
pub fn snapshot(
    node: &Arc<Node>,
    name: &Arc<str>,
    file: &Bytes,
    options: LoadOptions,
    progress: &Progress,
) -> Result<Loaded, LoadError> {
    let format = |error: RdbError| LoadError::Format { file: name.clone(), error };
    node.hold_all().states().for_each(|state| state.shard.stale_in_file = 0);
    let mut loaded = match Index::open(file).map_err(format)? {
        Some(_) if options.onto != Onto::Nothing => whole(node, name, file, options, progress)?,
        Some(index) => by_index(node, name, file, &index, options, progress)?,
        // Without its index it is damaged, or was saved from one that was: then all must fit.
        None if Index::is_due(file) => {
            whole(node, name, file, LoadOptions { verify: true, ..options }, progress)?
        }
        None => whole(node, name, file, options, progress)?,
    };
    let libraries = std::mem::take(&mut loaded.libraries);
    loaded.complaints = match options.onto {
        Onto::Nothing => node.scripts.replace_libraries(libraries),
        onto => node.scripts.add_libraries(&libraries, onto == Onto::Replaced),
    };
    match loaded.complaints.pop() {
        Some(why) if options.onto == Onto::Data => Err(LoadError::Library { file: name.clone(), why }),
        last => {
            loaded.complaints.extend(last);
            Ok(loaded)
        }
    }
}

/// Hands each shard the sections of its slots. O(sections).
fn by_index(
    node: &Arc<Node>,
    name: &Arc<str>,
    file: &Bytes,
    index: &Index,
    options: LoadOptions,
    progress: &Progress,
) -> Result<Loaded, LoadError> {
    let databases = node.settings().databases;
    let stale_before_ms = if options.skip_expired { node.now_ms() } else { i64::MIN };
    let mut loaded = Loaded { is_lazy: true, end: file.len(), ..Loaded::default() };
    let family = read_head(name, &file[..(index.head as usize).min(file.len())], options, &mut loaded)?;
    let mut slots: BTreeMap<u16, Vec<StoredSection>> = BTreeMap::new();
    for entry in &index.sections {
        if entry.db as usize >= databases {
            return Err(LoadError::Databases { file: name.clone(), db: entry.db.into(), databases });
        }
        loaded.keys += entry.keys;
        slots.entry(entry.slot).or_default().push(stored(name, file, family, entry, stale_before_ms));
    }
    let mut held = node.hold_all();
    for (slot, mut sections) in slots {
        let Some(slot) = Slot::new(usize::from(slot)) else { continue };
        if let Some(state) = held.state_of(node.slots.owner(slot)) {
            // SWAPDB may have been there before a file is loaded anew.
            sections.iter_mut().for_each(|section| section.db = state.shard.physical(section.db));
            state.shard.store_slot(slot, sections);
        }
    }
    progress.keys.fetch_add(loaded.keys, Ordering::Relaxed);
    progress.done.fetch_add(file.len() as u64, Ordering::Relaxed);
    Ok(loaded)
}

fn stored(
    name: &Arc<str>,
    file: &Bytes,
    family: Family,
    entry: &IndexEntry,
    stale_before_ms: i64,
) -> StoredSection {
    StoredSection {
        file: name.clone(),
        offset: entry.offset,
        family,
        bytes: file.slice(entry.range()),
        crc32: entry.crc32,
        db: entry.db as usize,
        counts: entry.counts(),
        stale_before_ms,
    }
}

/// What stands before the first key.
fn read_head(
    name: &Arc<str>,
    head: &[u8],
    options: LoadOptions,
    loaded: &mut Loaded,
) -> Result<Family, LoadError> {
    let format = |error: RdbError| LoadError::Format { file: name.clone(), error };
    let mut reader = Reader::new();
    let mut at = 0;
    while at < head.len() {
        let (item, used) = reader.next(&head[at..]).map_err(format)?;
        match item {
            Item::Aux { key, value } => loaded.aux.push((key.into_vec(), value.into_vec())),
            Item::Function(source) => loaded.libraries.push(source.into_vec()),
            Item::Header { family, version } => check_version(name, family, version, options)?,
            _ => {}
        }
        at += used;
    }
    Ok(reader.header().map_or(Family::Redis, |(family, _)| family))
}

pub(crate) fn check_version(
    name: &Arc<str>,
    family: Family,
    version: u16,
    options: LoadOptions,
) -> Result<(), LoadError> {
    if options.any_version || family.knows(version) {
        return Ok(());
    }
    Err(LoadError::Version { file: name.clone(), version })
}

/// A key on its way to the thread that builds it.
struct Raw<'f> {
    db: usize,
    slot: Slot,
    /// Where it ends in the file.
    end: usize,
    family: Family,
    key: Record<'f>,
}

/// Cuts the file into keys and builds them on all cores.
fn whole(
    node: &Arc<Node>,
    name: &Arc<str>,
    file: &Bytes,
    options: LoadOptions,
    progress: &Progress,
) -> Result<Loaded, LoadError> {
    let settings = node.settings().clone();
    let now_ms = node.now_ms();
    let mut skip_before = None;
    let apply = |core: usize, raw: Vec<Raw<'_>>| {
        let mut entries = Vec::with_capacity(raw.len());
        for one in raw {
            let format = |error: RdbError| {
                // The value is what the bytes before the end are.
                let start = one.end - one.key.value.len();
                LoadError::Format { file: name.clone(), error: error.shifted(start) }
            };
            let entry = entry_of(&one.key, one.family, &settings, node.hasher(), now_ms);
            if let Some(entry) = entry.map_err(format)? {
                entries.push((one.slot, one.db, entry));
            }
        }
        progress.keys.fetch_add(entries.len() as u64, Ordering::Relaxed);
        let mut state = node.baton(core).take();
        // The memory of many at once: each alone would be waited for.
        for window in entries.chunks(WINDOW) {
            let hash = |entry: &Entry| node.hasher().hash(entry.key());
            window.iter().for_each(|(slot, _, entry)| state.shard.prefetch_slot(*slot, hash(entry)));
            for (slot, db, entry) in window {
                state.shard.prefetch_entry(*slot, state.shard.physical(*db), hash(entry));
            }
        }
        for (slot, db, entry) in entries {
            let physical = state.shard.physical(db);
            if options.onto == Onto::Replaced {
                state.shard.replace_loaded(slot, physical, entry);
            } else if let Err(entry) = state.shard.add_loaded(slot, physical, entry) {
                let key = entry.key().escape_ascii().to_string();
                return Err(LoadError::Twice { file: name.clone(), key, db });
            }
        }
        Ok(())
    };
    on_all_cores(node.cores(), apply, |feed| {
        let format = |error: RdbError| LoadError::Format { file: name.clone(), error };
        let mut reader = if options.verify { Reader::verifying() } else { Reader::new() };
        let mut loaded = Loaded::default();
        let (mut at, mut db, mut told, mut family) = (0, 0, 0, Family::Redis);
        loop {
            if progress.is_called_off() {
                return Err(LoadError::GivenUp(name.clone()));
            }
            let (item, used) = reader.next(&file[at..]).map_err(format)?;
            at += used;
            match item {
                Item::Aux { key, value } => loaded.aux.push((key.into_vec(), value.into_vec())),
                Item::SelectDb(n) if n >= settings.databases as u64 => {
                    return Err(LoadError::Databases {
                        file: name.clone(),
                        db: n,
                        databases: settings.databases,
                    });
                }
                Item::SelectDb(n) => db = n as usize,
                Item::Header { family: found, version } => {
                    check_version(name, found, version, options)?;
                    family = found;
                }
                Item::Key(key)
                    if key.expiry_ms.is_some_and(|at| {
                        // Of a history that goes on here the replicas have these keys, too: they go as keys go, and replicas hear of it.
                        let goes_on = || Moment::of_aux(&loaded.aux).is_some();
                        let skips = || if options.skip_expired && !goes_on() { now_ms } else { i64::MIN };
                        at < *skip_before.get_or_insert_with(skips)
                    }) =>
                {
                    loaded.expired += 1;
                    progress.expired.fetch_add(1, Ordering::Relaxed);
                }
                Item::Key(key) => {
                    let slot = Slot::of(&key.key);
                    loaded.keys += 1;
                    if !options.key_delay.is_zero() {
                        std::thread::sleep(options.key_delay);
                    }
                    if !feed.give(node.slots.owner(slot), Raw { db, slot, end: at, family, key }) {
                        return Err(LoadError::GivenUp(name.clone()));
                    }
                }
                Item::End { checksum: None }
                    if options.verify && options.onto == Onto::Nothing && Index::is_due(file) =>
                {
                    let expected = "an index, or a checksum, at the end of a snapshot written here";
                    return Err(format(RdbError::Corrupt { offset: at, expected }));
                }
                Item::End { .. } => {
                    progress.done.fetch_add((at - told) as u64, Ordering::Relaxed);
                    loaded.end = at;
                    return Ok(loaded);
                }
                Item::ModuleAux(module) => {
                    return Err(LoadError::Module { file: name.clone(), module: module.to_string() });
                }
                Item::Function(source) => loaded.libraries.push(source.into_vec()),
                Item::ResizeDb { .. } | Item::SlotInfo { .. } => {}
            }
            if at - told >= 1 << 20 {
                progress.done.fetch_add((at - told) as u64, Ordering::Relaxed);
                told = at;
            }
        }
    })
}

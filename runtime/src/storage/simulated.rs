//! A disk in memory that remembers only what was synced.
//!
//! Two things end what uses it:
//! - The *process* is killed: [`killed`](SimulatedStorage::killed) is the disk that the next process finds, with
//!   everything that was written.
//! - The *machine* fails: [`crashed`](SimulatedStorage::crashed) is one of the disks that may be found, drawn by a seed.
//!   Every unsynced write is there, is not there, or is there in some of its sectors; later ones may be there without
//!   earlier ones; where bytes are missing in front of others there are zeros; unsynced names are there or not, each on
//!   its own.
//!
//! Every call has a number, and any number can be made to fail. A sync that fails forgets: what it was to make safe may
//! be lost though later syncs succeed, as on real systems.

use super::{File, Lock, Storage};
use baton_engine::random::Rng;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A write is torn at borders of this many bytes.
const SECTOR_BYTES: usize = 512;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: nothing is written.
    Full,
    /// The disk fills up in the middle of a write: half of it is there. As `Full` for other calls.
    Short,
    /// The device fails.
    Broken,
}

/// A disk in memory. Clones are handles of the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct Disk {
    inodes: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    locked: BTreeSet<PathBuf>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    /// From this call on everything fails.
    dead_from: Option<u64>,
    /// Nothing can be appended.
    no_room: Option<Fault>,
    rng: Rng,
}

/// A file, whatever its names are.
#[derive(Clone, Debug, Default)]
struct Inode {
    /// As everybody who runs sees it.
    contents: Vec<u8>,
    /// As the disk surely has it.
    durable: Vec<u8>,
    /// What was done since, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    what: What,
    /// A sync of it failed: no sync makes it safe any more.
    doubtful: bool,
}

#[derive(Clone, Debug)]
enum What {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

#[derive(Clone, Debug, Default)]
struct Dir {
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<Naming>,
}

#[derive(Clone, Debug)]
enum Naming {
    Put { name: String, inode: usize },
    Remove { name: String, inode: usize },
    Rename { from: String, to: String, inode: usize },
}

#[derive(Debug)]
struct SimulatedFile {
    storage: SimulatedStorage,
    inode: usize,
}

#[derive(Debug)]
struct SimulatedLock {
    storage: SimulatedStorage,
    path: PathBuf,
}

impl SimulatedStorage {
    /// An empty disk, with the root directory alone. The seed decides what a crash leaves.
    pub fn new(seed: u64) -> Self {
        Self::with(Vec::new(), BTreeMap::from([(PathBuf::from("/"), Dir::default())]), seed)
    }

    fn with(inodes: Vec<Inode>, dirs: BTreeMap<PathBuf, Dir>, seed: u64) -> Self {
        let disk = Disk {
            inodes,
            dirs,
            locked: BTreeSet::new(),
            calls: 0,
            faults: BTreeMap::new(),
            dead_from: None,
            no_room: None,
            rng: Rng::seeded(seed),
        };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// How many calls have been made so far, those that failed included.
    pub fn calls(&self) -> u64 {
        self.disk.lock().calls
    }

    /// Makes the call of this number fail; the first is 0.
    pub fn fail(&self, call: u64, fault: Fault) {
        self.disk.lock().faults.insert(call, fault);
    }

    /// Makes this call and all after it fail: whatever uses the disk stops there, as if it had been killed.
    pub fn stop_at(&self, call: u64) {
        self.disk.lock().dead_from = Some(call);
    }

    /// Makes everything that is appended fail from now on, or no more.
    pub fn fail_appends(&self, fault: Option<Fault>) {
        self.disk.lock().no_room = fault;
    }

    /// The disk stands still for as long as this lives: every call waits.
    pub fn stand_still(&self) -> impl Drop + '_ {
        self.disk.lock()
    }

    /// What the next process finds when this one is killed now.
    pub fn killed(&self) -> Self {
        let mut disk = self.disk.lock();
        let seed = disk.rng.next_u64();
        Self::with(disk.inodes.clone(), disk.dirs.clone(), seed)
    }

    /// What is found when the machine fails now: one of many possibilities.
    pub fn crashed(&self) -> Self {
        let mut disk = self.disk.lock();
        let mut rng = Rng::seeded(disk.rng.next_u64());
        let inodes = disk.inodes.iter().map(|inode| Inode::found(inode.after_crash(&mut rng))).collect();
        let dirs = disk.dirs.iter().map(|(path, dir)| (path.clone(), dir.after_crash(&mut rng))).collect();
        Self::with(inodes, dirs, rng.next_u64())
    }

    /// As [`crashed`](Self::crashed), but with all names as they are now: for questions about contents alone.
    pub fn crashed_with_names(&self) -> Self {
        let crashed = self.crashed();
        let names = self.disk.lock().dirs.clone();
        crashed.disk.lock().dirs = names;
        crashed
    }

    /// Flips the bits of a byte of a file, as a failing disk does. Nothing when there is no such byte.
    pub fn damage(&self, path: &Path, at: u64, bits: u8) {
        let mut disk = self.disk.lock();
        let Ok(inode) = disk.find(path) else { return };
        if let Some(byte) = disk.inodes[inode].contents.get_mut(at as usize) {
            *byte ^= bits;
        }
    }
}

impl Inode {
    fn found(contents: Vec<u8>) -> Self {
        Self { durable: contents.clone(), contents, unsynced: Vec::new() }
    }

    fn change(&mut self, what: What) {
        what.apply(&mut self.contents);
        self.unsynced.push(Change { what, doubtful: false });
    }

    fn sync(&mut self, rng: &mut Rng) {
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.unsynced) {
            if change.doubtful {
                change.what.apply_in_part(&mut self.durable, &mut lost, rng);
            } else {
                change.what.apply(&mut self.durable);
            }
        }
    }

    fn after_crash(&self, rng: &mut Rng) -> Vec<u8> {
        let mut found = self.durable.clone();
        // A sector is written as it is at some moment: with all that went into it until then, and nothing later.
        let mut lost = BTreeSet::new();
        for change in &self.unsynced {
            change.what.apply_in_part(&mut found, &mut lost, rng);
        }
        found
    }
}

impl What {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write_at(contents, *at, bytes),
            Self::Truncate { len } => contents.resize(*len, 0),
        }
    }

    /// As a crash leaves it: whole, not at all, or in some of its sectors. `lost` are those that have been left behind already.
    fn apply_in_part(&self, contents: &mut Vec<u8>, lost: &mut BTreeSet<usize>, rng: &mut Rng) {
        let fate = rng.next_u64() % 4;
        match self {
            Self::Truncate { .. } if fate == 1 => self.apply(contents),
            Self::Truncate { .. } => {}
            Self::Write { at, bytes } => {
                let (mut start, end) = (*at, at + bytes.len());
                let until = start + (rng.next_u64() as usize) % (bytes.len() + 1);
                while start < end {
                    let sector = start / SECTOR_BYTES;
                    let border = ((sector + 1) * SECTOR_BYTES).min(end);
                    // Nothing, all, a beginning, or any sectors.
                    let kept = match fate {
                        0 => false,
                        1 => true,
                        2 => border <= until,
                        _ => rng.next_u64().is_multiple_of(2),
                    };
                    if !kept {
                        lost.insert(sector);
                    } else if !lost.contains(&sector) {
                        write_at(contents, start, &bytes[start - at..border - at]);
                    }
                    start = border;
                }
                if fate == 0 {
                    return;
                }
                // The length is kept apart from the bytes: it may be right where they are missing.
                if rng.next_u64().is_multiple_of(4) && contents.len() < end {
                    contents.resize(end, 0);
                }
            }
        }
    }
}

fn write_at(contents: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[at..end].copy_from_slice(bytes);
}

impl Dir {
    fn change(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.unsynced.push(naming);
    }

    fn after_crash(&self, rng: &mut Rng) -> Self {
        let mut names = self.durable.clone();
        for naming in &self.unsynced {
            if rng.next_u64().is_multiple_of(2) {
                naming.apply(&mut names);
            }
        }
        Self { durable: names.clone(), names, unsynced: Vec::new() }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        let drop_name = |names: &mut BTreeMap<String, usize>, name: &str, inode: usize| {
            if names.get(name) == Some(&inode) {
                names.remove(name);
            }
        };
        match self {
            Self::Put { name, inode } => drop(names.insert(name.clone(), *inode)),
            Self::Remove { name, inode } => drop_name(names, name, *inode),
            Self::Rename { from, to, inode } => {
                drop_name(names, from, *inode);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl Disk {
    /// Counts a call, and lets it fail if it is to.
    fn call(&mut self) -> Result<(), Fault> {
        let number = self.calls;
        self.calls += 1;
        if self.dead_from.is_some_and(|from| number >= from) {
            return Err(Fault::Broken);
        }
        self.faults.get(&number).map_or(Ok(()), |fault| Err(*fault))
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn dir_of(&mut self, path: &Path) -> io::Result<(&mut Dir, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(dir)?, name.to_owned()))
    }

    fn find(&mut self, path: &Path) -> io::Result<usize> {
        let (dir, name) = self.dir_of(path)?;
        dir.names.get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        const ENOSPC: i32 = 28;
        const EIO: i32 = 5;
        Self::from_raw_os_error(if fault == Fault::Broken { EIO } else { ENOSPC })
    }
}

impl Storage for SimulatedStorage {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let inode = match disk.find(path) {
            Ok(inode) => {
                disk.inodes[inode].change(What::Truncate { len: 0 });
                inode
            }
            Err(_) => {
                let inode = disk.inodes.len();
                let (dir, name) = disk.dir_of(path)?;
                dir.change(Naming::Put { name, inode });
                disk.inodes.push(Inode::default());
                inode
            }
        };
        Ok(Arc::new(SimulatedFile { storage: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let inode = disk.find(path)?;
        Ok(Arc::new(SimulatedFile { storage: self.clone(), inode }))
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let inode = disk.find(path)?;
        Ok(Bytes::copy_from_slice(&disk.inodes[inode].contents))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let inode = disk.find(path)?;
        Ok(disk.inodes[inode].contents.len() as u64)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.disk.lock();
        disk.call()?;
        Ok(disk.dir(dir)?.names.keys().cloned().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let parent = dir.parent().unwrap_or(Path::new("/")).to_owned();
        disk.dir(&parent)?;
        disk.dirs.entry(dir.to_owned()).or_default();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let inode = disk.find(from)?;
        let from = disk.dir_of(from)?.1;
        let (dir, to) = disk.dir_of(to)?;
        dir.change(Naming::Rename { from, to, inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let inode = disk.find(path)?;
        let (dir, name) = disk.dir_of(path)?;
        dir.change(Naming::Remove { name, inode });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.call()?;
        let dir = disk.dir(dir)?;
        dir.unsynced.clear();
        dir.durable = dir.names.clone();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.disk.lock();
        disk.call()?;
        if !disk.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedLock { storage: self.clone(), path: path.to_owned() }))
    }
}

impl File for SimulatedFile {
    fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut disk = self.storage.disk.lock();
        let fault = disk.call().err().or(disk.no_room);
        let mut bytes = parts.concat();
        match fault {
            None => {}
            Some(Fault::Short) => bytes.truncate(bytes.len() / 2),
            Some(_) => bytes.clear(),
        }
        let inode = &mut disk.inodes[self.inode];
        if !bytes.is_empty() {
            inode.change(What::Write { at: inode.contents.len(), bytes });
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.storage.disk.lock();
        disk.call()?;
        disk.inodes[self.inode].change(What::Truncate { len: len as usize });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.storage.disk.lock();
        let result = disk.call();
        let Disk { inodes, rng, .. } = &mut *disk;
        let inode = &mut inodes[self.inode];
        match result {
            Ok(()) => inode.sync(rng),
            Err(_) => inode.unsynced.iter_mut().for_each(|change| change.doubtful = true),
        }
        Ok(result?)
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.storage.disk.lock();
        disk.call()?;
        Ok(disk.inodes[self.inode].contents.len() as u64)
    }
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.storage.disk.lock().locked.remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: &str = "/";
    const LOG: &str = "/log";

    /// The contents of the log in a thousand crashes.
    fn found(storage: &SimulatedStorage) -> BTreeSet<Option<Vec<u8>>> {
        let read = |disk: SimulatedStorage| disk.read(Path::new(LOG)).ok().map(|bytes| bytes.to_vec());
        (0..1_000).map(|_| read(storage.crashed())).collect()
    }

    #[test]
    fn what_was_synced_is_always_found() {
        let storage = SimulatedStorage::new(1);
        let file = storage.create(Path::new(LOG)).unwrap();
        file.append(&[b"safe"]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(found(&storage), [None, Some(b"safe".to_vec())].into(), "its name was not synced");
        storage.sync_dir(Path::new(DIR)).unwrap();
        assert_eq!(found(&storage), [Some(b"safe".to_vec())].into());
        file.append(&[b"!"]).unwrap();
        assert!(found(&storage).iter().flatten().all(|found| found.starts_with(b"safe")));
        assert_eq!(storage.killed().read(Path::new(LOG)).unwrap(), &b"safe!"[..]);
    }

    #[test]
    fn what_was_not_synced_is_lost_kept_torn_or_out_of_order() {
        let storage = SimulatedStorage::new(2);
        let file = storage.create(Path::new(LOG)).unwrap();
        storage.sync_dir(Path::new(DIR)).unwrap();
        let (a, b) = (vec![b'a'; 1_000], vec![b'b'; 1_000]);
        file.append(&[&a]).unwrap();
        file.append(&[&b]).unwrap();
        let found: Vec<Vec<u8>> = found(&storage).into_iter().flatten().collect();
        let is = |wanted: &dyn Fn(&[u8]) -> bool| assert!(found.iter().any(|found| wanted(found)));
        is(&|found| found.is_empty());
        is(&|found| found == [&a[..], &b[..]].concat());
        is(&|found| found == a);
        is(&|found| found == &a[..512]);
        // A sector is lost with all that went into it.
        is(&|found| found == [&[0; 1_024][..], &b[24..]].concat());
        is(&|found| found == [&[0; 512][..], &a[512..]].concat());
    }

    #[test]
    fn a_rename_is_found_whole_or_not_at_all() {
        let storage = SimulatedStorage::new(3);
        for (name, text) in [("/old", &b"old"[..]), ("/temp", b"new")] {
            let file = storage.create(Path::new(name)).unwrap();
            file.append(&[text]).unwrap();
            file.sync_data().unwrap();
        }
        storage.sync_dir(Path::new(DIR)).unwrap();
        storage.rename(Path::new("/temp"), Path::new("/old")).unwrap();
        let states: BTreeSet<(Vec<String>, Bytes)> = (0..100)
            .map(|_| {
                let disk = storage.crashed();
                (disk.list(Path::new(DIR)).unwrap(), disk.read(Path::new("/old")).unwrap())
            })
            .collect();
        let both = vec!["old".to_owned(), "temp".to_owned()];
        assert_eq!(states, [(both, Bytes::from("old")), (vec!["old".to_owned()], Bytes::from("new"))].into());
    }

    #[test]
    fn calls_fail_by_number() {
        let storage = SimulatedStorage::new(4);
        let file = storage.create(Path::new(LOG)).unwrap();
        storage.fail(1, Fault::Short);
        storage.fail(2, Fault::Broken);
        storage.stop_at(5);
        let kind = |result: io::Result<()>| result.unwrap_err().kind();
        assert_eq!(kind(file.append(&[b"1234"])), io::ErrorKind::StorageFull);
        assert!(file.append(&[b"5678"]).is_err());
        assert_eq!(
            storage.read(Path::new(LOG)).unwrap(),
            &b"12"[..],
            "half of the first, nothing of the second"
        );
        file.append(&[b"34"]).unwrap();
        assert!(file.append(&[b"dead"]).is_err() && storage.read(Path::new(LOG)).is_err());
        assert_eq!(storage.calls(), 7);
    }

    #[test]
    fn a_failed_sync_forgets() {
        let storage = SimulatedStorage::new(5);
        let file = storage.create(Path::new(LOG)).unwrap();
        storage.sync_dir(Path::new(DIR)).unwrap();
        file.append(&[b"doubtful"]).unwrap();
        storage.fail(storage.calls(), Fault::Broken);
        assert!(file.sync_data().is_err());
        let lost = (0..100).any(|seed| {
            let (inodes, dirs) = {
                let disk = storage.disk.lock();
                (disk.inodes.clone(), disk.dirs.clone())
            };
            let disk = SimulatedStorage::with(inodes, dirs, seed);
            let file = disk.open(Path::new(LOG)).unwrap();
            file.sync_data().unwrap();
            disk.crashed().read(Path::new(LOG)).unwrap() != b"doubtful"[..]
        });
        assert!(lost, "a sync that succeeds later does not bring back what a failed one has lost");
    }
}

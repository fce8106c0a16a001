//! Storage: the files of persistence, as little of a file system as they need.
//!
//! | file        | holds                                                                             |
//! |-------------|-----------------------------------------------------------------------------------|
//! | `real`      | the disk                                                                          |
//! | `mapped`    | mapped files that do not take the process down                                    |
//! | `simulated` | a disk in memory that remembers only what was synced, and fails where it is told to |
//!
//! What the callers rely on, and what neither promises:
//! - What was appended is safe from a crash of the *process* at once, from a crash of the *machine* only once
//!   [`sync_data`](File::sync_data) has returned. Unsynced bytes may survive in part, in any order.
//! - A name (created, renamed, removed) is safe only once [`sync_dir`](Storage::sync_dir) of its directory has returned.
//! - A rename puts the new file in the place of the old one in one step: a crash shows one or the other.
//! - After a sync that failed, what it was to make safe may be lost although later syncs succeed.

pub mod mapped;
pub mod real;
pub mod simulated;

use bytes::Bytes;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealStorage;
pub use simulated::SimulatedStorage;

/// Where files are.
pub trait Storage: Send + Sync + Debug {
    /// A new file, empty. What was there under this name is cut to nothing.
    ///
    /// # Errors
    /// Those of the file system; this goes for all of these calls.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// A file that is there, to append to.
    ///
    /// # Errors
    /// `NotFound` among others.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// All of a file. The real disk maps it, so nobody should cut it shorter while the bytes are in use: files are
    /// replaced by renaming, and only the journal's own file is ever cut. What is cut all the same reads as zeros, and is
    /// [counted](mapped::faults).
    ///
    /// # Errors
    /// `NotFound` among others.
    fn read(&self, path: &Path) -> io::Result<Bytes>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound` among others.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Names of the files of a directory, in no order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory if it is not there; its parent must be.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of what has this name now. Within one directory.
    ///
    /// # Errors
    /// `NotFound` among others.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Who has it open or mapped goes on reading it.
    ///
    /// # Errors
    /// `NotFound` among others.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory safe from a crash of the machine.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock of a file, which is made if it is not there, until the guard is dropped or the process ends.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// A file that is appended to. Closing it is dropping it.
pub trait File: Send + Sync + Debug {
    /// Appends these parts, one behind the other. A failure may leave any beginning of them in the file.
    ///
    /// # Errors
    /// `StorageFull` among others.
    fn append(&self, parts: &[&[u8]]) -> io::Result<()>;

    /// Cuts the file to this length.
    ///
    /// # Errors
    /// Those of the file system.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the contents and the length safe from a crash of the machine.
    ///
    /// # Errors
    /// Those of the disk. What was unsynced may be lost then, whatever later syncs say.
    fn sync_data(&self) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A lock that is held for as long as this lives.
pub trait Lock: Send + Sync + Debug {}

/// An error as `strerror` words it, which is how Redis shows it: without the number that the standard library adds.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The same story on both kinds of storage.
    fn on_both(story: impl Fn(&dyn Storage, PathBuf)) {
        let dir = tempfile::tempdir().unwrap();
        story(&RealStorage, dir.path().to_owned());
        let simulated = SimulatedStorage::new(1);
        let dir = PathBuf::from("/data");
        simulated.create_dir(&dir).unwrap();
        story(&simulated, dir);
    }

    #[test]
    fn files_are_written_cut_and_read() {
        on_both(|storage, dir| {
            let path = dir.join("log");
            let file = storage.create(&path).unwrap();
            assert!(file.is_empty().unwrap() && storage.read(&path).unwrap().is_empty());
            file.append(&[b"one ", b"", b"two "]).unwrap();
            file.append(&[b"three"]).unwrap();
            file.sync_data().unwrap();
            assert_eq!(storage.read(&path).unwrap(), &b"one two three"[..]);
            assert_eq!((file.len().unwrap(), storage.len(&path).unwrap()), (13, 13));
            file.truncate(4).unwrap();
            file.append(&[b"four"]).unwrap();
            assert_eq!(storage.read(&path).unwrap(), &b"one four"[..]);
            let again = storage.open(&path).unwrap();
            again.append(&[b"!"]).unwrap();
            assert_eq!(storage.read(&path).unwrap(), &b"one four!"[..]);
            assert!(storage.create(&path).unwrap().is_empty().unwrap());
        });
    }

    #[test]
    fn many_parts_are_appended_whole() {
        on_both(|storage, dir| {
            let parts: Vec<Vec<u8>> = (0..3_000).map(|n: u32| n.to_be_bytes().to_vec()).collect();
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let file = storage.create(&dir.join("log")).unwrap();
            file.append(&parts).unwrap();
            assert_eq!(storage.read(&dir.join("log")).unwrap(), parts.concat());
        });
    }

    #[test]
    fn names_change() {
        on_both(|storage, dir| {
            let [a, b, c] = ["a", "b", "c"].map(|name| dir.join(name));
            storage.create(&a).unwrap().append(&[b"first"]).unwrap();
            storage.create(&b).unwrap().append(&[b"second"]).unwrap();
            let old = storage.read(&a).unwrap();
            storage.rename(&b, &a).unwrap();
            storage.sync_dir(&dir).unwrap();
            assert_eq!(storage.list(&dir).unwrap(), ["a"]);
            assert_eq!(storage.read(&a).unwrap(), &b"second"[..]);
            assert_eq!(old, &b"first"[..], "who reads goes on reading what was there");
            storage.remove(&a).unwrap();
            assert!(storage.list(&dir).unwrap().is_empty());
            for result in [storage.remove(&a), storage.rename(&a, &b), storage.read(&a).map(drop)] {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
            }
            assert_eq!(storage.open(&c).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(storage.len(&c).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(storage.list(&dir.join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(storage.create(&dir.join("no/a")).unwrap_err().kind(), io::ErrorKind::NotFound);
        });
    }

    #[test]
    fn directories_are_made_once() {
        on_both(|storage, dir| {
            let inner = dir.join("appendonlydir");
            storage.create_dir(&inner).unwrap();
            storage.create(&inner.join("a")).unwrap();
            storage.create_dir(&inner).unwrap();
            assert_eq!(storage.list(&inner).unwrap(), ["a"]);
        });
    }

    #[test]
    fn a_lock_is_held_once() {
        on_both(|storage, dir| {
            let path = dir.join(".lock");
            let held = storage.lock(&path).unwrap();
            assert_eq!(storage.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            drop(held);
            storage.lock(&path).unwrap();
        });
    }

    #[test]
    fn reasons_have_no_numbers() {
        assert_eq!(reason(&io::Error::from_raw_os_error(28)), "No space left on device");
        assert_eq!(reason(&io::Error::other("torn")), "torn");
    }
}

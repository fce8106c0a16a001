//! Mapped files that do not take the process down when they fail.
//!
//! A mapped file that somebody cuts shorter, or a disk that cannot give a page back, raises SIGBUS at the read. The handler
//! here puts a page of zeros in the place of the one that is missing, counts it, and lets the read go on: whoever reads
//! finds a checksum that does not fit, or [compares the count](faults) before and after, and refuses what it has read. A
//! SIGBUS anywhere else ends the process as it would without the handler.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Maps that the handler knows. More than a node ever has at once: snapshot, base and increments of the log.
const MAPS_MAX: usize = 256;

/// Where maps are: begin and end, 0 for none.
static MAPS: [(AtomicUsize, AtomicUsize); MAPS_MAX] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; MAPS_MAX];
/// Pages that turned out to be missing.
static FAULTS: AtomicU64 = AtomicU64::new(0);
static HANDLER: Once = Once::new();

/// How many pages of mapped files have turned out to be missing so far. What was read while this number changed is not to
/// be trusted.
pub fn faults() -> u64 {
    FAULTS.load(Ordering::Acquire)
}

/// A map that the handler watches over.
#[derive(Debug)]
pub(super) struct Guarded {
    map: Mmap,
    place: usize,
}

impl Guarded {
    /// Maps a file that is not empty. `None`: too many maps, read it instead.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn map(file: &File) -> io::Result<Option<Self>> {
        HANDLER.call_once(install);
        // SAFETY: what is mapped stays as it is. Files of persistence are written once and then only replaced by rename
        // or removed, which leaves the mapped inode alone; the journal's own file grows at its end, and is cut shorter
        // only behind the last whole block, by whoever appends to it, which is after it has been read. Other processes
        // of ours are kept out of the log by its lock. Should a stranger cut a file, its pages read as zeros, see above.
        let map = unsafe { Mmap::map(file)? };
        let (begin, end) = (map.as_ptr() as usize, map.as_ptr() as usize + map.len());
        let free = MAPS.iter().position(|(from, _)| {
            from.compare_exchange(0, begin, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        Ok(free.map(|place| {
            MAPS[place].1.store(end, Ordering::Release);
            Self { map, place }
        }))
    }
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The end first: a place whose end is 0 covers nothing.
        MAPS[self.place].1.store(0, Ordering::Release);
        MAPS[self.place].0.store(0, Ordering::Release);
    }
}

fn install() {
    // SAFETY: an all-zero `sigaction` is a valid value of this plain C struct; the handler has the signature that
    // SA_SIGINFO asks for, lives for ever, and calls nothing but atomics and system calls. On failure nothing is
    // installed, and a missing page ends the process as it does by default.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const PAGE: usize = 4096;
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler with SA_SIGINFO, and for SIGBUS it holds an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let is_ours = MAPS.iter().any(|(begin, end)| {
        let (begin, end) = (begin.load(Ordering::Acquire), end.load(Ordering::Acquire));
        // The last page is mapped as a whole.
        begin != 0 && address >= begin && address < end.next_multiple_of(PAGE)
    });
    let page = address & !(PAGE - 1);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page lies in a live map of ours, of a length that is a multiple of the page's, and is only ever read; what
    // replaces it is readable too. Nothing else is touched. `mmap` is a bare system call here.
    let replaced = is_ours
        && unsafe { libc::mmap(page as *mut libc::c_void, PAGE, libc::PROT_READ, flags, -1, 0) }
            != libc::MAP_FAILED;
    if replaced {
        FAULTS.fetch_add(1, Ordering::AcqRel);
        return;
    }
    // SAFETY: as in `install`; with the default action back in place the read is done again and ends the process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_that_is_cut_while_it_is_mapped_reads_as_zeros() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 3 * 4096 + 5]).unwrap();
        let map = Guarded::map(&file).unwrap().unwrap();
        let before = faults();
        assert!(map.as_ref().iter().all(|byte| *byte == 7));
        assert_eq!(faults(), before);
        file.set_len(4096).unwrap();
        let sum: usize = map.as_ref().iter().map(|byte| usize::from(*byte)).sum();
        assert_eq!(sum, 4096 * 7);
        assert_eq!(faults(), before + 3);
        drop(map);
        let again = Guarded::map(&file).unwrap().unwrap();
        assert_eq!(again.as_ref().len(), 4096);
    }
}

//! What ACL LOG shows: refused logins and refused commands, the newest first.

use super::verdict::Reason;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Entries that a new one is compared with.
const COMPARED_MAX: usize = 10;
/// How far apart two events of one entry may be.
const GROUPED_MS_MAX: i64 = 60_000;

/// Where a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    TopLevel,
    Multi,
    Script,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
            Self::Script => "lua",
        }
    }
}

/// What was refused, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub reason: Reason,
    pub place: Place,
    /// The command, the key, the channel.
    pub object: Vec<u8>,
    pub user: Vec<u8>,
    /// The client, as in CLIENT LIST.
    pub client: Vec<u8>,
}

/// Events that are the same but for their time.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: u64,
    pub count: u64,
    /// The latest.
    pub event: Event,
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl Entry {
    fn takes(&self, event: &Event, now_ms: i64) -> bool {
        let same = |a: &Event, b: &Event| {
            (a.reason, a.place) == (b.reason, b.place) && a.object == b.object && a.user == b.user
        };
        same(&self.event, event) && (now_ms - self.updated_ms).abs() <= GROUPED_MS_MAX
    }
}

/// The log.
#[derive(Debug, Default)]
pub struct Log(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    newest_first: VecDeque<Entry>,
}

impl Log {
    /// Notes an event, and keeps so many entries.
    pub fn note(&self, event: Event, now_ms: i64, len_max: usize) {
        let mut entries = self.0.lock();
        let entries = &mut *entries;
        let all = &mut entries.newest_first;
        if len_max > 0 {
            let known = all.iter().take(COMPARED_MAX).position(|entry| entry.takes(&event, now_ms));
            let entry = match known.and_then(|at| all.remove(at)) {
                Some(entry) => Entry { count: entry.count + 1, event, updated_ms: now_ms, ..entry },
                None => {
                    entries.next_id += 1;
                    Entry { id: entries.next_id - 1, count: 1, event, created_ms: now_ms, updated_ms: now_ms }
                }
            };
            all.push_front(entry);
        }
        all.truncate(len_max);
    }

    /// The newest entries.
    pub fn newest(&self, count: usize) -> Vec<Entry> {
        self.0.lock().newest_first.iter().take(count).cloned().collect()
    }

    /// Forgets all entries. Numbers go on.
    pub fn clear(&self) {
        self.0.lock().newest_first.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str) -> Event {
        let object = object.as_bytes().to_vec();
        Event { reason: Reason::Key, place: Place::TopLevel, object, user: b"u".to_vec(), client: Vec::new() }
    }

    /// What the log holds: number, object, count.
    fn show(log: &Log) -> String {
        let shown = log.newest(usize::MAX).into_iter().map(|entry| {
            format!("{}:{}x{}", entry.id, String::from_utf8_lossy(&entry.event.object), entry.count)
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn events_are_grouped_and_old_ones_go() {
        let log = Log::default();
        log.note(event("a"), 1_000, 3);
        log.note(event("b"), 2_000, 3);
        log.note(event("a"), 61_000, 3);
        assert_eq!(show(&log), "0:ax2 1:bx1");
        log.note(event("a"), 121_001, 3);
        assert_eq!(show(&log), "2:ax1 0:ax2 1:bx1");
        log.note(event("c"), 121_002, 3);
        assert_eq!(show(&log), "3:cx1 2:ax1 0:ax2");
        let entry = &log.newest(3)[2];
        assert_eq!((entry.created_ms, entry.updated_ms), (1_000, 61_000));
        log.note(event("d"), 121_003, 0);
        assert_eq!(show(&log), "");
        log.note(event("d"), 121_003, 1);
        assert_eq!(show(&log), "4:dx1");
        log.clear();
        assert_eq!(show(&log), "");
    }

    #[test]
    fn only_the_newest_entries_are_compared() {
        let log = Log::default();
        (0..11).for_each(|n| log.note(event(&n.to_string()), 0, 100));
        log.note(event("1"), 0, 100);
        log.note(event("0"), 0, 100);
        let counts: Vec<u64> = log.newest(12).iter().map(|entry| entry.count).collect();
        assert_eq!((counts.len(), counts[0], counts[1]), (12, 1, 2));
    }
}

//! One replica as its primary sees it: a state machine without sockets or clocks.
//!
//! ```text
//! Waiting --Begun(disk)----> Saving --FileReady--> Sending --Sent--> Online
//!    |  ^                      |                                       ^
//!    |  `----SnapshotFailed----'                                       |
//!    `------Begun(diskless)------> Streaming --Sent--> Loading --Ack --'
//! (a partial synchronisation begins Online)     any --Tick, Lost--> Gone
//! ```
//!
//! | state     | the replica                                             | INFO says     | what it is sent            |
//! |-----------|---------------------------------------------------------|---------------|----------------------------|
//! | Waiting   | waits for a snapshot to begin                            | `wait_bgsave` | a newline each second      |
//! | Saving    | waits for the file of a snapshot                         | `wait_bgsave` | a newline each second      |
//! | Sending   | is sent that file                                        | `send_bulk`   | `$length`, the file        |
//! | Streaming | is sent a snapshot while that is made                    | `wait_bgsave` | `$EOF:mark`, bytes, mark   |
//! | Loading   | has been sent all of it, and has not said a word since    | `online`      | nothing: it looks for the mark at the end of what it reads |
//! | Online    | follows the stream                                       | `online`      | the stream                 |
//! | Served    | wanted a snapshot and nothing else                       | (left out)    | nothing; it ends the link  |
//! | Gone      | is no longer served                                      | (left out)    | nothing                    |

/// What a replica has told about itself before it asked for data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `listening-port`
    pub port: i64,
    /// `ip-address`, when it is not the address that it comes from.
    pub address: Option<Box<str>>,
    /// `capa eof`: takes a snapshot whose length is not known.
    pub eof: bool,
    /// `capa psync2`
    pub psync2: bool,
    /// `rdb-only`: wants a snapshot, and not what comes after it.
    pub rdb_only: bool,
    /// `rdb-filter-only`: what of a snapshot it wants.
    pub filter: Filter,
    /// `version`: three numbers as one, `0xMMmmpp`.
    pub version: Option<u32>,
    /// Asked with `SYNC`: need not acknowledge anything but the end of a snapshot without a length.
    pub is_old: bool,
}

/// What goes into a snapshot for a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not the data.
    pub no_data: bool,
    /// Not the libraries of functions.
    pub no_functions: bool,
}

/// How a snapshot gets to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By way of a file.
    Disk,
    /// As it is made.
    Diskless,
}

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// See the [module](self).
    Waiting {
        /// Since when, in milliseconds.
        since_ms: i64,
    },
    /// See the [module](self).
    Saving {
        /// Where the stream goes on behind the snapshot.
        from: u64,
    },
    /// See the [module](self).
    Sending {
        /// As in `Saving`.
        from: u64,
    },
    /// See the [module](self).
    Streaming {
        /// As in `Saving`.
        from: u64,
    },
    /// See the [module](self).
    Loading,
    /// See the [module](self).
    Online,
    /// See the [module](self).
    Served,
    /// See the [module](self).
    Gone,
}

/// What happens to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A snapshot for it has begun; the stream goes on behind it from here.
    Begun {
        /// How it will come.
        how: How,
        /// The offset of its moment.
        from: u64,
    },
    /// The file of its snapshot is written.
    FileReady,
    /// Its snapshot could not be made.
    SnapshotFailed,
    /// Some bytes of what it is sent have left.
    Progress,
    /// All of its snapshot has left.
    Sent,
    /// `REPLCONF ACK`
    Ack {
        /// Bytes of the stream that it has.
        has: u64,
        /// Those that are safe on its disk (`FACK`).
        synced: Option<u64>,
    },
    /// Time has passed.
    Tick {
        /// Bytes of the stream that it has not taken.
        unread: u64,
    },
    /// What it wants next of the stream is no longer there.
    Lost,
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Tell it where the stream will go on (`+FULLRESYNC`).
    Announce {
        /// How the snapshot will come.
        how: How,
        /// The offset.
        from: u64,
    },
    /// Send it the file of the snapshot.
    SendFile,
    /// Send it the stream from where it is attached.
    Follow,
    /// Send it a newline, so that it knows that somebody is there.
    Newline,
    /// End its connection.
    Close(Why),
}

/// Why a replica is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has not acknowledged anything for `repl-timeout`.
    Silent,
    /// It has not taken anything of its snapshot for `repl-timeout`.
    Stuck,
    /// It has left more unread than `client-output-buffer-limit replica` allows.
    TooSlow,
    /// Its snapshot failed in the middle.
    SnapshotFailed,
}

/// What the primary allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `repl-timeout`
    pub timeout_ms: i64,
    /// Unread bytes from which on it has to go; 0 for no limit.
    pub hard_bytes: u64,
    /// Unread bytes that it may not have for longer than `soft_ms`; 0 for no limit.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_ms: i64,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// What it has told.
    pub facts: Facts,
    /// Where it stands.
    pub phase: Phase,
    /// Bytes of the stream that it has, as far as it has told.
    pub has: u64,
    /// Those that are safe on its disk, as far as it has told.
    pub synced: u64,
    /// When it last acknowledged, or came online, in milliseconds.
    pub heard_ms: i64,
    /// When it last took something.
    moved_ms: i64,
    /// When it was last sent a newline.
    newline_ms: i64,
    /// Since when it has been over the soft limit.
    over_soft_ms: Option<i64>,
}

/// Newlines come so often.
const NEWLINE_MS: i64 = 1_000;

impl Replica {
    /// One that needs a snapshot.
    pub fn waiting(facts: Facts, now_ms: i64) -> Self {
        Self::new(facts, Phase::Waiting { since_ms: now_ms }, now_ms)
    }

    /// One that goes on where it was.
    pub fn continuing(facts: Facts, now_ms: i64) -> Self {
        Self::new(facts, Phase::Online, now_ms)
    }

    fn new(facts: Facts, phase: Phase, now_ms: i64) -> Self {
        Self {
            facts,
            phase,
            has: 0,
            synced: 0,
            heard_ms: now_ms,
            moved_ms: now_ms,
            newline_ms: now_ms,
            over_soft_ms: None,
        }
    }

    /// Whether it follows the stream, or is about to.
    pub fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online | Phase::Loading)
    }

    /// The word for its state in INFO; `None`: it does not count.
    pub fn state(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Waiting { .. } | Phase::Saving { .. } | Phase::Streaming { .. } => Some("wait_bgsave"),
            Phase::Sending { .. } => Some("send_bulk"),
            Phase::Loading | Phase::Online => Some("online"),
            Phase::Served | Phase::Gone => None,
        }
    }

    /// Seconds since it last acknowledged, as INFO shows them.
    pub fn lag_s(&self, now_ms: i64) -> i64 {
        if self.is_online() { (now_ms - self.heard_ms).max(0) / 1_000 } else { 0 }
    }

    /// Where the stream goes on for it, once it has its snapshot.
    pub fn from(&self) -> Option<u64> {
        match self.phase {
            Phase::Saving { from } | Phase::Sending { from } | Phase::Streaming { from } => Some(from),
            _ => None,
        }
    }

    /// The only place where a replica changes.
    pub fn on(&mut self, event: Event, now_ms: i64, limits: &Limits) -> Action {
        match (self.phase, event) {
            (Phase::Gone, _) => Action::Nothing,
            (Phase::Waiting { .. }, Event::Begun { how, from }) => {
                self.moved_ms = now_ms;
                self.phase = match how {
                    How::Disk => Phase::Saving { from },
                    How::Diskless => Phase::Streaming { from },
                };
                Action::Announce { how, from }
            }
            (Phase::Saving { from }, Event::FileReady) => {
                self.moved_ms = now_ms;
                self.phase = Phase::Sending { from };
                Action::SendFile
            }
            // It has been told an offset that will not come true: it has to ask again.
            (
                Phase::Saving { .. } | Phase::Sending { .. } | Phase::Streaming { .. },
                Event::SnapshotFailed,
            ) => self.close(Why::SnapshotFailed),
            (_, Event::Progress) => {
                self.moved_ms = now_ms;
                Action::Nothing
            }
            (Phase::Sending { .. } | Phase::Streaming { .. }, Event::Sent) if self.facts.rdb_only => {
                self.phase = Phase::Served;
                Action::Nothing
            }
            (Phase::Sending { .. }, Event::Sent) => {
                self.come_online(now_ms);
                Action::Follow
            }
            (Phase::Streaming { .. }, Event::Sent) => {
                self.heard_ms = now_ms;
                self.phase = Phase::Loading;
                Action::Nothing
            }
            (phase, Event::Ack { has, synced }) => {
                self.has = self.has.max(has);
                self.synced = self.synced.max(synced.unwrap_or(0));
                self.heard_ms = now_ms;
                if phase != Phase::Loading {
                    return Action::Nothing;
                }
                self.come_online(now_ms);
                Action::Follow
            }
            (_, Event::Lost) => self.close(Why::TooSlow),
            (_, Event::Tick { unread }) => self.tick(unread, now_ms, limits),
            (_, Event::Begun { .. } | Event::FileReady | Event::SnapshotFailed | Event::Sent) => {
                Action::Nothing
            }
        }
    }

    fn come_online(&mut self, now_ms: i64) {
        self.phase = Phase::Online;
        self.heard_ms = now_ms;
    }

    fn tick(&mut self, unread: u64, now_ms: i64, limits: &Limits) -> Action {
        if limits.hard_bytes > 0 && unread > limits.hard_bytes {
            return self.close(Why::TooSlow);
        }
        if limits.soft_bytes == 0 || unread <= limits.soft_bytes {
            self.over_soft_ms = None;
        } else if now_ms - *self.over_soft_ms.get_or_insert(now_ms) >= limits.soft_ms {
            return self.close(Why::TooSlow);
        }
        let is_over = |since_ms: i64| now_ms - since_ms > limits.timeout_ms;
        match self.phase {
            Phase::Online | Phase::Loading if !self.facts.is_old && is_over(self.heard_ms) => {
                self.close(Why::Silent)
            }
            Phase::Sending { .. } | Phase::Streaming { .. } if is_over(self.moved_ms) => {
                self.close(Why::Stuck)
            }
            Phase::Waiting { .. } | Phase::Saving { .. } if now_ms - self.newline_ms >= NEWLINE_MS => {
                self.newline_ms = now_ms;
                Action::Newline
            }
            _ => Action::Nothing,
        }
    }

    fn close(&mut self, why: Why) -> Action {
        self.phase = Phase::Gone;
        Action::Close(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { timeout_ms: 60_000, hard_bytes: 1_000, soft_bytes: 100, soft_ms: 5_000 };

    fn in_phase(phase: Phase) -> Replica {
        Replica::new(Facts::default(), phase, 0)
    }

    /// Every state against every event.
    #[test]
    fn transitions() {
        use Phase::{Gone, Loading, Online, Saving, Sending, Served, Streaming, Waiting};
        let phases = [
            Waiting { since_ms: 0 },
            Saving { from: 7 },
            Sending { from: 7 },
            Streaming { from: 7 },
            Loading,
            Online,
            Served,
            Gone,
        ];
        let events = [
            Event::Begun { how: How::Disk, from: 7 },
            Event::Begun { how: How::Diskless, from: 7 },
            Event::FileReady,
            Event::SnapshotFailed,
            Event::Sent,
            Event::Ack { has: 9, synced: None },
            Event::Tick { unread: 0 },
            Event::Lost,
        ];
        let name = |what: &dyn std::fmt::Debug| {
            format!("{what:?}").split([' ', '(']).next().unwrap_or_default().to_owned()
        };
        let table: Vec<String> = phases
            .iter()
            .map(|phase| {
                let after = events.iter().map(|event| {
                    let mut replica = in_phase(*phase);
                    let action = replica.on(*event, 1_000, &LIMITS);
                    match action {
                        Action::Nothing => name(&replica.phase),
                        action => format!("{}/{}", name(&replica.phase), name(&action)),
                    }
                });
                format!("{}: {}", name(phase), after.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "Waiting: Saving/Announce Streaming/Announce Waiting Waiting Waiting Waiting Waiting/Newline Gone/Close",
                "Saving: Saving Saving Sending/SendFile Gone/Close Saving Saving Saving/Newline Gone/Close",
                "Sending: Sending Sending Sending Gone/Close Online/Follow Sending Sending Gone/Close",
                "Streaming: Streaming Streaming Streaming Gone/Close Loading Streaming Streaming Gone/Close",
                "Loading: Loading Loading Loading Loading Loading Online/Follow Loading Gone/Close",
                "Online: Online Online Online Online Online Online Online Gone/Close",
                "Served: Served Served Served Served Served Served Served Gone/Close",
                "Gone: Gone Gone Gone Gone Gone Gone Gone Gone",
            ]
        );
    }

    #[test]
    fn who_is_silent_or_slow_has_to_go() {
        let tick =
            |replica: &mut Replica, now_ms, unread| replica.on(Event::Tick { unread }, now_ms, &LIMITS);
        let mut replica = in_phase(Phase::Online);
        assert_eq!(tick(&mut replica, 60_000, 0), Action::Nothing);
        assert_eq!(replica.on(Event::Ack { has: 5, synced: Some(3) }, 60_000, &LIMITS), Action::Nothing);
        assert_eq!((replica.has, replica.synced), (5, 3));
        replica.on(Event::Ack { has: 4, synced: Some(2) }, 60_000, &LIMITS);
        assert_eq!((replica.has, replica.synced), (5, 3), "no acknowledgement takes anything back");
        assert_eq!(tick(&mut replica, 120_000, 0), Action::Nothing);
        assert_eq!(tick(&mut replica, 120_001, 0), Action::Close(Why::Silent));

        let mut old = in_phase(Phase::Online);
        old.facts.is_old = true;
        assert_eq!(tick(&mut old, 1_000_000, 0), Action::Nothing);

        let mut stuck = in_phase(Phase::Streaming { from: 0 });
        stuck.on(Event::Progress, 50_000, &LIMITS);
        assert_eq!(tick(&mut stuck, 110_000, 0), Action::Nothing);
        assert_eq!(tick(&mut stuck, 110_001, 0), Action::Close(Why::Stuck));

        let mut slow = in_phase(Phase::Online);
        assert_eq!(tick(&mut slow, 0, 101), Action::Nothing);
        assert_eq!(tick(&mut slow, 4_000, 100), Action::Nothing, "the soft limit forgets");
        assert_eq!(tick(&mut slow, 5_000, 101), Action::Nothing);
        assert_eq!(tick(&mut slow, 9_999, 101), Action::Nothing);
        assert_eq!(tick(&mut slow, 10_000, 101), Action::Close(Why::TooSlow));
        assert_eq!(tick(&mut in_phase(Phase::Online), 0, 1_001), Action::Close(Why::TooSlow));
    }

    #[test]
    fn a_snapshot_alone() {
        let mut client = in_phase(Phase::Streaming { from: 0 });
        client.facts.rdb_only = true;
        assert_eq!(client.on(Event::Sent, 0, &LIMITS), Action::Nothing);
        assert_eq!((client.phase, client.state()), (Phase::Served, None));
    }
}

//! A full synchronisation, as the thread of a link does it: all data of the primary, by way of a file or as they come.

use super::wire::Wire;
use super::{Down, FullSync, Intake, LinkSettings, LinkState, Snapshot, Weight, Worker};
use crate::persist::load::{LoadOptions, Onto};
use crate::replication::identity::ReplId;
use crate::replication::payload::{Payload, Piece};
use crate::replication::random_id;
use crate::replication::sync::{self, Came, StreamOptions, SyncError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Worker {
    /// Takes all data over.
    pub(super) fn take_all(
        &mut self,
        wire: &mut Wire,
        settings: &LinkSettings,
        history: Option<(ReplId, u64)>,
    ) -> Result<(), Down> {
        match &history {
            Some((id, offset)) => {
                self.owner.note(Weight::Notice, &format!("Full resync from master: {id}:{offset}"));
            }
            None => self.owner.note(Weight::Notice, "Full resync from a master that does not support PSYNC"),
        }
        self.enter(LinkState::Sync);
        wire.silence = "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' \
            parameter to a larger value.";
        wire.end = "I/O error trying to sync with MASTER: connection lost";
        let figures = self.shared.figures.clone();
        figures.sync_read.store(0, Ordering::Relaxed);
        figures.sync_total.store(0, Ordering::Relaxed);
        let intake = match &settings.intake {
            Intake::StreamIfEmpty(_) if self.is_empty() => None,
            Intake::StreamIfEmpty(file) | Intake::File(file) => Some(file.clone()),
            Intake::Stream | Intake::StreamAfterFlush => None,
        };
        let taken = match intake {
            Some(file) => self.take_file(wire, settings, &file, history),
            None => self.take_stream(wire, settings, history),
        };
        figures.load.end();
        if let Err(down) = taken {
            if !self.is_stopped() {
                self.owner.full_sync(FullSync::Failed);
            }
            return Err(down);
        }
        self.set_may_go_on(history.is_some());
        figures.full.fetch_add(1, Ordering::Relaxed);
        self.owner.full_sync(FullSync::Done);
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Finished with success");
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let databases = self.node.settings().databases;
        let mut held = self.node.hold_all();
        held.states().all(|state| (0..databases).all(|db| state.shard.counts(db).keys == 0))
    }

    /// By way of a file, which is loaded like any other.
    fn take_file(
        &mut self,
        wire: &mut Wire,
        settings: &LinkSettings,
        file: &Snapshot,
        history: Option<(ReplId, u64)>,
    ) -> Result<(), Down> {
        let storage = self.node.storage();
        let failed = |doing: &'static str| {
            move |error: std::io::Error| {
                Down::Lost(format!("{doing} MASTER <-> REPLICA synchronization: {error}"))
            }
        };
        let temp = storage.create(&file.temp).map_err(failed("Opening the temp file needed for"))?;
        let write = "Write error or short write writing to the DB dump file needed for";
        let received = self.receive_payload(wire, "to disk", |data| {
            temp.append(&[data]).map_err(failed(write))?;
            Ok(())
        });
        let placed = received.and_then(|()| {
            temp.sync_data().map_err(failed("Failed trying to sync the temp DB to disk in"))?;
            storage.rename(&file.temp, &file.path).map_err(|error| {
                let name = file.path.file_name().unwrap_or_default().display();
                Down::Lost(format!(
                    "Failed trying to rename the temp DB into {name} in MASTER <-> REPLICA synchronization: {error}"
                ))
            })
        });
        if let Err(down) = placed {
            // What is half there is of no use.
            drop(storage.remove(&file.temp));
            return Err(down);
        }
        self.begin_replacing(FullSync::Loads)?;
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Flushing old data");
        sync::throw_away(&self.node, settings.lazy_flush);
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
        let options = LoadOptions {
            verify: settings.verify,
            skip_expired: false,
            any_version: settings.any_version,
            key_delay: settings.key_delay,
            onto: Onto::Nothing,
        };
        let (node, figures) = (self.node.clone(), self.shared.figures.clone());
        let loaded = std::thread::scope(|scope| {
            let loading = scope.spawn(|| sync::from_file(&node, &file.path, options, &figures.load));
            while !loading.is_finished() {
                // The primary must not think that this replica is gone.
                wire.sign_of_life();
                std::thread::sleep(Duration::from_millis(2));
            }
            loading.join()
        });
        if file.remove {
            drop(storage.remove(&file.path));
        }
        let loaded = loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let db = loaded.map_err(|error| {
            sync::throw_away(&self.node, settings.lazy_flush);
            Down::Lost(format!("Failed trying to load the MASTER synchronization DB from disk: {error}"))
        })?;
        wire.last_io = Instant::now();
        let node = self.node.clone();
        let mut held = node.hold_all();
        self.adopt(&mut held, db, history, settings.backlog)
    }

    /// Built as it comes, beside what is there.
    fn take_stream(
        &mut self,
        wire: &mut Wire,
        settings: &LinkSettings,
        history: Option<(ReplId, u64)>,
    ) -> Result<(), Down> {
        let mut payload = Payload::default();
        // The primary may have to wait with its snapshot: until it comes, what is here can be read.
        self.begin_payload(wire, &mut payload, "to parser")?;
        if settings.intake == Intake::StreamAfterFlush {
            self.begin_replacing(FullSync::Loads)?;
            sync::throw_away(&self.node, settings.lazy_flush);
        }
        // Data of another history are not worth looking at meanwhile, though they stay until the new ones are whole.
        let is_same = history.as_ref().is_some_and(|(id, _)| *id == self.node.replication().history().id);
        let step = if self.is_empty() || !is_same { FullSync::Loads } else { FullSync::LoadsBeside };
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        self.owner.full_sync(step);
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
        let options = StreamOptions {
            verify: settings.verify,
            any_version: settings.any_version,
            filter: self.filter.clone(),
        };
        let name: Arc<str> = format!("the snapshot of {}:{}", self.host, self.port).into();
        let figures = self.shared.figures.clone();
        figures.load.begin(self.node.now_ms());
        figures.load.total.store(figures.sync_total.load(Ordering::Relaxed), Ordering::Relaxed);
        // The thread of the link reads, its errors are its own; those of the snapshot end the reading.
        let mut down = None;
        let filled = sync::from_stream(&self.node, &name, &options, &figures.load, |buffer| {
            let came = self.next_data(wire, &mut payload, |data| {
                buffer.extend_from_slice(data);
                Ok(())
            });
            came.map_err(|error| {
                down = Some(error);
                SyncError::Lost(String::new())
            })
        });
        if let Some(down) = down {
            return Err(down);
        }
        let filled = filled.map_err(|error| {
            Down::Lost(format!("Failed trying to load the MASTER synchronization DB from socket: {error}"))
        })?;
        self.begin_replacing(step)?;
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
        let node = self.node.clone();
        sync::take_over(&node, filled, settings.lazy_flush, |held, db| {
            self.adopt(held, db, history, settings.backlog)
        })
    }

    /// From here on the old data are on their way out.
    fn begin_replacing(&self, step: FullSync) -> Result<(), Down> {
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        // Until it is done the data belong to no history. Up to here they belong to that of before: a snapshot that is not whole
        // changes nothing.
        self.set_may_go_on(false);
        self.owner.full_sync(FullSync::Begins);
        if step == FullSync::Loads {
            self.owner.full_sync(step);
        }
        Ok(())
    }

    /// The data are the primary's. Under all batons.
    fn adopt(
        &mut self,
        held: &mut crate::held::Held<'_>,
        db: usize,
        history: Option<(ReplId, u64)>,
        backlog: u64,
    ) -> Result<(), Down> {
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        self.stream_db = db;
        held.follow(db, Some(history.map_or(0, |(_, offset)| offset)));
        let id = history.map_or_else(random_id, |(id, _)| id);
        self.node.change_history(|history| history.adopt(id));
        if backlog > 0 {
            held.open_backlog(backlog);
        }
        Ok(())
    }

    /// All data of a payload.
    fn receive_payload(
        &self,
        wire: &mut Wire,
        to: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), Down>,
    ) -> Result<(), Down> {
        let mut payload = Payload::default();
        self.begin_payload(wire, &mut payload, to)?;
        loop {
            if let Came::All = self.next_data(wire, &mut payload, &mut take)? {
                return Ok(());
            }
        }
    }

    /// Waits until the snapshot begins.
    fn begin_payload(&self, wire: &mut Wire, payload: &mut Payload, to: &str) -> Result<(), Down> {
        let figures = &self.shared.figures;
        loop {
            let (piece, used) = payload.next(&wire.buffer).map_err(|error| Down::Lost(error.to_string()))?;
            let begun = match piece {
                Piece::Begin(len) => Some(len),
                Piece::More => {
                    wire.sign_of_life();
                    self.receive(wire)?;
                    None
                }
                _ => None,
            };
            wire.use_up(used);
            if let Some(len) = begun {
                figures.sync_total.store(len.unwrap_or(0), Ordering::Relaxed);
                let what = len.map_or_else(
                    || "streamed RDB from master with EOF".to_owned(),
                    |len| format!("{len} bytes from master"),
                );
                self.owner.note(Weight::Notice, &format!("MASTER <-> REPLICA sync: receiving {what} {to}"));
                return Ok(());
            }
        }
    }

    /// Takes the data that have come; waits for some if there are none.
    fn next_data(
        &self,
        wire: &mut Wire,
        payload: &mut Payload,
        mut take: impl FnMut(&[u8]) -> Result<(), Down>,
    ) -> Result<Came, Down> {
        let figures = &self.shared.figures;
        let mut some = false;
        loop {
            let (piece, used) = payload.next(&wire.buffer).map_err(|error| Down::Lost(error.to_string()))?;
            match piece {
                Piece::More => {
                    if some {
                        return Ok(Came::More);
                    }
                    wire.sign_of_life();
                    self.receive(wire)?;
                }
                Piece::Alive | Piece::Begin(_) => {}
                Piece::Data(data) => {
                    figures.sync_read.fetch_add(data.len() as u64, Ordering::Relaxed);
                    take(data)?;
                    some = true;
                }
                Piece::End => {
                    wire.use_up(used);
                    return Ok(Came::All);
                }
            }
            wire.use_up(used);
        }
    }
}

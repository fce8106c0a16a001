//! Snapshots for replicas: when they begin, who takes part, what becomes of them.
//!
//! Replicas that wait when a snapshot begins share it. One without a file (`repl-diskless-sync`) begins when the first of them
//! has waited for `repl-diskless-sync-delay`, so that others find the time to come; what the cores encode goes to all of
//! them at the pace of the slowest. One by way of the file is the ordinary snapshot of the node.
//!
//! The moment of a snapshot and the offset where the stream goes on behind it are the same: both are taken while every core is
//! held. From then on the backlog keeps the stream for those replicas.

use super::{backlog, limits, memory_limit};
use crate::config::Settings;
use crate::log;
use crate::logging::Level;
use crate::persistence;
use crate::server::Server;
use baton::held::Held;
use baton::replication::primary::{Event, Facts, Filter, How, Phase};
use baton::replication::served::Served;
use baton::replication::transfer::{End, Fanout, Transfer};
use baton::snapshot::{SnapshotError, SnapshotOptions, Written};
use baton_engine::rdb::Version;
use baton_engine::rdb::save::SaveOptions;
use baton_engine::snapshot::{Head, Writer};
use bytes::Bytes;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Read from the file at once.
const CHUNK_BYTES: usize = 128 << 10;

/// Begins a snapshot if replicas wait for one, it is time, and no other one is being made.
pub fn start_if_due(server: &Arc<Server>) {
    let node = &server.node;
    if node.replication().served.count() == 0 || node.snapshots.current().is_some() || node.log.is_rewriting()
    {
        return;
    }
    let Some(_turn) = server.replicas.starting.try_lock() else { return };
    let settings = server.settings().clone();
    let Some((how, filter)) = due(server, &settings) else { return };
    let begun = match how {
        _ if filter.no_data => without_data(server, &settings, filter),
        How::Diskless => diskless(server, &settings),
        How::Disk => by_file(server, &settings),
    };
    if let Err(error) = begun {
        log!(Level::Warning, "BGSAVE for replication failed: {error}");
    }
}

/// How a snapshot gets to a replica.
fn how(settings: &Settings, facts: &Facts) -> How {
    let needs_stream = facts.filter != Filter::default();
    if facts.eof && (settings.repl_diskless_sync || needs_stream) { How::Diskless } else { How::Disk }
}

fn waiting(server: &Server) -> impl Iterator<Item = (Arc<Served>, Facts, i64)> {
    server.node.replication().served.all().into_iter().filter_map(|served| {
        served
            .with(|replica| match replica.phase {
                Phase::Waiting { since_ms } => Some((replica.facts.clone(), since_ms)),
                _ => None,
            })
            .map(|(facts, since_ms)| (served, facts, since_ms))
    })
}

/// Whether it is time for those who wait, and for which of them: those that want the same as the first one.
fn due(server: &Server, settings: &Settings) -> Option<(How, Filter)> {
    let now_ms = server.node.now_ms();
    let (mut kind, mut count, mut since) = (None, 0, now_ms);
    for (_, facts, since_ms) in waiting(server) {
        let own = (how(settings, &facts), facts.filter);
        if *kind.get_or_insert(own) == own {
            count += 1;
            since = since.min(since_ms);
        }
    }
    let (how, filter) = kind?;
    let max = settings.repl_diskless_sync_max_replicas;
    let is_time = how == How::Disk
        || now_ms - since >= i64::from(settings.repl_diskless_sync_delay) * 1_000
        || max > 0 && count >= max;
    is_time.then_some((how, filter))
}

/// Lets all who wait for this kind of snapshot take part. Under all batons, at its moment.
fn join(server: &Arc<Server>, held: &mut Held<'_>, kind: (How, Filter)) -> Vec<Arc<Served>> {
    let settings = server.settings();
    let limits = limits(&settings);
    let now_ms = server.node.now_ms();
    let backlog = held.open_backlog(settings.repl_backlog_size);
    let (from, _) = held.join_stream();
    let mut joined = Vec::new();
    for (served, facts, _) in waiting(server) {
        if (how(&settings, &facts), facts.filter) != kind {
            continue;
        }
        if !facts.rdb_only
            && let Ok(reader) = backlog.attach(from, memory_limit(server))
        {
            served.follow(backlog.clone(), reader);
        }
        if kind.0 == How::Diskless {
            served.set_transfer(Arc::default());
        }
        served.tell(Event::Begun { how: kind.0, from }, now_ms, &limits);
        joined.push(served);
    }
    joined
}

/// A snapshot that is sent as it is made.
fn diskless(server: &Arc<Server>, settings: &Settings) -> Result<(), SnapshotError> {
    let fanout = Fanout::default();
    let (own, to, sent) = (server.clone(), fanout.clone(), fanout.clone());
    let at_point = move |held: &mut Held<'_>| {
        let joined = join(&own, held, (How::Diskless, Filter::default()));
        joined.iter().filter_map(|served| served.transfer()).for_each(|transfer| to.add(transfer));
        joined.len()
    };
    let ended = move |result: Result<(Written, usize), SnapshotError>| match result {
        Ok((written, replicas)) => {
            log!(
                Level::Notice,
                "Diskless snapshot for {replicas} replicas: {} keys, {} bytes, RDB version {}, {:.3} seconds, all cores held \
                 for {} us",
                written.keys,
                written.bytes,
                written.version.number(),
                written.took.as_secs_f64(),
                written.held.as_micros()
            );
            log!(
                Level::Notice,
                "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
                sent.count_whole()
            );
            log!(Level::Notice, "Background RDB transfer terminated with success");
        }
        Err(SnapshotError::NobodyLeft) => {
            log!(Level::Notice, "Diskless rdb transfer, last replica dropped, killing fork child.");
        }
        Err(error) => log!(Level::Warning, "Diskless snapshot for replicas: {error}"),
    };
    let run = server.node.stream_snapshot(options(settings), fanout, at_point, ended)?;
    *server.replicas.snapshot.lock() = Some((run.number(), How::Diskless));
    server.snapshots.last_try_s.store(server.node.now_ms() / 1_000, Ordering::Relaxed);
    log!(Level::Notice, "Starting BGSAVE for SYNC with target: replicas sockets");
    log!(Level::Notice, "Background RDB transfer started by pid {}", std::process::id());
    Ok(())
}

/// A snapshot of the node into its file, which is sent when it is whole.
fn by_file(server: &Arc<Server>, settings: &Settings) -> Result<(), SnapshotError> {
    let own = server.clone();
    let at_point = move |held: &mut Held<'_>| drop(join(&own, held, (How::Disk, Filter::default())));
    log!(Level::Notice, "Starting BGSAVE for SYNC with target: disk");
    let number = persistence::begin_for_replicas(server, save_options(settings), at_point)?;
    *server.replicas.snapshot.lock() = Some((number, How::Disk));
    Ok(())
}

/// How many replicas are waiting for the rest of a snapshot.
fn still_taking(server: &Server, how: How) -> usize {
    let takes = |phase: Phase| match how {
        How::Disk => matches!(phase, Phase::Saving { .. }),
        How::Diskless => matches!(phase, Phase::Streaming { .. }),
    };
    let all = server.node.replication().served.all();
    all.iter().filter(|served| served.with(|replica| takes(replica.phase))).count()
}

/// A replica has left: the snapshot that was begun for it and is of no use to anybody else is called off. One in the file of the
/// node is of use if the node is to keep snapshots.
pub fn call_off_if_useless(server: &Server) {
    let Some((number, how)) = *server.replicas.snapshot.lock() else { return };
    let is_kept = how == How::Disk && !server.settings().save.0.is_empty();
    if !is_kept && still_taking(server, how) == 0 {
        server.node.snapshots.nobody_left(number);
    }
}

/// Replicas read the oldest version that holds the data.
fn save_options(settings: &Settings) -> SaveOptions {
    SaveOptions { target: Version::V10, compress: settings.rdbcompression }
}

fn options(settings: &Settings) -> SnapshotOptions {
    SnapshotOptions {
        path: PathBuf::new(),
        save: save_options(settings),
        checksum: settings.rdbchecksum,
        incremental_sync: false,
        aux: vec![("aof-base", "0".to_owned())],
        delay: Duration::from_micros(settings.rdb_key_save_delay.max(0) as u64),
    }
}

/// A snapshot that holds libraries of functions at most: made at once.
fn without_data(server: &Arc<Server>, settings: &Settings, filter: Filter) -> Result<(), SnapshotError> {
    let _backlog = backlog(server);
    let mut held = server.node.hold_all();
    let sources = if filter.no_functions { Vec::new() } else { server.node.scripts.libraries.sources() };
    let functions: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
    let mut out = Vec::new();
    let head = Head { version: Version::V10, aux: &[], functions: &functions, sizes: &[] };
    Writer::begin(&head, &mut out).finish(settings.rdbchecksum, &mut out);
    let chunk = Bytes::from(out);
    for served in join(server, &mut held, (How::Diskless, filter)) {
        if let Some(transfer) = served.transfer() {
            transfer.push(chunk.clone());
            transfer.end(End::Whole);
        }
    }
    Ok(())
}

/// A snapshot of the node has ended: replicas that wait for its file are sent it.
pub fn file_is_over(server: &Arc<Server>, path: &Path, is_written: bool) {
    let limits = limits(&server.settings());
    let now_ms = server.node.now_ms();
    for served in server.node.replication().served.all() {
        if !served.with(|replica| matches!(replica.phase, Phase::Saving { .. })) {
            continue;
        }
        if is_written && send_file(&served, path) {
            served.tell(Event::FileReady, now_ms, &limits);
        } else {
            served.tell(Event::SnapshotFailed, now_ms, &limits);
        }
    }
}

/// Has a thread of its own read the file, as fast as the replica takes it. The first chunk is its length, as the wire has it.
fn send_file(served: &Served, path: &Path) -> bool {
    let opened = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let Ok((len, mut file)) = opened.inspect_err(|error| {
        log!(Level::Warning, "SYNC failed. Can't open the snapshot {}: {error}", path.display());
    }) else {
        return false;
    };
    let transfer = Arc::<Transfer>::default();
    served.set_transfer(transfer.clone());
    let work = move || {
        transfer.push(Bytes::from(format!("${len}\r\n")));
        let mut left = len;
        while left > 0 {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            match file.by_ref().take(left.min(CHUNK_BYTES as u64)).read_to_end(&mut chunk) {
                Ok(0) | Err(_) => return transfer.end(End::Failed),
                Ok(count) => left -= count as u64,
            }
            if !transfer.push(Bytes::from(chunk)) {
                return;
            }
        }
        transfer.end(End::Whole);
    };
    std::thread::Builder::new().name("replica-file".to_owned()).spawn(work).is_ok()
}

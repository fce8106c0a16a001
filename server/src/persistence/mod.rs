//! What the node keeps on disk: when snapshots are written and the log is rewritten, what became of that, and the start.
//!
//! | file        | holds                                                          |
//! |-------------|----------------------------------------------------------------|
//! | `snapshots` | SAVE, BGSAVE, save points, the last snapshot before the end     |
//! | `rewrites`  | the log: on and off, rewritten by command or because it grew    |
//! | `load`      | the start, and DEBUG RELOAD                                    |
//! | `progress`  | lines in the log about what takes long                         |

mod load;
mod progress;
mod rewrites;
mod snapshots;

pub use load::{Reload, ReloadOptions, open_all, reload, restore_to};
pub use progress::{Told, tell_progress};
pub use rewrites::{Rewrites, begin_rewrite, is_rewriting, log_growth, remove_history, turn_log};
pub use snapshots::{
    STOPPED, Snapshots, begin, begin_for_replicas, call_off, flushed, save_at_end, save_for, stops_writes,
};

use crate::config::{RdbTarget, Settings};
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use baton_engine::rdb::Version;
use baton_engine::rdb::save::SaveOptions;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// After a snapshot or a rewrite that failed, the next one that nobody asked for waits so long.
const RETRY_S: i64 = 5;

/// Where the snapshot is, in the working directory.
pub fn snapshot_path(settings: &Settings) -> PathBuf {
    let name = settings.dbfilename.lossy();
    std::env::current_dir().unwrap_or_default().join(name.as_ref() as &str)
}

/// How snapshots are encoded.
fn save_options(settings: &Settings) -> SaveOptions {
    let target = match settings.rdb_target {
        RdbTarget::V10 => Version::V10,
        RdbTarget::V11 => Version::V11,
        RdbTarget::V12 => Version::V12,
        RdbTarget::Valkey80 => Version::Valkey80,
    };
    SaveOptions { target, compress: settings.rdbcompression }
}

/// Where the log is.
fn log_dir(settings: &Settings) -> PathBuf {
    std::env::current_dir().unwrap_or_default().join(settings.appenddirname.path())
}

/// What a core looks after once in a while: save points, what is scheduled.
pub fn chores(server: &Arc<Server>) {
    // A rewrite goes on for a while after its snapshot when that becomes commands.
    if server.node.snapshots.current().is_some() || is_rewriting(server) {
        return;
    }
    if rewrites::is_due(server) {
        let on = server.settings().appendonly;
        if let Err(error) = begin_rewrite(server, on) {
            server.rewrites.failures.fetch_add(1, Ordering::Relaxed);
            log!(Level::Warning, "Can't rewrite append only file in background: {error}");
        }
    } else if (server.snapshots.scheduled.load(Ordering::Relaxed) || snapshots::is_due(server))
        && let Err(error) = begin(server)
    {
        log!(Level::Warning, "Can't save in background: {error}");
    }
}

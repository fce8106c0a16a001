//! Fuzz targets: functions that take any bytes and must neither panic nor break a promise.
//!
//! | file           | targets                                                                              |
//! |----------------|--------------------------------------------------------------------------------------|
//! | `requests`     | `request_parser`: cut whole or in pieces, the requests are the same                  |
//! | `encodings`    | `listpack`, `intset`, `hyperloglog`: bytes that claim to be one, and damaged ones    |
//! | `text`         | `acl_rules`, `config_text`, `glob`, `numbers`: what reads text, against a plain second opinion    |
//! | `commands`     | `engine_commands`: any commands, and their effects replayed give the same data       |
//! | `split_table`  | `split_table`: the table of the key space against a map of the standard library      |
//! | `rdb`          | `rdb_value`, `rdb_payload`, `rdb_file`: snapshots and DUMP, written again or in pieces |
//! | `recovery`     | `recovery_dir`: a data directory, damaged: refused, or nothing but what was written |
//! | `replication`  | `replication_wire`: what a primary sends, in any pieces                               |
//! | `log`          | `aof_reader`, `aof_manifest`, `aof_annotation`: the append-only log, cut and damaged |
//! | `scripts`      | `script`: scripts end, obey, and leave nothing for the next one                       |
//! | `snapshot`     | `snapshot_index`, `engine_model`: files with an index, and shards saved and opened again |
//!
//! `cargo test` runs every target on the files of `corpus/` and on seeded mutations of them; see the README for runs
//! that are guided by coverage.
#![deny(missing_docs)]

pub mod commands;
pub mod encodings;
pub mod input;
pub mod log;
pub mod rdb;
pub mod recovery;
pub mod replication;
pub mod requests;
pub mod scripts;
pub mod snapshot;
pub mod split_table;
pub mod text;

/// A target: its name, which is also its folder in `corpus/`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("acl_rules", text::acl_rules),
    ("aof_annotation", log::aof_annotation),
    ("aof_manifest", log::aof_manifest),
    ("aof_reader", log::aof_reader),
    ("config_text", text::config_text),
    ("engine_commands", commands::engine_commands),
    ("engine_model", snapshot::engine_model),
    ("glob", text::glob),
    ("hyperloglog", encodings::hyperloglog),
    ("intset", encodings::intset),
    ("listpack", encodings::listpack),
    ("numbers", text::numbers),
    ("rdb_file", rdb::rdb_file),
    ("rdb_payload", rdb::rdb_payload),
    ("rdb_value", rdb::rdb_value),
    ("recovery_dir", recovery::recovery_dir),
    ("replication_wire", replication::replication_wire),
    ("request_parser", requests::request_parser),
    ("script", scripts::script),
    ("snapshot_index", snapshot::snapshot_index),
    ("split_table", split_table::split_table),
];

/// The function of a target.
pub fn find(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|target| target.0 == name).map(|target| target.1)
}

//! A node that follows a real redis-server: what it holds is what its primary holds.
//!
//! | file     | what is proved                                                                               |
//! |----------|----------------------------------------------------------------------------------------------|
//! | `proxy`  | a wire between two servers that can be cut                                                     |
//! | `pair`   | a primary and its replica, and when they are equal                                             |
//! | `follow` | all data and the stream, in every way they can come                                            |
//! | `trouble` | cut wires, kill -9 of either, restarts: equal in the end (`BATON_REPLICATION_SECONDS=180`)    |
//! | `restarts` | nodes with a log that are killed or end go on where they were                                   |
//! | `storms`  | cuts, kills and restarts at once, in pairs and chains of both kinds (the same, `BATON_REPLICATION_SEED`) |
//! | `embedded` | a copy in this process, of all and of a part                                                   |
//! | `chains` | replicas of replicas, of both kinds, and promotion                                             |
//! | `settings` | what settings do, where it can be seen                                                    |
//! | `clients` | what clients of a replica are told, may do, and see                                          |

#[path = "../persistence/data.rs"]
mod data;
#[path = "../support/mod.rs"]
mod support;

mod chains;
mod clients;
mod embedded;
mod follow;
mod pair;
mod proxy;
mod restarts;
mod settings;
mod storms;
mod trouble;

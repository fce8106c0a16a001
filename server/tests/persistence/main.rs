//! What is on disk comes back: through real files, real processes, and real Redis.
//!
//! | file      | what is proved                                                                                 |
//! |-----------|------------------------------------------------------------------------------------------------|
//! | `data`    | a data set of all types and encodings, and what tells two of them apart                          |
//! | `interop` | snapshots and logs go from Baton to redis-server and back, on any number of cores: equal digests   |
//! | `at_once` | a node that has just started answers as if it had read everything                                |
//! | `kills`   | kill -9 under load, again and again: what was acknowledged is there, nothing is there in half       |
//! | `full`    | full disks: writes are refused, nothing is lost, service resumes when there is room                |

#[path = "../support/mod.rs"]
mod support;

mod at_once;
mod data;
mod full;
mod interop;
mod kills;

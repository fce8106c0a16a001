//! The node under load and under attack, over real sockets.
//!
//! | file       | what is proved                                                                     |
//! |------------|------------------------------------------------------------------------------------|
//! | `atomic`   | nothing half done and nothing lost while slots move between cores; order of BLPOP  |
//! | `floods`   | memory stays bounded whatever clients send and do not read; garbage kills nobody   |
//! | `unused`   | memory that is not needed any more goes back to the system                         |
//! | `gather`   | connections that go from core to core in the middle of things                      |
//! | `idle`     | what thousands of silent connections and a silent node cost                        |
//!
//! With `BATON_BIG_TESTS=1` values of 512 MB go round, too. Figures are printed: `cargo test --test load -- --nocapture`.

mod atomic;
mod floods;
mod gather;
mod idle;
#[path = "../support/mod.rs"]
mod support;
mod unused;

use std::fs;
use support::process::Server;

const CORES: usize = 4;

/// All cores serve: they are to get in each other's way.
fn node() -> Server {
    Server::baton(&[("cores", "4"), ("maxclients", "12000"), ("gather-connections", "no")])
}

/// Bytes of a process in physical memory.
fn resident(server: &Server) -> usize {
    let status =
        fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the status of the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("kilobytes") * 1_024
}

/// A key whose slot is at first on this core.
fn key_on(core: usize, name: &str) -> String {
    let mut keys = (0..).map(|n| format!("{name}:{n}"));
    keys.find(|key| slot_of(key) * CORES / 16_384 == core).expect("endless")
}

/// The slot of a key without a tag: CRC16-XMODEM, bit by bit.
fn slot_of(key: &str) -> usize {
    let crc = key.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    usize::from(crc) % 16_384
}

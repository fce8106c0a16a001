// Until the start is wired, nothing calls these.
#[allow(dead_code)]
mod cli;
#[allow(dead_code, unused_imports)]
mod config;
#[allow(dead_code)]
mod daemon;
#[allow(dead_code)]
mod logging;
#[allow(dead_code)]
mod memtest;
#[allow(dead_code)]
mod syscheck;

fn main() {}

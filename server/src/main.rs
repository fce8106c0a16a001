// Until the start is wired, nothing calls these.
#[allow(dead_code, unused_imports)]
mod config;

fn main() {}

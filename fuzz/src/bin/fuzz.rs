//! A target under libFuzzer: `BATON_FUZZ_TARGET` names it; see the README.
#![no_main]

use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("BATON_FUZZ_TARGET").unwrap_or_default();
        baton_fuzz::find(&name).unwrap_or_else(|| {
            let names: Vec<&str> = baton_fuzz::TARGETS.iter().map(|target| target.0).collect();
            eprintln!("BATON_FUZZ_TARGET is not the name of a target: {}", names.join(" "));
            std::process::exit(2);
        })
    });
    target(data);
});

//! The binary. Everything is in the library, so that benches and fuzz targets reach it too.

#[global_allocator]
static ALLOCATOR: baton_server::memory::Counted = baton_server::memory::Counted;

/// How the allocator keeps its pages. Huge ones, since nothing here forks and would copy them: a third less CPU time for
/// keys spread over more memory than the processor's address cache covers. And given back page by page over an hour, since that
/// breaks huge ones up: [`memory::give_back`](baton_server::memory::give_back) does it in bulk. Not never: only an allocator that
/// decays gives blocks of 8 MB and more, such as grown buffers, back at once.
// SAFETY: the name is the one under which this allocator, built with its default prefix, looks for a pointer to a C string,
// read once at its start; no other item of the program has it.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
pub static ALLOCATOR_SETTINGS: Option<&'static std::ffi::c_char> =
    // SAFETY: the first byte of a static C string, which the allocator reads to its end.
    Some(unsafe { &*c"thp:always,metadata_thp:auto,dirty_decay_ms:3600000".as_ptr() });

fn main() -> std::process::ExitCode {
    baton_server::main()
}

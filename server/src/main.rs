//! The binary. Everything is in the library, so that benches and fuzz targets reach it too.

#[global_allocator]
static ALLOCATOR: baton_server::memory::Counted = baton_server::memory::Counted;

fn main() -> std::process::ExitCode {
    baton_server::main()
}

//! The allocator keeps what was freed, in huge pages, until it is much: then all of it goes back.

use crate::resident;
use crate::support::client::Reply;
use crate::support::process::Server;

use std::thread;
use std::time::{Duration, Instant};

const MB: usize = 1 << 20;

#[test]
fn what_a_deleted_data_set_took_goes_back() {
    let mut server = Server::baton(&[("cores", "4")]);
    let mut client = server.client();
    let before = resident(&server);
    let value = vec![b'x'; MB / 4];
    for n in 0..800 {
        let set = client.call(&[b"SET", format!("key:{n}").as_bytes(), &value]);
        assert_eq!(set, Reply::simple("OK"));
    }
    let full = resident(&server);
    assert!(full > before + 200 * MB, "{before} -> {full}");
    assert_eq!(client.run("FLUSHALL SYNC"), Reply::simple("OK"));
    let start = Instant::now();
    while resident(&server) > before + 100 * MB {
        assert!(start.elapsed() < Duration::from_secs(30), "{before} -> {full} -> {}", resident(&server));
        thread::sleep(Duration::from_millis(20));
    }
    server.assert_alive();
}

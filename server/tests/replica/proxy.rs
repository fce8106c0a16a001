//! A wire between two servers that can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens on a port of its own and passes on what comes. Gone when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: AtomicU16,
    over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A wire to this port of 127.0.0.1.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let own = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.over.load(Ordering::Acquire) {
                    return;
                }
                let target: SocketAddr = (Ipv4Addr::LOCALHOST, own.target.load(Ordering::Acquire)).into();
                if let Ok(server) = TcpStream::connect(target) {
                    own.join(&client, &server);
                }
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it leads elsewhere.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::Release);
    }

    /// Cuts all connections; new ones can be made.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn join(&self, client: &TcpStream, server: &TcpStream) {
        let clone = |stream: &TcpStream| stream.try_clone().expect("a handle");
        self.open.lock().expect("no panic").extend([clone(client), clone(server)]);
        for (from, to) in [(client, server), (server, client)] {
            let (mut from, mut to) = (clone(from), clone(to));
            thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.cut();
        // So that whoever accepts looks.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

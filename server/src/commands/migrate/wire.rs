//! The connection of MIGRATE to another server. It is kept a while: who moves one key mostly moves many.

use crate::server::Server;
use crate::tls::dial::{AsyncLink, dial};
use baton_engine::error::CommandError;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// How long a connection is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(10);
/// How many a core keeps.
const KEPT_MAX: usize = 64;
/// A line that is longer is no reply.
const LINE_MAX: u64 = 1024;

/// Where the keys go.
pub struct Target {
    pub host: String,
    pub port: u16,
    pub db: i64,
    /// The password, or a name and the password; empty for none.
    pub auth: Vec<Vec<u8>>,
    /// For each read and each write.
    pub timeout: Duration,
    pub tls: bool,
    /// The other server is to take keys of slots that it is just being given.
    pub asking: bool,
}

/// A key to be made there.
pub struct Restore<'a> {
    pub key: &'a [u8],
    pub ttl_ms: i64,
    pub payload: &'a [u8],
    pub replace: bool,
}

/// What went wrong.
pub enum WireError {
    Connecting,
    Writing(io::ErrorKind),
    Reading(io::ErrorKind),
    /// The other server refused something: its line.
    Refused(String),
}

impl WireError {
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Writing(io::ErrorKind::TimedOut) | Self::Reading(io::ErrorKind::TimedOut))
    }
}

impl From<WireError> for CommandError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Connecting => Self::text("IOERR error or timeout connecting to the client"),
            WireError::Writing(_) => Self::text("IOERR error or timeout writing to target instance"),
            WireError::Reading(_) => Self::text("IOERR error or timeout reading from target instance"),
            WireError::Refused(line) => {
                Self::owned(format!("ERR Target instance replied with error: {line}"))
            }
        }
    }
}

/// A connection to another server.
pub struct Link {
    stream: BufReader<Box<dyn AsyncLink>>,
    /// The database it is in, if that is known.
    db: Option<i64>,
}

struct Kept {
    number: u64,
    host: String,
    port: u16,
    tls: bool,
    link: Link,
}

thread_local! {
    /// Those of this core: a connection belongs to the event loop on which it was made.
    static CACHE: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// Connections that are kept, of all cores.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many connections are kept.
pub fn cached() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// A connection that was kept, unless it has to be fresh, or a new one.
pub async fn connect(server: &Server, target: &Target, fresh: bool) -> Result<Link, WireError> {
    let kept = CACHE.with_borrow_mut(|cache| {
        let is_there =
            |kept: &Kept| (&kept.host, kept.port, kept.tls) == (&target.host, target.port, target.tls);
        let at = cache.iter().position(is_there)?;
        COUNT.fetch_sub(1, Ordering::Relaxed);
        Some(cache.swap_remove(at).link)
    });
    if let Some(link) = kept.filter(|_| !fresh) {
        return Ok(link);
    }
    let tls = target.tls.then_some(&server.tls);
    let stream = tokio::time::timeout(target.timeout, dial(tls, &target.host, target.port)).await;
    match stream {
        Ok(Ok(stream)) => Ok(Link { stream: BufReader::new(stream), db: None }),
        Ok(Err(_)) | Err(_) => Err(WireError::Connecting),
    }
}

/// Keeps a connection for whoever needs it next.
pub fn keep(server: &Arc<Server>, target: &Target, link: Link) {
    let number = server.node.now_ns();
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= KEPT_MAX {
            cache.remove(0);
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
        let (host, port, tls) = (target.host.clone(), target.port, target.tls);
        cache.push(Kept { number, host, port, tls, link });
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
    tokio::task::spawn_local(async move {
        tokio::time::sleep(KEPT).await;
        CACHE.with_borrow_mut(|cache| {
            if let Some(at) = cache.iter().position(|kept| kept.number == number) {
                cache.remove(at);
                COUNT.fetch_sub(1, Ordering::Relaxed);
            }
        });
    });
}

impl Link {
    /// From here on nobody knows which database it is in.
    pub fn forget_db(&mut self) {
        self.db = None;
    }

    /// Has keys made on the other server. `taken` receives the places of those that were, also if not all are.
    pub async fn restore(
        &mut self,
        target: &Target,
        keys: &[Restore<'_>],
        taken: &mut Vec<usize>,
    ) -> Result<(), WireError> {
        let selects = self.db != Some(target.db);
        let before = usize::from(!target.auth.is_empty()) + usize::from(selects);
        let requests = self.requests(target, keys, selects);
        let (mut refused, mut lost) = (None, false);
        for chunk in requests.chunks(64 * 1024) {
            in_time(target, self.stream.write_all(chunk)).await.map_err(WireError::Writing)?;
        }
        in_time(target, self.stream.flush()).await.map_err(WireError::Writing)?;
        for at in 0..before + keys.len() {
            let line = in_time(target, self.line()).await.map_err(WireError::Reading)?;
            match line.strip_prefix('-') {
                Some(error) => {
                    refused.get_or_insert_with(|| error.to_owned());
                    // After a refused AUTH or SELECT nobody knows where the keys have gone.
                    lost |= at < before;
                }
                None if at >= before && !lost => taken.push(at - before),
                None => {}
            }
        }
        self.db = Some(target.db);
        refused.map_or(Ok(()), |line| Err(WireError::Refused(line)))
    }

    fn requests(&self, target: &Target, keys: &[Restore<'_>], selects: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(keys.iter().map(|key| key.key.len() + key.payload.len() + 96).sum());
        if !target.auth.is_empty() {
            let words: Vec<&[u8]> =
                std::iter::once(&b"AUTH"[..]).chain(target.auth.iter().map(Vec::as_slice)).collect();
            request(&words, &mut out);
        }
        if selects {
            request(&[b"SELECT", itoa::Buffer::new().format(target.db).as_bytes()], &mut out);
        }
        let name: &[u8] = if target.asking { b"RESTORE-ASKING" } else { b"RESTORE" };
        for key in keys {
            let mut ttl = itoa::Buffer::new();
            let words = [name, key.key, ttl.format(key.ttl_ms).as_bytes(), key.payload, b"REPLACE"];
            request(if key.replace { &words } else { &words[..4] }, &mut out);
        }
        out
    }

    /// The next reply, which is a line.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
    }
}

async fn in_time<T>(target: &Target, work: impl Future<Output = io::Result<T>>) -> Result<T, io::ErrorKind> {
    match tokio::time::timeout(target.timeout, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.kind()),
        Err(_) => Err(io::ErrorKind::TimedOut),
    }
}

fn request(words: &[&[u8]], out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    let mut header = |mark: u8, count: usize, out: &mut Vec<u8>| {
        out.push(mark);
        out.extend_from_slice(number.format(count).as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    header(b'*', words.len(), out);
    for word in words {
        header(b'$', word.len(), out);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

//! The handshake of a replica with its primary: a pure state machine. The link carries lines; this decides.
//!
//! ```text
//! Ping -> [Auth] -> Port -> [Address] -> Capabilities -> Psync -> Over
//!                                                          `-> Sync -> Over      (a primary without PSYNC)
//! ```
//!
//! | state        | sent                                   | an error means                                        |
//! |--------------|----------------------------------------|-------------------------------------------------------|
//! | Ping         | `PING`                                 | the end, unless it only asks for a password           |
//! | Auth         | `AUTH [user] password`                 | the end                                               |
//! | Port         | `REPLCONF listening-port`              | nothing: an old primary                               |
//! | Address      | `REPLCONF ip-address`                  | nothing: an old primary                               |
//! | Capabilities | `REPLCONF capa eof capa psync2`        | nothing: an old primary                               |
//! | Psync        | `PSYNC id offset [FAILOVER]`           | `NOMASTERLINK`, `LOADING`: later; else an old primary |
//! | Sync         | `SYNC`                                 | never a line: the payload follows at once             |
//!
//! Empty lines are signs of life, whenever they come.
//!
//! Absent on purpose: the version of this server (`REPLCONF version`). A primary that hears none sends a snapshot that
//! every replica can read.

use super::identity::{OFFSET_MAX, ReplId};

/// What a replica says of itself, and asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The password of the primary (`masterauth`), if it has one, with the user (`masteruser`), who may be empty.
    pub auth: Option<(Vec<u8>, Vec<u8>)>,
    /// The port where this replica listens; 0 for one that does not.
    pub port: u16,
    /// The address under which it is to be known (`replica-announce-ip`); may be empty.
    pub address: Vec<u8>,
    /// The history that it knows, and how many bytes of it it has.
    pub known: Option<(ReplId, u64)>,
    /// It takes over from a primary that hands its role on.
    pub failover: bool,
}

/// Where the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// PING has been sent.
    Ping,
    /// The password has been shown.
    Auth,
    /// The port has been told.
    Port,
    /// The address has been told.
    Address,
    /// What this replica is capable of has been told.
    Capabilities,
    /// The data have been asked for.
    Psync,
    /// They have been asked for in the old way.
    Sync,
    /// There is a result.
    Over,
}

/// What the link has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read another line.
    Wait,
    /// Send a command, then read a line. With what is worth noting of the one before.
    Send(Vec<Vec<u8>>, Option<String>),
    /// The handshake is over.
    End(Outcome),
}

/// How a handshake ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A snapshot follows, and then the stream: of this history from this offset on, or, from a primary without PSYNC, of
    /// one that nobody can go on with later.
    Full(Option<(ReplId, u64)>),
    /// The stream follows from where it was asked for, perhaps under another name from now on.
    Partial(Option<ReplId>),
    /// Not now: the primary has no data itself at the moment.
    Later(String),
    /// The primary refuses.
    Refused(String),
}

impl Handshake {
    /// The beginning: a state, and the command to send.
    pub fn begin() -> (Self, Action) {
        (Self::Ping, send(&[b"PING"], None))
    }

    /// A line has come, without its end. The only place where a handshake changes state.
    pub fn on(self, line: &[u8], facts: &Facts) -> (Self, Action) {
        use Handshake::{Address, Auth, Capabilities, Over, Ping, Port, Psync, Sync};
        if line.is_empty() || self == Over {
            return (self, Action::Wait);
        }
        let text = || String::from_utf8_lossy(line).into_owned();
        let refused = |why: String| (Over, Action::End(Outcome::Refused(why)));
        let error = line.starts_with(b"-");
        // Old primaries do not know every option: that is no reason to do without them.
        let note = |what: &str| {
            error.then(|| format!("(Non critical) Master does not understand {what}: {}", text()))
        };
        match self {
            Ping if error && !asks_for_password(line) => {
                refused(format!("Error reply to PING from master: '{}'", text()))
            }
            Ping => match &facts.auth {
                Some((user, password)) if user.is_empty() => (Auth, send(&[b"AUTH", password], None)),
                Some((user, password)) => (Auth, send(&[b"AUTH", user, password], None)),
                None => tell_port(facts),
            },
            Auth if error => refused(format!("Unable to AUTH to MASTER: {}", text())),
            Auth => tell_port(facts),
            Port if facts.address.is_empty() => tell_capabilities(note("REPLCONF listening-port")),
            Port => {
                let command: &[&[u8]] = &[b"REPLCONF", b"ip-address", &facts.address];
                (Address, send(command, note("REPLCONF listening-port")))
            }
            Address => tell_capabilities(note("REPLCONF ip-address")),
            Capabilities => ask_for_data(facts, note("REPLCONF capa")),
            Psync => answered(line),
            // There is no line before the payload.
            Sync => refused(text()),
            Over => (Over, Action::Wait),
        }
    }
}

fn tell_port(facts: &Facts) -> (Handshake, Action) {
    let port = facts.port.to_string();
    (Handshake::Port, send(&[b"REPLCONF", b"listening-port", port.as_bytes()], None))
}

fn tell_capabilities(note: Option<String>) -> (Handshake, Action) {
    (Handshake::Capabilities, send(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"], note))
}

fn ask_for_data(facts: &Facts, note: Option<String>) -> (Handshake, Action) {
    let (id, offset) = match &facts.known {
        // The wire counts bytes from 1: this asks for the first one that is not here.
        Some((id, has)) => (id.to_string(), (has + 1).to_string()),
        None => ("?".to_owned(), "-1".to_owned()),
    };
    let mut command: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), offset.as_bytes()];
    if facts.failover {
        command.push(b"FAILOVER");
    }
    (Handshake::Psync, send(&command, note))
}

/// The answer to PSYNC.
fn answered(line: &[u8]) -> (Handshake, Action) {
    let text = || String::from_utf8_lossy(line).into_owned();
    let over = |outcome| (Handshake::Over, Action::End(outcome));
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match words[..] {
        [b"+FULLRESYNC", id, offset] => {
            let offset = std::str::from_utf8(offset).ok().and_then(|offset| offset.parse().ok());
            let offset = offset.filter(|offset| *offset <= OFFSET_MAX);
            match ReplId::parse(id).zip(offset) {
                Some(history) => over(Outcome::Full(Some(history))),
                None => over(Outcome::Refused(format!(
                    "Master replied with wrong +FULLRESYNC syntax: {}",
                    text()
                ))),
            }
        }
        [b"+CONTINUE"] => over(Outcome::Partial(None)),
        [b"+CONTINUE", id, ..] => match ReplId::parse(id) {
            Some(id) => over(Outcome::Partial(Some(id))),
            None => over(Outcome::Refused(format!("Master replied with wrong +CONTINUE syntax: {}", text()))),
        },
        [b"-NOMASTERLINK" | b"-LOADING", ..] => over(Outcome::Later(text())),
        [first, ..] if first.starts_with(b"-ERR") => {
            let note = format!("Master does not support PSYNC or is in error state (reply: {})", text());
            (Handshake::Sync, send(&[b"SYNC"], Some(note)))
        }
        // A password that is missing, a user that may not: SYNC would fare no better.
        _ => over(Outcome::Refused(format!("Unexpected reply to PSYNC from master: {}", text()))),
    }
}

/// Answers to PING of primaries that are there but want to know who asks.
fn asks_for_password(line: &[u8]) -> bool {
    const ASKING: [&[u8]; 3] = [b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
    ASKING.iter().any(|start| line.starts_with(start))
}

fn send(command: &[&[u8]], note: Option<String>) -> Action {
    Action::Send(command.iter().map(|arg| arg.to_vec()).collect(), note)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    /// Feeds lines; what was sent, and how it ended.
    fn run(facts: &Facts, lines: &[&str]) -> Vec<String> {
        let mut seen = Vec::new();
        let (mut state, mut action) = Handshake::begin();
        let mut lines = lines.iter();
        loop {
            match action {
                Action::Send(command, note) => {
                    seen.extend(note.map(|note| format!("({note})")));
                    let words: Vec<_> = command.iter().map(|arg| String::from_utf8_lossy(arg)).collect();
                    seen.push(words.join(" "));
                }
                Action::Wait => {}
                Action::End(outcome) => {
                    seen.push(format!("{outcome:?}"));
                    assert_eq!(state.on(b"+more", facts), (Handshake::Over, Action::Wait));
                    return seen;
                }
            }
            let Some(line) = lines.next() else { return seen };
            (state, action) = state.on(line.as_bytes(), facts);
        }
    }

    #[test]
    fn a_new_replica_gets_everything() {
        let facts = Facts { port: 7, ..Facts::default() };
        let full = format!("+FULLRESYNC {ID} 42");
        assert_eq!(
            run(&facts, &["+PONG", "+OK", "+OK", "", &full]),
            [
                "PING",
                "REPLCONF listening-port 7",
                "REPLCONF capa eof capa psync2",
                "PSYNC ? -1",
                &format!("Full(Some(({ID}, 42)))"),
            ]
        );
    }

    #[test]
    fn a_replica_that_comes_back_goes_on() {
        let facts = Facts {
            auth: Some((b"bob".to_vec(), b"secret".to_vec())),
            port: 7,
            address: b"10.0.0.1".to_vec(),
            known: Some((ReplId::parse(ID.as_bytes()).unwrap(), 42)),
            failover: true,
        };
        let asked = format!("PSYNC {ID} 43 FAILOVER");
        assert_eq!(
            run(&facts, &["-NOAUTH Authentication required.", "+OK", "+OK", "+OK", "+OK", "+CONTINUE"]),
            [
                "PING",
                "AUTH bob secret",
                "REPLCONF listening-port 7",
                "REPLCONF ip-address 10.0.0.1",
                "REPLCONF capa eof capa psync2",
                &asked,
                "Partial(None)",
            ]
        );
        let renamed = format!("+CONTINUE {ID}");
        let seen = run(&facts, &["+PONG", "+OK", "+OK", "+OK", "+OK", &renamed]);
        assert_eq!(seen.last().unwrap(), &format!("Partial(Some({ID}))"));
    }

    #[test]
    fn an_old_primary_is_borne_with() {
        let facts = Facts { auth: Some((Vec::new(), b"p".to_vec())), ..Facts::default() };
        let seen =
            run(&facts, &["+PONG", "+OK", "-ERR unknown", "-ERR unknown", "-ERR unknown command 'PSYNC'"]);
        assert_eq!(seen[1], "AUTH p");
        assert_eq!(
            seen[3],
            "((Non critical) Master does not understand REPLCONF listening-port: -ERR unknown)"
        );
        assert_eq!(seen.last().unwrap(), "SYNC");
    }

    #[test]
    fn refusals() {
        let facts = Facts { auth: Some((Vec::new(), b"p".to_vec())), ..Facts::default() };
        let end = |lines: &[&str]| run(&facts, lines).pop().unwrap();
        assert!(end(&["-ERR go away"]).starts_with("Refused(\"Error reply to PING"));
        assert!(end(&["+PONG", "-WRONGPASS no"]).starts_with("Refused(\"Unable to AUTH"));
        let before = ["+PONG", "+OK", "+OK", "+OK"];
        let psync = |answer: &str| end(&[&before[..], &[answer]].concat());
        assert!(psync("-NOMASTERLINK Can't SYNC").starts_with("Later("));
        assert!(psync("-LOADING wait").starts_with("Later("));
        assert!(psync("-NOPERM no").starts_with("Refused(\"Unexpected reply to PSYNC"));
        assert!(psync("+FULLRESYNC short 1").starts_with("Refused(\"Master replied with wrong"));
        assert!(psync(&format!("+FULLRESYNC {ID} -1")).starts_with("Refused("));
        assert!(psync("+CONTINUE short").starts_with("Refused("));
        assert!(psync("$12").starts_with("Refused("));
    }
}

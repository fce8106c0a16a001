//! `FAILOVER`: a primary hands its part over to one of its replicas, and becomes a replica of that one.
//!
//! ```text
//! None --Begin--> Waiting --CaughtUp--> HandingOver --Accepted--> None (a replica now)
//!   ^                |  \\--Tick: time over, forced--^       |
//!   |                `--Abort; Tick: time over             |
//!   `-------------------- Refused; Abort ------------------'
//! ```
//!
//! While it waits, clients cannot write: the replica reaches the end of the stream, and nothing is lost. It is asked with
//! `PSYNC .. FAILOVER` to become a primary.

/// A replica, by the address that it announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// There is none.
    #[default]
    None,
    /// A replica has yet to catch up.
    Waiting {
        /// Which one; any if it is not said.
        target: Option<Target>,
        /// When that has taken too long, in milliseconds.
        until_ms: Option<i64>,
        /// Go on then, with what the replica has.
        force: bool,
    },
    /// The replica is asked to take over.
    HandingOver {
        /// Which one.
        target: Target,
    },
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `FAILOVER`
    Begin {
        /// See [`Failover::Waiting`].
        target: Option<Target>,
        /// See there.
        until_ms: Option<i64>,
        /// See there.
        force: bool,
    },
    /// This replica has all of the stream.
    CaughtUp(Target),
    /// It is so late, in milliseconds.
    Tick(i64),
    /// `FAILOVER ABORT`, or the node changes its role.
    Abort,
    /// The replica has taken over.
    Accepted,
    /// It does not want to.
    Refused,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Clients may not write any more.
    Pause,
    /// Follow the replica, which has everything, and ask it to take over.
    HandOver(Target),
    /// Follow it all the same, and ask it to take over.
    Force(Target),
    /// Clients may write again: it was called off.
    Resume(&'static str),
    /// Be a primary again, and let clients write: it was called off.
    TakeBack(&'static str),
    /// The pause is over: this is a replica now.
    Over,
}

impl Failover {
    /// The word for it in INFO.
    pub fn state(&self) -> &'static str {
        match self {
            Self::None => "no-failover",
            Self::Waiting { .. } => "waiting-for-sync",
            Self::HandingOver { .. } => "failover-in-progress",
        }
    }

    /// The only place where it changes.
    pub fn on(&mut self, event: Event) -> Action {
        let (next, action) = match (std::mem::take(self), event) {
            (Self::None, Event::Begin { target, until_ms, force }) => {
                (Self::Waiting { target, until_ms, force }, Action::Pause)
            }
            (Self::Waiting { target, .. }, Event::CaughtUp(found))
                if target.as_ref().is_none_or(|it| *it == found) =>
            {
                (Self::HandingOver { target: found.clone() }, Action::HandOver(found))
            }
            (Self::Waiting { target, until_ms: Some(until_ms), force }, Event::Tick(now_ms))
                if now_ms >= until_ms =>
            {
                match target.filter(|_| force) {
                    Some(target) => (Self::HandingOver { target: target.clone() }, Action::Force(target)),
                    None => (Self::None, Action::Resume("Replica never caught up before timeout")),
                }
            }
            (Self::Waiting { .. }, Event::Abort) => (Self::None, Action::Resume("Failover manually aborted")),
            (Self::HandingOver { .. }, Event::Abort) => {
                (Self::None, Action::TakeBack("Failover manually aborted"))
            }
            (Self::HandingOver { .. }, Event::Refused) => {
                (Self::None, Action::TakeBack("Failover target rejected psync request"))
            }
            (Self::HandingOver { .. }, Event::Accepted) => (Self::None, Action::Over),
            (state, _) => (state, Action::Nothing),
        };
        *self = next;
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target { host: "h".to_owned(), port }
    }

    /// Every state against every event.
    #[test]
    fn transitions() {
        let waiting = |target, force| Failover::Waiting { target, until_ms: Some(9), force };
        let states = [
            Failover::None,
            waiting(None, false),
            waiting(Some(target(1)), false),
            waiting(Some(target(1)), true),
            Failover::HandingOver { target: target(1) },
        ];
        let events = [
            Event::Begin { target: None, until_ms: None, force: false },
            Event::CaughtUp(target(1)),
            Event::CaughtUp(target(2)),
            Event::Tick(8),
            Event::Tick(9),
            Event::Abort,
            Event::Accepted,
            Event::Refused,
        ];
        let table: Vec<String> = states
            .iter()
            .map(|state| {
                let after = events.iter().map(|event| {
                    let mut state = state.clone();
                    let action = format!("{:?}", state.on(event.clone()));
                    format!("{}/{}", state.state(), action.split('(').next().unwrap_or_default())
                });
                after.collect::<Vec<_>>().join(" ").replace("/Nothing", "")
            })
            .collect();
        let (none, waits, hands) = ("no-failover", "waiting-for-sync", "failover-in-progress");
        assert_eq!(
            table,
            [
                format!("{waits}/Pause {none} {none} {none} {none} {none} {none} {none}"),
                format!(
                    "{waits} {hands}/HandOver {hands}/HandOver {waits} {none}/Resume {none}/Resume {waits} {waits}"
                ),
                format!(
                    "{waits} {hands}/HandOver {waits} {waits} {none}/Resume {none}/Resume {waits} {waits}"
                ),
                format!(
                    "{waits} {hands}/HandOver {waits} {waits} {hands}/Force {none}/Resume {waits} {waits}"
                ),
                format!(
                    "{hands} {hands} {hands} {hands} {hands} {none}/TakeBack {none}/Over {none}/TakeBack"
                ),
            ]
        );
    }
}

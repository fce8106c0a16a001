//! How a client wants to be told that what it has read has changed.
//!
//! | state     | its reads are remembered          | it is told of                          |
//! |-----------|-----------------------------------|----------------------------------------|
//! | Off       | no                                | nothing                                |
//! | Reads     | all, or those that it marks, or all but those | changes of what is remembered |
//! | Broadcast | no                                | changes of all keys with its prefixes  |
//!
//! A mark (CLIENT CACHING) is good for the command after it, or for the transaction.

/// The state of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It keeps no copies.
    #[default]
    Off,
    /// It keeps copies of what it reads.
    Reads {
        /// Which of its reads count.
        which: Reads,
        /// The next command is an exception.
        marked: bool,
    },
    /// It wants to know of every change of keys with its prefixes.
    Broadcast,
}

/// Which reads of a client are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// All.
    #[default]
    All,
    /// Those after CLIENT CACHING YES.
    OptIn,
    /// All but those after CLIENT CACHING NO.
    OptOut,
}

/// What happens to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// CLIENT TRACKING ON, perhaps once more.
    On {
        /// BCAST
        broadcast: bool,
        /// Which reads count; of no meaning with `broadcast`.
        which: Reads,
    },
    /// CLIENT TRACKING OFF.
    Off,
    /// CLIENT CACHING YES (`true`) or NO.
    Caching(bool),
    /// A command other than CLIENT is over, outside of a transaction.
    CommandOver,
}

/// Why a client may not go over to that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Broadcasting goes on or off only from [`Mode::Off`].
    #[error(
        "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
         different mode."
    )]
    SwitchBroadcast,
    /// So does the choice of reads, once it is made.
    #[error(
        "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a \
         different mode."
    )]
    SwitchReads,
    /// There is nothing that a mark could be an exception from.
    #[error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
    )]
    NotTracking,
    /// Everything else is left out anyway.
    #[error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")]
    NotOptIn,
    /// Everything else is kept anyway.
    #[error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")]
    NotOptOut,
}

impl Mode {
    /// The only place where the state of a client changes.
    ///
    /// # Errors
    /// What a client may not do in its state; it stays as it is.
    pub fn on(self, event: Event) -> Result<Self, Refused> {
        use Reads::{All, OptIn, OptOut};
        Ok(match (self, event) {
            (_, Event::Off) => Self::Off,
            (Self::Reads { .. }, Event::On { broadcast: true, .. })
            | (Self::Broadcast, Event::On { broadcast: false, .. }) => return Err(Refused::SwitchBroadcast),
            (Self::Off | Self::Broadcast, Event::On { broadcast: true, .. }) => Self::Broadcast,
            (Self::Reads { which: OptIn, .. }, Event::On { which: OptOut, .. })
            | (Self::Reads { which: OptOut, .. }, Event::On { which: OptIn, .. }) => {
                return Err(Refused::SwitchReads);
            }
            (Self::Off | Self::Reads { .. }, Event::On { broadcast: false, which }) => {
                Self::Reads { which, marked: false }
            }
            (Self::Off, Event::Caching(_)) => return Err(Refused::NotTracking),
            (Self::Reads { which: OptIn, .. }, Event::Caching(true)) => {
                Self::Reads { which: OptIn, marked: true }
            }
            (Self::Reads { which: OptOut, .. }, Event::Caching(false)) => {
                Self::Reads { which: OptOut, marked: true }
            }
            (Self::Reads { which: All | OptOut, .. } | Self::Broadcast, Event::Caching(true)) => {
                return Err(Refused::NotOptIn);
            }
            (Self::Reads { which: All | OptIn, .. } | Self::Broadcast, Event::Caching(false)) => {
                return Err(Refused::NotOptOut);
            }
            (Self::Reads { which, .. }, Event::CommandOver) => Self::Reads { which, marked: false },
            (state @ (Self::Off | Self::Broadcast), Event::CommandOver) => state,
        })
    }

    /// Whether what the client reads now is remembered.
    pub fn remembers(self) -> bool {
        match self {
            Self::Off | Self::Broadcast => false,
            Self::Reads { which: Reads::All, .. } => true,
            Self::Reads { which: Reads::OptIn, marked } => marked,
            Self::Reads { which: Reads::OptOut, marked } => !marked,
        }
    }

    /// Whether the end of the next command changes the state: it must not share a batch with others.
    #[inline]
    pub fn is_marked(self) -> bool {
        matches!(self, Self::Reads { marked: true, .. })
    }

    /// Whether the client is told of anything.
    #[inline]
    pub fn is_on(self) -> bool {
        self != Self::Off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every event: a change of the protocol reads as a change of this table.
    #[test]
    fn all_transitions() {
        let reads = |which, marked| Mode::Reads { which, marked };
        let states = [
            Mode::Off,
            reads(Reads::All, false),
            reads(Reads::OptIn, false),
            reads(Reads::OptIn, true),
            reads(Reads::OptOut, false),
            reads(Reads::OptOut, true),
            Mode::Broadcast,
        ];
        let on = |broadcast, which| Event::On { broadcast, which };
        let events = [
            on(false, Reads::All),
            on(false, Reads::OptIn),
            on(false, Reads::OptOut),
            on(true, Reads::All),
            Event::Off,
            Event::Caching(true),
            Event::Caching(false),
            Event::CommandOver,
        ];
        let shown = |mode: Mode| match mode {
            Mode::Off => "off".to_owned(),
            Mode::Broadcast => "bcast".to_owned(),
            Mode::Reads { which, marked } => {
                let which = match which {
                    Reads::All => "all",
                    Reads::OptIn => "in",
                    Reads::OptOut => "out",
                };
                format!("{which}{}", if marked { "!" } else { "" })
            }
        };
        let refused = |refused| match refused {
            Refused::SwitchBroadcast | Refused::SwitchReads => "-switch",
            Refused::NotTracking => "-off",
            Refused::NotOptIn => "-in",
            Refused::NotOptOut => "-out",
        };
        let cell = |state: Mode, event| state.on(event).map_or_else(|why| refused(why).to_owned(), shown);
        let row = |state: &Mode| {
            let cells: Vec<String> = events.iter().map(|event| cell(*state, *event)).collect();
            format!("{}: {}", shown(*state), cells.join(" "))
        };
        let table: Vec<String> = states.iter().map(row).collect();
        // on, optin, optout, bcast, off, caching yes, caching no, command over
        assert_eq!(
            table,
            [
                "off: all in out bcast off -off -off off",
                "all: all in out -switch off -in -out all",
                "in: all in -switch -switch off in! -out in",
                "in!: all in -switch -switch off in! -out in",
                "out: all -switch out -switch off -in out! out",
                "out!: all -switch out -switch off -in out! out",
                "bcast: -switch -switch -switch bcast off -in -out bcast",
            ]
        );
        let remembering: Vec<String> =
            states.into_iter().filter(|state| state.remembers()).map(shown).collect();
        assert_eq!(remembering, ["all", "in!", "out"]);
    }
}

//! Whether the log can be relied on: one state machine, which decides nothing else.
//!
//! ```text
//! Sound --WriteFailed, cut back--> Stuck --Wrote--> Sound
//!   |                              ^   `--WriteFailed, not cut back--.
//!   |                           CutBack                              v
//!   `--WriteFailed, not cut back-------------------------------->  Torn
//! any --SyncFailed--> Distrusted            any --Replaced--> Sound
//! ```
//!
//! | state      | the file                              | what waits           | writes of clients |
//! |------------|---------------------------------------|----------------------|-------------------|
//! | Sound      | ends with a whole block               | is written at once   | run               |
//! | Stuck      | ends with a whole block               | is tried each second | are refused       |
//! | Torn       | ends within a block: it is cut first  | is tried each second | are refused       |
//! | Distrusted | may lack what it was thought to have  | stays                | are refused       |

/// Why the log cannot be relied on, in the words of the operating system.
pub type Why = String;

/// The states of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    #[default]
    Sound,
    /// A write failed, and what it left was cut off.
    Stuck(Why),
    /// A write failed, and so did cutting off what it left.
    Torn(Why),
    /// A sync failed: the system may have dropped what was unsynced, and no later success would tell. Only another
    /// file helps, with a base that holds everything.
    Distrusted(Why),
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything that waited has been written.
    Wrote,
    /// A write failed.
    WriteFailed {
        /// Why.
        why: Why,
        /// Whether what it left has been cut off.
        cut_back: bool,
    },
    /// What a failed write had left has been cut off.
    CutBack,
    /// A sync failed.
    SyncFailed(Why),
    /// The data is safe in another file, and the log goes on in a new one.
    Replaced,
}

impl Health {
    /// The only place where the state changes.
    #[must_use]
    pub fn on(self, event: Event) -> Self {
        use Health::{Distrusted, Sound, Stuck, Torn};
        match (self, event) {
            (_, Event::Replaced) => Sound,
            (Distrusted(why), _) | (_, Event::SyncFailed(why)) => Distrusted(why),
            (_, Event::WriteFailed { why, cut_back: false }) => Torn(why),
            // A file that is torn must be cut before anything is written to it: nothing else can have happened.
            (Torn(why), Event::CutBack) => Stuck(why),
            (Torn(why), _) => Torn(why),
            (_, Event::WriteFailed { why, cut_back: true }) => Stuck(why),
            (_, Event::Wrote) => Sound,
            (state, Event::CutBack) => state,
        }
    }

    /// Why writes are refused, if they are.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Sound => None,
            Self::Stuck(why) | Self::Torn(why) | Self::Distrusted(why) => Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state against every event.
    #[test]
    fn transitions() {
        let why = || "no".to_owned();
        let states = [Health::Sound, Health::Stuck(why()), Health::Torn(why()), Health::Distrusted(why())];
        let events = [
            Event::Wrote,
            Event::WriteFailed { why: why(), cut_back: true },
            Event::WriteFailed { why: why(), cut_back: false },
            Event::CutBack,
            Event::SyncFailed(why()),
            Event::Replaced,
        ];
        let name = |health: &Health| format!("{health:?}").split('(').next().unwrap().to_owned();
        let table: Vec<String> = states
            .iter()
            .map(|state| {
                let after = events.iter().map(|event| name(&state.clone().on(event.clone())));
                format!("{}: {}", name(state), after.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                //           Wrote      failed, cut failed    CutBack    SyncFailed Replaced
                "Sound: Sound Stuck Torn Sound Distrusted Sound",
                "Stuck: Sound Stuck Torn Stuck Distrusted Sound",
                "Torn: Torn Torn Torn Stuck Distrusted Sound",
                "Distrusted: Distrusted Distrusted Distrusted Distrusted Distrusted Sound",
            ]
        );
    }
}

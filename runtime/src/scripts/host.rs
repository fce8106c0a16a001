//! Who runs scripts, as scripts see it.

use crate::held::{Held, Who};
use crate::registry::Registered;
use baton_engine::error::CommandError;
use baton_engine::execute::Outcome;
use baton_engine::reply::Out;
use baton_engine::slot::Slot;
use std::time::Duration;

/// How urgent a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For who looks for a fault.
    Debug,
    /// For who wants to know a lot.
    Verbose,
    /// For everybody.
    Notice,
    /// For who has to do something.
    Warning,
}

/// What a script needs of whoever runs it, besides the data.
pub trait Host {
    /// Makes known what the caller may see, before anything runs.
    fn prepare(&self, _held: &mut Held<'_>) {}

    /// Whether the caller of the script may give this command.
    ///
    /// # Errors
    /// It may not: the script is told why.
    fn permit(&mut self, _command: &Registered, _args: &[&[u8]]) -> Result<(), CommandError> {
        Ok(())
    }

    /// The same as a question, which nobody hears of.
    fn would_permit(&self, _command: &Registered, _args: &[&[u8]]) -> bool {
        true
    }

    /// Why what is read may be out of date, if it may: only scripts with `allow-stale` run then.
    fn is_stale(&self) -> Option<CommandError> {
        None
    }

    /// Why nothing may be changed at the moment, if nothing may.
    fn stops_writes(&self) -> Option<CommandError> {
        None
    }

    /// Runs a command that is not the engine's, and writes its reply.
    fn run(
        &mut self,
        _held: &mut Held<'_>,
        _who: &mut Who,
        command: &Registered,
        _args: &[&[u8]],
        out: &mut Out,
    ) -> Outcome {
        out.error(&CommandError::owned(format!("ERR '{}' is not served by this store", command.name)));
        Outcome::Refused
    }

    /// A command is about to run.
    fn runs(&mut self, _who: &Who, _command: &Registered, _args: &[&[u8]]) {}

    /// A command of the engine has run.
    fn has_run(&mut self, _command: &Registered, _outcome: Outcome) {}

    /// The keys of the scripts that come next, by slot and hash: their memory is asked for while this one runs. Those for which
    /// that has been done are taken out.
    fn keys_ahead(&mut self) -> Option<&mut Vec<(Slot, u64)>> {
        None
    }

    /// After how long a script ends, unless it has changed something; none: nobody waits for that.
    fn time_limit(&self) -> Option<Duration> {
        None
    }

    /// `redis.log`
    fn log(&mut self, _level: LogLevel, _line: &str) {}
}

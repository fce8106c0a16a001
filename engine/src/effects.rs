//! Effects: what a write leaves for the log, the replicas and a slot hand-off: deterministic commands.
//!
//! A command that changed something leaves itself, word for word, unless it said otherwise: relative expiries
//! become absolute ones, random picks become removals of what was picked, and so on. Nothing is collected when
//! nobody listens.

/// One command that repeats a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The database it belongs to.
    pub db: usize,
    /// The command with its arguments.
    pub args: Vec<Box<[u8]>>,
}

/// Collects the effects of one command.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    listening: bool,
    replaced: bool,
    list: Vec<Effect>,
}

impl Effects {
    /// A collector; it keeps nothing unless somebody listens.
    pub fn new(listening: bool) -> Self {
        Self { listening, ..Self::default() }
    }

    /// Whether anybody listens. Check it before building costly arguments.
    #[inline]
    pub fn listening(&self) -> bool {
        self.listening
    }

    /// Leaves a command in addition to whatever the running command leaves.
    pub fn also(&mut self, db: usize, args: &[&[u8]]) {
        if self.listening {
            self.list.push(Effect { db, args: args.iter().map(|arg| Box::from(*arg)).collect() });
        }
    }

    /// Leaves this command in place of the running one; several calls leave several.
    pub fn instead(&mut self, db: usize, args: &[&[u8]]) {
        self.replaced = true;
        self.also(db, args);
    }

    /// The running command leaves nothing of itself.
    pub fn nothing(&mut self) {
        self.replaced = true;
    }

    /// Ends a command: adds it word for word if it changed something and did not leave others in its place.
    #[inline]
    pub fn finish(&mut self, db: usize, changed: bool, args: &[&[u8]]) {
        if changed && !self.replaced && self.listening {
            self.also(db, args);
        }
        self.replaced = false;
    }

    /// Takes what has been collected.
    pub fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.list)
    }
}

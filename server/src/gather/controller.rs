//! How many event loops serve connections: decided from samples, without a clock.
//!
//! ```text
//!           full twice                            brought more commands, or cost none
//!  Steady ------------------> Trial(more loops) ------------------------------------> Steady(more)
//!    ^  \  waiting for a while                    did not: back, and longer until the next
//!    |   `------------------> Trial(fewer loops) -----------------------------------> Steady(fewer)
//!    `-- room for a while: fewer at once; nothing to do: one
//! ```
//!
//! A trial in vain costs its clients a third of a second of slower answers. So what it has shown is remembered over silence, too,
//! and forgotten little by little: loads come in bursts, and most are like the one before.
//!
//! | a sample is | when                                                                                     |
//! |-------------|------------------------------------------------------------------------------------------|
//! | full        | the loops run nearly all of the time, get their processors, and others of them are idle  |
//! | waiting     | the loops want to run and others have their processors                                   |
//! | roomy       | what the loops do would fit on one fewer with room to spare                              |
//!
//! A loop more costs something for every command: smaller batches, more wakes, data that move between caches. So it has to bring
//! more commands per second or it goes again; and the next try comes later each time.

/// What was seen between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// How many processors' time the active loops used, together.
    pub ran: f64,
    /// For how much they could have used more, had they been given it.
    pub waited: f64,
    /// How many processors nobody used; none where the system does not tell.
    pub idle: Option<f64>,
    /// Commands per second.
    pub commands: f64,
    /// Seconds that a loop was busy, on average, each time that something was read: what others on the loop waited for.
    pub turn_s: f64,
}

/// Two in a row: one alone may be a hiccup, and more would keep clients waiting.
const FULL_MIN: u32 = 2;
/// A loop is full from here on.
const FULL_SHARE: f64 = 0.85;
/// The same for loops whose turns are long: whoever shares one with such clients waits for them.
const FULL_SHARE_LONG: f64 = 0.3;
/// Turns are long from here on.
const LONG_TURN_S: f64 = 0.002;
/// A loop that gets its processor waits for no more than this part of its time.
const WAITED_MAX: f64 = 0.15;
/// One more loop is tried only when so much of a processor is idle: it takes about a quarter of one for itself.
const IDLE_MIN: f64 = 0.4;

/// Others have the processors when the loops wait for so much of the time in which they want to run. A trial says whether fewer
/// would do; with more patience, two loops that fought a load generator for two processors went on doing so.
const WAITING_SHARE: f64 = 0.15;
const WAITING_MIN: u32 = 5;

/// Loops are to be no fuller than this after there are fewer.
const ROOMY_SHARE: f64 = 0.7;
const ROOMY_MIN: u32 = 10;

/// Samples of a trial that are not looked at: connections are on their way.
const TRIAL_SKIPPED: u32 = 2;
/// Samples of a trial that are looked at.
const TRIAL_SEEN: u32 = 4;
/// What more loops have to bring.
const MORE_GAIN: f64 = 1.08;
/// What fewer loops may cost.
const FEWER_GAIN: f64 = 0.95;

/// Samples until the next trial of a kind after one that was in vain; doubled each time.
const HOLD: u32 = 20;
const HOLD_DOUBLINGS_MAX: u32 = 6;
/// After so many samples with nothing to do one loop serves.
const QUIET_MIN: u32 = 10;
/// After each so many of them the next trial is put off for half as long: what comes may be another load.
const QUIET_FORGETS: u32 = 200;

/// Decides how many loops serve. See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Controller {
    most: usize,
    active: usize,
    phase: Phase,
    /// Commands per second of late.
    rate: f64,
    quiet: u32,
    more: Hold,
    fewer: Hold,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// How many samples in a row were full, waiting, roomy.
    Steady { full: u32, waiting: u32, roomy: u32 },
    /// Since so many samples there are other loops than `from`, which had so many commands per second.
    Trial { from: usize, before: f64, seen: u32, commands: f64 },
}

/// When the next trial of a kind may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Hold {
    samples: u32,
    doublings: u32,
}

impl Hold {
    fn pass(&mut self) {
        self.samples = self.samples.saturating_sub(1);
    }

    fn in_vain(&mut self) {
        self.samples = HOLD << self.doublings;
        self.doublings = (self.doublings + 1).min(HOLD_DOUBLINGS_MAX);
    }

    fn forget_half(&mut self) {
        self.samples /= 2;
        self.doublings = self.doublings.saturating_sub(1);
    }
}

const STEADY: Phase = Phase::Steady { full: 0, waiting: 0, roomy: 0 };

impl Controller {
    /// One loop serves, and up to `most` may.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            active: 1,
            phase: STEADY,
            rate: 0.0,
            quiet: 0,
            more: Hold::default(),
            fewer: Hold::default(),
        }
    }

    /// How many loops are to serve.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Begins anew with so many, by which somebody else decided.
    pub fn restart(&mut self, active: usize) {
        *self = Self { active: active.clamp(1, self.most), ..Self::new(self.most) };
    }

    /// Nobody has looked for a while: begins anew, but for what trials have shown.
    pub fn resume(&mut self) {
        self.settle(1);
        (self.rate, self.quiet) = (0.0, 0);
    }

    /// Whether the last sample may be followed by one that has more loops serve.
    pub fn may_spread(&self) -> bool {
        matches!(self.phase, Phase::Steady { full: 1.., .. }) && self.more.samples == 0
    }

    /// The only place where it changes its mind.
    pub fn on(&mut self, sample: &Sample) {
        self.more.pass();
        self.fewer.pass();
        if self.is_quiet(sample) {
            return;
        }
        match self.phase.clone() {
            Phase::Steady { full, waiting, roomy } => {
                let count = |is: bool, before: u32| if is { before + 1 } else { 0 };
                let full = count(self.is_full(sample), full);
                let waiting = count(self.is_waiting(sample), waiting);
                let roomy = count(self.is_roomy(sample), roomy);
                self.phase = Phase::Steady { full, waiting, roomy };
                // What came before the loops began to wait may have been another load.
                self.rate = if self.rate == 0.0 || waiting == 1 {
                    sample.commands
                } else {
                    (3.0 * self.rate + sample.commands) / 4.0
                };
                if full >= FULL_MIN && self.more.samples == 0 {
                    let idle = sample.idle.map_or(1, |idle| (idle + 0.5) as usize);
                    self.try_with(self.active + idle.clamp(1, self.active));
                } else if waiting >= WAITING_MIN && self.fewer.samples == 0 {
                    self.try_with(self.active - 1);
                } else if roomy >= ROOMY_MIN {
                    self.settle(self.needed(sample.ran));
                }
            }
            Phase::Trial { from, before, seen, mut commands } => {
                if seen >= TRIAL_SKIPPED {
                    commands += sample.commands;
                }
                let seen = seen + 1;
                self.phase = Phase::Trial { from, before, seen, commands };
                if seen == TRIAL_SKIPPED + TRIAL_SEEN {
                    self.judge(from, before, commands / f64::from(TRIAL_SEEN));
                }
            }
        }
    }

    fn try_with(&mut self, loops: usize) {
        let loops = loops.clamp(1, self.most);
        if loops != self.active {
            self.phase = Phase::Trial { from: self.active, before: self.rate, seen: 0, commands: 0.0 };
            self.active = loops;
        }
    }

    fn judge(&mut self, from: usize, before: f64, after: f64) {
        let (is_more, hold) =
            if self.active > from { (true, &mut self.more) } else { (false, &mut self.fewer) };
        if after >= before * if is_more { MORE_GAIN } else { FEWER_GAIN } {
            hold.doublings = 0;
            if is_more {
                // What has just been worth it is not to be doubted at once.
                self.fewer.samples = self.fewer.samples.max(HOLD);
            }
            self.settle(self.active);
        } else {
            hold.in_vain();
            self.settle(from);
        }
        self.rate = after;
    }

    fn settle(&mut self, active: usize) {
        self.active = active;
        self.phase = STEADY;
    }

    /// Nothing to do: one loop is enough after a while.
    fn is_quiet(&mut self, sample: &Sample) -> bool {
        if sample.ran + sample.waited > 0.02 * self.active as f64 {
            self.quiet = 0;
            return false;
        }
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet >= QUIET_MIN {
            self.settle(1);
            self.rate = 0.0;
        }
        if self.quiet.is_multiple_of(QUIET_FORGETS) {
            self.more.forget_half();
            self.fewer.forget_half();
        }
        true
    }

    fn is_full(&self, sample: &Sample) -> bool {
        let share = if sample.turn_s >= LONG_TURN_S { FULL_SHARE_LONG } else { FULL_SHARE };
        let loops = self.active as f64;
        self.active < self.most
            && sample.ran + sample.waited >= share * loops
            && sample.waited <= WAITED_MAX * loops
            && sample.idle.is_none_or(|idle| idle >= IDLE_MIN)
    }

    fn is_waiting(&self, sample: &Sample) -> bool {
        self.active > 1
            && sample.waited >= WAITING_SHARE * (sample.ran + sample.waited)
            && sample.idle.is_none_or(|idle| idle < IDLE_MIN)
    }

    fn is_roomy(&self, sample: &Sample) -> bool {
        let long = sample.turn_s >= LONG_TURN_S && sample.ran >= FULL_SHARE_LONG;
        self.needed(sample.ran) < self.active && !long
    }

    /// How many loops have room to spare for so much.
    fn needed(&self, ran: f64) -> usize {
        ((ran / ROOMY_SHARE).ceil() as usize).clamp(1, self.active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loops that are active after each of these samples: `count` times one with these figures.
    fn run(controller: &mut Controller, count: usize, sample: Sample) -> Vec<usize> {
        (0..count)
            .map(|_| {
                controller.on(&sample);
                controller.active()
            })
            .collect()
    }

    fn sample(ran: f64, waited: f64, idle: f64, commands: f64) -> Sample {
        Sample { ran, waited, idle: Some(idle), commands, turn_s: 0.000_1 }
    }

    fn grown(most: usize) -> Controller {
        let mut controller = Controller::new(most);
        run(&mut controller, 2, sample(1.0, 0.0, 1.0, 100.0));
        run(&mut controller, 6, sample(2.0, 0.0, 0.0, 190.0));
        assert_eq!((controller.active(), &controller.phase), (2, &STEADY));
        controller
    }

    #[test]
    fn one_loop_serves_until_it_is_full_and_processors_are_idle() {
        for (name, sample) in [
            ("room", sample(0.6, 0.05, 1.4, 100.0)),
            ("nobody is idle", sample(0.95, 0.05, 0.2, 100.0)),
            ("others have the processor", sample(0.7, 0.3, 0.6, 100.0)),
        ] {
            let mut controller = Controller::new(2);
            assert_eq!(run(&mut controller, 100, sample), [1; 100], "{name}");
        }
        let mut controller = Controller::new(2);
        assert_eq!(run(&mut controller, 2, sample(0.95, 0.02, 0.9, 100.0)), [1, 2]);
        let mut controller = Controller::new(1);
        assert_eq!(run(&mut controller, 5, sample(1.0, 0.0, 3.0, 100.0)), [1; 5]);
    }

    #[test]
    fn one_hiccup_is_no_reason() {
        let mut controller = Controller::new(2);
        for _ in 0..20 {
            assert_eq!(run(&mut controller, 1, sample(1.0, 0.0, 1.0, 100.0)), [1]);
            assert_eq!(run(&mut controller, 1, sample(0.5, 0.0, 1.5, 100.0)), [1]);
        }
    }

    #[test]
    fn where_the_system_does_not_tell_what_is_idle_a_trial_does() {
        let mut controller = Controller::new(2);
        let full = Sample { idle: None, ..sample(1.0, 0.0, 0.0, 100.0) };
        assert_eq!(run(&mut controller, 2, full), [1, 2]);
        assert_eq!(run(&mut controller, 6, Sample { ran: 2.0, ..full }), [2, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn as_many_at_once_as_are_idle_but_no_more_than_there_are() {
        for (idle, wanted) in [(1.0, 4), (2.2, 5), (9.0, 6)] {
            let mut controller = Controller::new(64);
            controller.restart(3);
            assert_eq!(run(&mut controller, 2, sample(2.9, 0.0, idle, 100.0)), [3, wanted]);
        }
        let mut controller = Controller::new(4);
        controller.restart(3);
        assert_eq!(run(&mut controller, 2, sample(2.9, 0.0, 9.0, 100.0)), [3, 4]);
    }

    #[test]
    fn more_loops_stay_if_they_bring_more() {
        let mut controller = grown(2);
        assert_eq!(run(&mut controller, 50, sample(1.8, 0.1, 0.1, 190.0)), [2; 50]);
    }

    #[test]
    fn more_loops_that_bring_nothing_go_and_come_back_later_each_time() {
        let mut controller = Controller::new(2);
        let mut trials = Vec::new();
        for at in 0..2_000 {
            let before = controller.active();
            // As much with two as with one, at twice the cost.
            controller.on(&sample(before as f64, 0.0, 2.0 - before as f64, 100.0));
            if controller.active() > before {
                trials.push(at);
            }
        }
        let gaps: Vec<_> = trials.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] > pair[0]), "{gaps:?}");
        assert!((5..9).contains(&trials.len()), "{trials:?}");
    }

    #[test]
    fn loops_that_wait_for_processors_become_fewer_unless_that_costs() {
        let contended = sample(1.2, 0.8, 0.0, 190.0);
        let mut controller = grown(2);
        run(&mut controller, HOLD as usize, sample(1.9, 0.1, 0.0, 190.0));
        assert_eq!(run(&mut controller, 5, contended), [2, 2, 2, 2, 1]);
        let mut cheaper = controller.clone();
        assert_eq!(run(&mut cheaper, 20, sample(0.9, 0.1, 0.0, 185.0)), [1; 20]);
        assert_eq!(run(&mut controller, 6, sample(0.7, 0.3, 0.0, 150.0)), [1, 1, 1, 1, 1, 2]);
        // And not again so soon.
        assert_eq!(run(&mut controller, HOLD as usize - 1, contended), [2; HOLD as usize - 1]);
    }

    #[test]
    fn what_was_worth_it_for_one_load_is_looked_at_again_when_another_makes_the_loops_wait() {
        let mut controller = grown(2);
        run(&mut controller, HOLD as usize, sample(1.3, 0.1, 0.1, 190.0));
        // One command costs more now, and the one who sends them has less of the processors left.
        assert_eq!(run(&mut controller, 5, sample(1.05, 0.25, 0.0, 67.0)), [2, 2, 2, 2, 1]);
        assert_eq!(run(&mut controller, 50, sample(0.95, 0.03, 0.05, 80.0)), [1; 50]);
    }

    #[test]
    fn fewer_serve_when_the_work_would_fit_with_room_to_spare() {
        let mut controller = Controller::new(8);
        controller.restart(6);
        let mut wanted = [6; 10];
        wanted[9] = 3;
        assert_eq!(run(&mut controller, 10, sample(1.9, 0.0, 6.0, 100.0)), wanted);
        assert_eq!(run(&mut controller, 30, sample(1.6, 0.0, 6.0, 100.0)), [3; 30]);
    }

    #[test]
    fn long_turns_are_spread_before_the_loop_is_full() {
        let long = Sample { turn_s: 0.01, ..sample(0.4, 0.0, 1.6, 20.0) };
        let mut controller = Controller::new(2);
        assert_eq!(run(&mut controller, 2, long), [1, 2]);
        assert_eq!(run(&mut controller, 6, Sample { commands: 30.0, ..long }), [2; 6]);
        assert_eq!(run(&mut controller, 50, long), [2; 50], "they do not gather for having room");
    }

    #[test]
    fn silence_gathers_at_once_and_forgets_little_by_little() {
        let mut controller = grown(4);
        (0..4).for_each(|_| controller.more.in_vain());
        let silent = sample(0.0, 0.0, 4.0, 0.0);
        assert_eq!(run(&mut controller, 9, silent), [2; 9]);
        assert_eq!(run(&mut controller, 1, silent), [1]);
        assert_eq!(controller.more, Hold { samples: 8 * HOLD - 10, doublings: 4 });
        run(&mut controller, QUIET_FORGETS as usize, silent);
        assert_eq!(controller.more, Hold { samples: 0, doublings: 3 });
        run(&mut controller, 3 * QUIET_FORGETS as usize, silent);
        assert_eq!(controller.more, Hold::default());
    }

    #[test]
    fn a_load_in_bursts_is_not_tried_again_with_each_of_them() {
        let mut controller = Controller::new(2);
        let mut spread = 0;
        for _ in 0..20 {
            let (mut before, full) = (controller.active(), sample(1.0, 0.0, 1.0, 100.0));
            for _ in 0..12 {
                // As much with two as with one.
                controller.on(&Sample { ran: controller.active() as f64, ..full });
                spread += usize::from(controller.active() > before);
                before = controller.active();
            }
            run(&mut controller, 15, sample(0.0, 0.0, 2.0, 0.0));
            controller.resume();
            assert_eq!(controller.active(), 1);
        }
        assert!((2..8).contains(&spread), "{spread} of 20");
    }
}

//! How far a check has come, on standard error when that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// Bytes between two updates: asking for the time at every key would cost more than checking it.
const STEP_BYTES: usize = 4 << 20;

/// A bar over the bytes of one file. Gone from the terminal when it is dropped.
pub struct Progress {
    bar: Option<ProgressBar>,
    next: usize,
}

impl Progress {
    /// A bar for a file of this length.
    pub fn new(name: &str, len: usize) -> Self {
        let bar = (stderr().is_terminal() && len > STEP_BYTES).then(|| {
            let bar = ProgressBar::with_draw_target(Some(len as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{msg} [{wide_bar}] {percent}% of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
            );
            // The template is fixed, so it has no errors; without it the bar looks plain.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(name.to_owned());
            bar
        });
        Self { bar, next: 0 }
    }

    /// So much of the file is done.
    #[inline]
    pub fn at(&mut self, offset: usize) {
        if offset >= self.next {
            self.next = offset.saturating_add(STEP_BYTES);
            if let Some(bar) = &self.bar {
                bar.set_position(offset as u64);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

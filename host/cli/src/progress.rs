//! Shows on a terminal that a step is still running.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::context::Terminals;
use crate::limits::PROGRESS_AFTER;

/// Whether steps may show that they run: only on a terminal, and not between debug lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    /// Progress on standard error.
    pub(crate) const fn new(terminals: Terminals, logging: bool) -> Self {
        Self { shown: terminals.stderr && !logging }
    }

    /// Waits for a step. If it lasts longer than a second, `what` is shown beside a spinner until it ends.
    pub(crate) async fn step<T>(self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if !self.shown {
            return work.await;
        }
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep(PROGRESS_AFTER) => {}
        }
        let _spinner = Spinner::start(what);
        work.await
    }
}

/// A spinner on standard error that vanishes when dropped.
struct Spinner(ProgressBar);

impl Spinner {
    fn start(what: &str) -> Self {
        let bar = ProgressBar::new_spinner()
            .with_message(crate::output::printable_line(what))
            .with_elapsed(PROGRESS_AFTER);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

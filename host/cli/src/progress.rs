//! Shows on a terminal that a step is still running.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::context::Terminals;
use crate::limits::PROGRESS_AFTER;

/// Whether steps may show that they run: only on a terminal, and not between debug lines.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    shown: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The step that runs, from when it is shown on.
    step: Option<String>,
    spinner: Option<ProgressBar>,
    /// How many ask for silence.
    hidden: usize,
}

impl Progress {
    /// Progress on standard error.
    pub(crate) fn new(terminals: Terminals, logging: bool) -> Self {
        Self { shown: terminals.stderr && !logging, state: Arc::default() }
    }

    /// Waits for a step. If it lasts longer than a second, `what` is shown beside a spinner until it ends.
    pub(crate) async fn step<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if !self.shown {
            return work.await;
        }
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep(PROGRESS_AFTER) => {}
        }
        self.locked().begin(what);
        let _step = Step(self);
        work.await
    }

    /// Takes the spinner away while something else is written to the terminal, until the returned value is dropped.
    pub(crate) fn hide(&self) -> Hidden {
        let mut state = self.locked();
        state.hidden += 1;
        state.draw();
        Hidden(self.clone())
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, what: &str) {
        self.step = Some(crate::output::printable_line(what));
        self.draw();
    }

    fn draw(&mut self) {
        let step = self.step.as_ref().filter(|_| self.hidden == 0);
        match (step, self.spinner.take()) {
            (Some(_), Some(spinner)) => self.spinner = Some(spinner),
            (Some(step), None) => self.spinner = Some(spinner(step)),
            (None, Some(spinner)) => spinner.finish_and_clear(),
            (None, None) => {}
        }
    }
}

/// A spinner on standard error.
fn spinner(step: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(step.to_owned()).with_elapsed(PROGRESS_AFTER);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// A step that is shown; dropping it ends that.
struct Step<'a>(&'a Progress);

impl Drop for Step<'_> {
    fn drop(&mut self) {
        let mut state = self.0.locked();
        state.step = None;
        state.draw();
    }
}

/// See [`Progress::hide`].
pub(crate) struct Hidden(Progress);

impl Drop for Hidden {
    fn drop(&mut self) {
        let mut state = self.0.locked();
        state.hidden = state.hidden.saturating_sub(1);
        state.draw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spinner_is_there_while_a_step_runs_and_nobody_asks_for_silence() {
        let terminals = Terminals { stdin: true, stdout: true, stderr: true };
        let progress = Progress::new(terminals, false);
        let is_drawn = || progress.locked().spinner.is_some();
        progress.locked().begin("signing");
        assert!(is_drawn());
        let (one, other) = (progress.hide(), progress.hide());
        drop(one);
        assert!(!is_drawn(), "the other still asks for silence");
        drop(other);
        assert!(is_drawn());
        drop(Step(&progress));
        assert!(!is_drawn());
    }
}

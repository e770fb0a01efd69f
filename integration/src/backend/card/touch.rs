//! The finger on the virtual card's contact: there after a delay, or only when a test says so.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a YubiKey blinks before it gives up.
const PATIENCE: Duration = Duration::from_secs(15);

/// When the contact is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// So long after the card began to ask.
    After(Duration),
    /// Only by `Finger::touch`.
    OnDemand,
}

/// Whether and when somebody touches the card.
pub(super) struct Finger {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    habit: Habit,
    patience: Duration,
    asking: bool,
    touched: bool,
    removed: bool,
}

impl Default for Finger {
    fn default() -> Self {
        let state = State {
            habit: Habit::After(Duration::ZERO),
            patience: PATIENCE,
            asking: false,
            touched: false,
            removed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl Finger {
    pub(super) fn set_habit(&self, habit: Habit) {
        self.change(|state| state.habit = habit);
    }

    pub(super) fn set_patience(&self, patience: Duration) {
        self.change(|state| state.patience = patience);
    }

    /// Touches the card, if it asks for it now.
    pub(super) fn touch(&self) {
        self.change(|state| state.touched = state.asking);
    }

    /// Whether the card waits for a touch now.
    pub(super) fn is_asked(&self) -> bool {
        self.lock().asking
    }

    /// The card is pulled (or put back): nobody waits for a touch any more.
    pub(super) fn set_removed(&self, removed: bool) {
        self.change(|state| state.removed = removed);
    }

    /// Waits for the touch; false if none came in time or the card was pulled.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.lock();
        state.asking = true;
        state.touched = false;
        let begun = Instant::now();
        let touched = loop {
            let waited = begun.elapsed();
            let until = match state.habit {
                Habit::After(delay) if waited >= delay => break true,
                Habit::After(delay) => delay.min(state.patience),
                Habit::OnDemand => state.patience,
            };
            if state.touched || state.removed || waited >= state.patience {
                break state.touched;
            }
            let left = until.saturating_sub(waited);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.asking = false;
        touched
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

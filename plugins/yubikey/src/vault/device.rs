//! One YubiKey by its serial number: its queue, its connection, and calls that end at their deadline.
//!
//! A PC/SC call cannot be cut short: it returns when the card answers, or pcscd, or never. Each therefore runs in a
//! thread of its own that has the connection meanwhile; whoever waited too long goes, and the next one waits for the
//! connection to come back.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prokura_plugin::{Deadline, Error, Pin, Scope};

use super::borrowed::{Borrowed, Event, Taken};
use super::connection::Connection;
use super::piv::Tries;
use super::queue::{Queue, Turn};
use super::reader::survey_patiently;
use crate::error::{Failure, HOLDERS};
use crate::limits::{ANSWER_MARGIN, CALL_MAX, RETURN_WAIT};

/// A device that was found once in this process.
pub(crate) struct Device {
    serial: u32,
    queue: Queue,
    place: Mutex<Place>,
    came_back: Condvar,
    /// A PIN the device refused; never sent again by this process.
    refused: Mutex<Option<Pin>>,
    /// A PIN whose verdict was lost on the way.
    in_doubt: Mutex<Option<InDoubt>>,
}

/// A PIN that was sent and not answered: it may have been wrong, and then it has spent a try.
pub(crate) struct InDoubt {
    pub(crate) pin: Pin,
    /// The tries before it was sent.
    pub(crate) before: Tries,
}

/// Where the connection is.
enum Place {
    Here(Connection),
    /// In the thread of a call; the reader's name, for those who look for devices.
    Away(Option<String>),
    /// Lost; it is looked for from this moment on.
    Nowhere(Instant),
}

/// When and how a person is told to touch the device.
pub(crate) struct Prompt<'a, G> {
    /// How long the card may be silent before the person is told; `None`: the card waits for nobody.
    pub(crate) patience: Option<Duration>,
    /// Tells the person, until what it returns is dropped.
    pub(crate) show: &'a dyn Fn() -> G,
}

/// For calls during which the card waits for nobody.
pub(crate) const NOBODY: Prompt<'static, ()> = Prompt { patience: None, show: &|| () };

impl Device {
    /// A device and the connection by which it was found.
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            serial: connection.serial(),
            queue: Queue::default(),
            place: Mutex::new(Place::Here(connection)),
            came_back: Condvar::new(),
            refused: Mutex::default(),
            in_doubt: Mutex::default(),
        }
    }

    /// The serial number printed on it.
    pub(crate) const fn serial(&self) -> u32 {
        self.serial
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> String {
        format!("YubiKey {}", self.serial)
    }

    /// The reader it is in, if it is connected.
    pub(crate) fn reader(&self) -> Option<String> {
        match &*self.place() {
            Place::Here(connection) => Some(connection.reader().to_owned()),
            Place::Away(reader) => reader.clone(),
            Place::Nowhere(_) => None,
        }
    }

    /// Takes over a connection found otherwise, if it has none.
    pub(crate) fn offer(&self, connection: Connection) {
        let mut place = self.place();
        if matches!(&*place, Place::Nowhere(_)) {
            *place = Place::Here(connection);
        }
    }

    /// Waits until the device is free.
    ///
    /// # Errors
    /// `TIMEOUT` at the deadline.
    pub(crate) fn turn(&self, deadline: Deadline) -> Result<Turn<'_>, Error> {
        self.queue.wait(until(deadline)).ok_or_else(|| {
            let name = self.name();
            busy(format!("{name} was busy with other signatures of this process until the deadline"))
        })
    }

    /// The PIN that was refused.
    pub(crate) fn refused_pin(&self) -> MutexGuard<'_, Option<Pin>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The PIN of which nobody knows whether it was right.
    pub(crate) fn pin_in_doubt(&self) -> MutexGuard<'_, Option<InDoubt>> {
        self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs commands over the connection, made anew if it was lost. When they say that the card is about to wait for a
    /// touch, `prompt` says when a person is told. With `repeat` the commands are run once more over a new connection
    /// if they lost theirs.
    ///
    /// # Errors
    /// What the commands return; `TIMEOUT` if that takes beyond the deadline.
    pub(crate) fn call<T: Send + 'static, G>(
        self: &Arc<Self>,
        deadline: Deadline,
        prompt: &Prompt<'_, G>,
        repeat: bool,
        commands: impl FnMut(&mut Connection, &dyn Fn()) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let until = until(deadline);
        let events = self.start(until, repeat, commands)?;
        let mut waits_for_touch = false;
        let mut shown = None;
        let mut pause = None;
        loop {
            let wait = pause.map_or(left(until), |p| left(until).min(p));
            match events.recv_timeout(wait) {
                Ok(Event::Done(result)) => return result.map_err(|f| f.into_error(&self.name())),
                Ok(Event::Touch) => (waits_for_touch, pause) = (true, prompt.patience),
                Err(RecvTimeoutError::Timeout) if pause.take().is_some() && !left(until).is_zero() => {
                    shown = Some((prompt.show)());
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.late(waits_for_touch && (shown.is_some() || prompt.patience.is_some())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal(format!(
                        "the call to {} ended without a result",
                        self.name()
                    )));
                }
            }
        }
    }

    /// [`Self::call`] for commands that need nobody and change nothing.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn read<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Deadline,
        mut commands: impl FnMut(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(deadline, &NOBODY, true, move |connection, _| commands(connection))
    }

    fn start<T: Send + 'static>(
        self: &Arc<Self>,
        until: Instant,
        repeat: bool,
        mut commands: impl FnMut(&mut Connection, &dyn Fn()) -> Result<T, Failure> + Send + 'static,
    ) -> Result<Receiver<Event<T>>, Error> {
        let taken = self.take(until)?;
        let (sender, events) = channel();
        let borrowed = Borrowed { device: Arc::clone(self), taken, begun: false };
        let started =
            std::thread::Builder::new().spawn(move || borrowed.run(until, repeat, &mut commands, &sender));
        started.map(|_| events).map_err(|e| Error::internal(format!("no thread could be started: {e}")))
    }

    fn late(&self, touch: bool) -> Error {
        let name = self.name();
        let why = if touch {
            "nobody touched it in time; whoever is beside it must touch it when it blinks".to_owned()
        } else {
            format!("{HOLDERS}; or it hangs: unplug it and plug it in again")
        };
        busy(format!("{name} did not answer before the deadline: {why}"))
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection out.
    fn take(&self, until: Instant) -> Result<Taken, Error> {
        let mut place = self.place();
        loop {
            match std::mem::replace(&mut *place, Place::Away(None)) {
                Place::Here(connection) => {
                    *place = Place::Away(Some(connection.reader().to_owned()));
                    return Ok(Taken::Connection(connection));
                }
                Place::Nowhere(from) => return Ok(Taken::Lost(from)),
                Place::Away(reader) => *place = Place::Away(reader),
            }
            let left = left(until);
            if left.is_zero() {
                let name = self.name();
                return Err(busy(format!(
                    "{name} is still busy with an earlier request that nobody waits for any more; if it blinks, touch \
                     it or unplug it"
                )));
            }
            place = self.came_back.wait_timeout(place, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes back what a call had.
    pub(super) fn give_back(&self, taken: Taken) {
        *self.place() = match taken {
            Taken::Connection(connection) => Place::Here(connection),
            Taken::Lost(from) => Place::Nowhere(from),
        };
        self.came_back.notify_all();
    }

    /// Finds the device again: it may have been unplugged, or pcscd restarted.
    pub(super) fn find_again(&self, until: Instant) -> Result<Connection, Failure> {
        let survey = survey_patiently(Some(self.serial), &BTreeMap::new(), until, RETURN_WAIT)?;
        let others = survey.serials();
        let unreachable = survey.unreachable;
        let found = survey.found.into_iter().find(|c| c.serial() == self.serial);
        match (found, unreachable) {
            (Some(connection), _) => Ok(connection),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::Final(absent(self.serial, &others))),
        }
    }
}

/// The error for a device that is not connected.
pub(crate) fn absent(serial: u32, others: &[u32]) -> Error {
    let others = match others {
        [] => "no YubiKey is".to_owned(),
        others => format!("connected: {}", super::listed(others)),
    };
    Error::internal(format!("YubiKey {serial} is not connected ({others}); plug it in"))
        .with_scope(Scope::Vault)
        .retryable(false)
}

fn busy(message: String) -> Error {
    Error::timeout(message).with_scope(Scope::Vault).retryable(true)
}

/// When a call is given up: a little before the deadline, so that the error arrives.
pub(crate) fn until(deadline: Deadline) -> Instant {
    let left = deadline.remaining().map_or(CALL_MAX, |left| left.min(CALL_MAX));
    Instant::now() + left.saturating_sub(ANSWER_MARGIN)
}

pub(super) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

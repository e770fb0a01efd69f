//! The thread of one call: it has the connection of a device, makes a new one if need be, and gives it back.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use prokura_plugin::Error;

use super::connection::Connection;
use super::device::{Device, left};
use crate::error::Failure;
use crate::limits::SETTLE;

/// What is done over a connection. The second parameter says that the card may wait for a touch from now on.
pub(super) type Commands<'a, T> = dyn FnMut(&mut Connection, &dyn Fn()) -> Result<T, Failure> + 'a;

/// What a call tells whoever waits for it.
pub(super) enum Event<T> {
    /// From now on the card may wait for a touch.
    Touch,
    /// It is over.
    Done(Result<T, Failure>),
}

/// The connection on its way back to its device; lost if the thread ends by a panic.
pub(super) struct Borrowed {
    pub(super) device: Arc<Device>,
    pub(super) taken: Taken,
    /// The last attempt may have sent something to the card.
    pub(super) begun: bool,
}

/// What a call has got hold of.
pub(super) enum Taken {
    Connection(Connection),
    /// None; the device is looked for from this moment on.
    Lost(Instant),
}

impl Borrowed {
    /// Runs the commands, once more if their connection was lost and that may be, and tells the outcome.
    pub(super) fn run<T>(
        mut self,
        until: Instant,
        repeat: bool,
        commands: &mut Commands<'_, T>,
        events: &Sender<Event<T>>,
    ) {
        let mut result = self.attempt(until, commands, events);
        let was_lost = result.as_ref().is_err_and(Failure::is_lost_connection);
        // Before anything was sent, nobody can have typed or touched for it.
        if was_lost && (repeat || !self.begun) && Instant::now() < until {
            result = self.attempt(until, commands, events);
        }
        drop(self);
        // Nobody may be waiting any more.
        let _ = events.send(Event::Done(result));
    }

    fn attempt<T>(
        &mut self,
        until: Instant,
        commands: &mut Commands<'_, T>,
        events: &Sender<Event<T>>,
    ) -> Result<T, Failure> {
        let touch = || drop(events.send(Event::Touch));
        let connection = self.connected(until)?;
        connection.begun = false;
        let result = commands(connection, &touch);
        let begun = connection.begun;
        if result.as_ref().is_err_and(Failure::is_lost_connection) {
            let settling = if begun { SETTLE } else { Duration::ZERO };
            self.taken = Taken::Lost(Instant::now() + settling);
        }
        self.begun = begun;
        result
    }

    fn connected(&mut self, until: Instant) -> Result<&mut Connection, Failure> {
        self.begun = false;
        if let Taken::Lost(from) = self.taken {
            std::thread::sleep(left(until.min(from)));
            self.taken = Taken::Connection(self.device.find_again(until)?);
        }
        match &mut self.taken {
            Taken::Connection(connection) => Ok(connection),
            Taken::Lost(_) => Err(Error::internal("the connection was lost").into()),
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let taken = std::mem::replace(&mut self.taken, Taken::Lost(Instant::now()));
        self.device.give_back(taken);
    }
}

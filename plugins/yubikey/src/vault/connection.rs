//! One connection to one YubiKey: opened over PC/SC, shared with other programs, used in transactions.
//!
//! The `yubikey` crate's own session is not used for signing: it ends its transaction after each command, so that
//! another program may come between VERIFY and GENERAL AUTHENTICATE, it keeps the PIN, and it drops the status word.

use std::ffi::CStr;

use pcsc::{Card, Context, Disposition, Protocols, Scope, ShareMode, Transaction};
use yubikey::Version;

use super::piv::Piv;
use crate::error::Failure;

/// An open connection. Dropped, it leaves the card as it is: other programs may be using it.
pub(crate) struct Connection {
    card: Option<Card>,
    reader: String,
    serial: u32,
    version: Version,
    state: State,
    /// A transaction was begun, so that the card may have been sent something.
    pub(crate) begun: bool,
}

/// What this connection believes of the card; other programs may have changed it.
#[derive(Default)]
struct State {
    selected: bool,
    verified: bool,
}

/// The PIV application within one transaction, and whether the PIN counts as verified.
pub(crate) struct Session<'a> {
    /// Its commands.
    pub(crate) piv: Piv<'a>,
    /// The PIN was verified by this connection, and nobody is known to have selected anything since.
    pub(crate) verified: &'a mut bool,
}

impl Connection {
    /// Connects to the card in a reader and asks who it is. `None` if it is no YubiKey with a PIV application.
    ///
    /// # Errors
    /// [`Failure::Pcsc`] if the card cannot be reached.
    pub(crate) fn open(reader: &CStr) -> Result<Option<Self>, Failure> {
        let doing = || format!("open the card in reader {}", reader.to_string_lossy());
        let failed = |error| Failure::Pcsc { doing: doing(), error };
        let context = Context::establish(Scope::System).map_err(failed)?;
        let card = context.connect(reader, ShareMode::Shared, Protocols::ANY).map_err(failed)?;
        let mut connection = Self {
            card: Some(card),
            reader: reader.to_string_lossy().into_owned(),
            serial: 0,
            version: Version { major: 0, minor: 0, patch: 0 },
            state: State::default(),
            begun: false,
        };
        let identity = connection.with_card(identity)?;
        let Some((version, serial)) = identity else { return Ok(None) };
        connection.serial = serial;
        connection.version = version;
        connection.state.selected = true;
        Ok(Some(connection))
    }

    /// The reader's name, as PC/SC has it.
    pub(crate) fn reader(&self) -> &str {
        &self.reader
    }

    /// The serial number printed on the device.
    pub(crate) const fn serial(&self) -> u32 {
        self.serial
    }

    /// The firmware's version.
    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    /// Selects the application anew at the next use, which forgets a verified PIN.
    pub(crate) fn forget(&mut self) {
        self.state = State::default();
    }

    /// Runs commands in one transaction: no other program comes between them. They are run once more if another
    /// program turns out to have selected another application since the last transaction.
    ///
    /// # Errors
    /// What the commands return, or [`Failure::Pcsc`].
    pub(crate) fn transaction<T>(
        &mut self,
        mut commands: impl FnMut(&mut Session<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let serial = self.serial;
        let Self { card, state, begun, .. } = self;
        let transaction = begin(card, state)?;
        *begun = true;
        let was_selected = state.selected;
        select(&transaction, state, serial)?;
        let first = run(&transaction, state, &mut commands);
        match first {
            Err(failure) if was_selected && failure.is_other_application() => {
                *state = State::default();
                select(&transaction, state, serial)?;
                run(&transaction, state, &mut commands)
            }
            other => other,
        }
    }

    fn with_card<T>(&mut self, commands: impl FnOnce(&Piv<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let transaction = begin(&mut self.card, &mut self.state)?;
        commands(&Piv { wire: &transaction })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(card) = self.card.take()
            && let Err((card, _)) = card.disconnect(Disposition::LeaveCard)
        {
            drop(card);
        }
    }
}

fn identity(piv: &Piv<'_>) -> Result<Option<(Version, u32)>, Failure> {
    if !piv.select()? {
        return Ok(None);
    }
    let Some(version) = piv.version()? else { return Ok(None) };
    Ok(piv.serial(version)?.map(|serial| (version, serial)))
}

fn run<T>(
    transaction: &Transaction<'_>,
    state: &mut State,
    commands: &mut dyn FnMut(&mut Session<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    commands(&mut Session { piv: Piv { wire: transaction }, verified: &mut state.verified })
}

/// Selects the application unless it is; a card that was reset may be another one than before.
fn select(transaction: &Transaction<'_>, state: &mut State, serial: u32) -> Result<(), Failure> {
    if state.selected {
        return Ok(());
    }
    let found = identity(&Piv { wire: transaction })?;
    if found.is_none_or(|(_, found)| found != serial) {
        let doing = "find the same device again".to_owned();
        return Err(Failure::Pcsc { doing, error: pcsc::Error::RemovedCard });
    }
    *state = State { selected: true, verified: false };
    Ok(())
}

/// Begins a transaction; waits while another program is in one. A reset by another program is made up for.
fn begin<'a>(card: &'a mut Option<Card>, state: &mut State) -> Result<Transaction<'a>, Failure> {
    let failed = |error| Failure::Pcsc { doing: "get the device for a transaction".to_owned(), error };
    let card = card.as_mut().ok_or_else(|| failed(pcsc::Error::InvalidHandle))?;
    match card.transaction2() {
        Ok(transaction) => Ok(transaction),
        Err((card, pcsc::Error::ResetCard)) => {
            *state = State::default();
            card.reconnect(ShareMode::Shared, Protocols::ANY, Disposition::LeaveCard).map_err(failed)?;
            card.transaction().map_err(failed)
        }
        Err((_, error)) => Err(failed(error)),
    }
}

//! One slot of the reader: the line to pcscd's vpcd driver, on which a card can be pulled, hang, or answer nonsense.
//!
//! The driver is the one that connects (it is given an address instead of `/dev/null`), so that nothing listens beyond
//! 127.0.0.1. It writes a two-byte length and then as many bytes; a message of one byte is not a command but says
//! what the reader does to the card.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::applet::{Card, Status};
use super::touch::{Finger, Habit};

/// Answer to reset of a YubiKey 5, which offers T=1.
const ATR: &[u8] = &[
    0x3B, 0xFD, 0x13, 0x00, 0x00, 0x81, 0x31, 0xFE, 0x15, 0x80, 0x73, 0xC0, 0x21, 0xC0, 0x57, 0x59, 0x75,
    0x62, 0x69, 0x4B, 0x65, 0x79, 0x40,
];

const POWER_OFF: u8 = 0;
const POWER_ON: u8 = 1;
const RESET: u8 = 2;
const GIVE_ATR: u8 = 4;

/// What goes wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer, and nothing carried out, until [`VirtualCard::release`].
    Hang,
    /// The card is pulled before the command is carried out; [`VirtualCard::plug`] puts it back.
    PullBefore,
    /// The command is carried out, and the card pulled before its answer is sent.
    PullAfter,
    /// These bytes instead of an answer; the command is not carried out.
    Garbage(Vec<u8>),
    /// This status instead of an answer; the command is not carried out.
    Status(u16),
}

/// A card in its slot of the reader; dropping it takes the slot away.
pub struct VirtualCard {
    shared: Arc<Shared>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    card: Mutex<Card>,
    finger: Arc<Finger>,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    plugged: bool,
    ended: bool,
    held: bool,
    stream: Option<TcpStream>,
    faults: Vec<Planned>,
    counted: BTreeMap<u8, u64>,
}

struct Planned {
    instruction: Option<u8>,
    fault: Fault,
    times: u32,
}

impl VirtualCard {
    /// Puts a card into the slot whose driver connects to `listener`.
    pub(super) fn insert(listener: TcpListener, card: Card, finger: Arc<Finger>) -> Result<Self> {
        let port = listener.local_addr()?.port();
        let line = Mutex::new(Line { plugged: true, ..Line::default() });
        let shared = Arc::new(Shared { card: Mutex::new(card), finger, line, changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("virtual-card-{port}"))
            .spawn(move || serving.serve(&listener))?;
        Ok(Self { shared, port, thread: Some(thread) })
    }

    /// Changes what the card keeps, between two commands.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Card) -> T) -> T {
        change(&mut self.shared.card())
    }

    /// Pulls the card out.
    pub fn unplug(&self) {
        self.shared.pull();
    }

    /// Puts the card back; pcscd sees it within its next poll, about half a second.
    pub fn plug(&self) {
        self.shared.finger.set_removed(false);
        self.shared.line().plugged = true;
    }

    /// The next `times` commands of this instruction (or of any, if `None`) go wrong.
    pub fn fail(&self, instruction: Option<u8>, fault: Fault, times: u32) {
        self.shared.line().faults.push(Planned { instruction, fault, times });
    }

    /// Forgets planned faults and lets a hanging command go on.
    pub fn release(&self) {
        let mut line = self.shared.line();
        line.faults.clear();
        line.held = false;
        self.shared.changed.notify_all();
    }

    /// Waits until a command hangs.
    ///
    /// # Errors
    /// If none does within `limit`.
    pub fn wait_until_hanging(&self, limit: Duration) -> Result<()> {
        wait_until(limit, "a command to hang", || self.shared.line().held)
    }

    /// When the card is touched; at once, unless told otherwise.
    pub fn set_touch(&self, habit: Habit) {
        self.shared.finger.set_habit(habit);
    }

    /// How long the card waits for a touch; 15 s, unless told otherwise.
    pub fn set_touch_patience(&self, patience: Duration) {
        self.shared.finger.set_patience(patience);
    }

    /// Touches the card, if it is asking.
    pub fn touch(&self) {
        self.shared.finger.touch();
    }

    /// Waits until the card asks for a touch.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_until_asking(&self, limit: Duration) -> Result<()> {
        wait_until(limit, "the card to ask for a touch", || self.shared.finger.is_asked())
    }

    /// Whether the card asks for a touch now.
    pub fn is_asking(&self) -> bool {
        self.shared.finger.is_asked()
    }

    /// How many commands the card was sent, by instruction (ISO/IEC 7816-4 section 5.4.2).
    pub fn counted(&self) -> BTreeMap<u8, u64> {
        self.shared.line().counted.clone()
    }

    /// How many commands of this instruction the card was sent.
    pub fn count(&self, instruction: u8) -> u64 {
        self.shared.line().counted.get(&instruction).copied().unwrap_or(0)
    }

    /// Starts counting anew.
    pub fn count_anew(&self) {
        self.shared.line().counted.clear();
    }
}

impl Drop for VirtualCard {
    fn drop(&mut self) {
        self.shared.line().ended = true;
        self.shared.pull();
        // The thread may be waiting for the driver to connect.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pull(&self) {
        let mut line = self.line();
        line.plugged = false;
        line.held = false;
        if let Some(stream) = line.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
        self.finger.set_removed(true);
    }

    /// Every connection is one insertion, or one attempt to find a card where none is.
    fn serve(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            {
                let mut line = self.line();
                if line.ended {
                    return;
                }
                if !line.plugged {
                    continue;
                }
                line.stream = stream.try_clone().ok();
            }
            self.card().reset();
            // The end of a connection is how a card is pulled, a reader closed and a daemon killed: nothing to report.
            let _ = self.converse(stream);
        }
    }

    fn converse(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        loop {
            match read_message(&mut stream)?.as_slice() {
                [POWER_OFF | POWER_ON | RESET] => self.card().reset(),
                [GIVE_ATR] => write_message(&mut stream, ATR)?,
                [_] => bail!("an unknown message of the reader"),
                command => write_message(&mut stream, &self.answer(command)?)?,
            }
        }
    }

    fn answer(&self, command: &[u8]) -> Result<Vec<u8>> {
        let instruction = command.get(1).copied().unwrap_or_default();
        match self.plan(instruction) {
            None => Ok(self.card().answer(command)),
            Some(Fault::Status(status)) => Ok(Status(status).0.to_be_bytes().to_vec()),
            Some(Fault::Garbage(bytes)) => Ok(bytes),
            Some(Fault::PullBefore) => {
                self.pull();
                bail!("pulled before the command")
            }
            Some(Fault::PullAfter) => {
                self.card().answer(command);
                self.pull();
                bail!("pulled after the command")
            }
            Some(Fault::Hang) => {
                self.hold();
                if !self.line().plugged {
                    bail!("pulled while it hung");
                }
                Ok(self.card().answer(command))
            }
        }
    }

    /// Counts the command and finds what is to go wrong with it.
    fn plan(&self, instruction: u8) -> Option<Fault> {
        let mut line = self.line();
        *line.counted.entry(instruction).or_default() += 1;
        let matches = |planned: &Planned| planned.instruction.is_none_or(|wanted| wanted == instruction);
        let at = line.faults.iter().position(matches)?;
        let planned = line.faults.get_mut(at)?;
        let fault = planned.fault.clone();
        planned.times = planned.times.saturating_sub(1);
        if planned.times == 0 {
            line.faults.remove(at);
        }
        line.held = fault == Fault::Hang;
        Some(fault)
    }

    fn hold(&self) {
        let mut line = self.line();
        while line.held {
            line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    read_exact(stream, &mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_exact(stream, &mut message)?;
    Ok(message)
}

/// Debian 12's driver writes length and bytes apart: with Nagle's algorithm there and a delayed acknowledgement here
/// each command would take 40 ms. The system forgets the option again, so it is set before every read.
fn read_exact(stream: &mut TcpStream, bytes: &mut [u8]) -> Result<()> {
    rustix::net::sockopt::set_tcp_quickack(&*stream, true)?;
    stream.read_exact(bytes)?;
    Ok(())
}

fn write_message(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let length = u16::try_from(bytes.len())?.to_be_bytes();
    stream.write_all(&[&length, bytes].concat())?;
    Ok(())
}

/// Polls until `done`.
pub(super) fn wait_until(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + limit;
    while !done() {
        if Instant::now() > until {
            bail!("waited {limit:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

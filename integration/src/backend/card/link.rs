//! One slot of the reader: the line to pcscd's vpcd driver, on which a card can be pulled, hang, or answer nonsense.
//!
//! The driver listens, in a network of its own, and a card is in the slot for as long as it is connected. Each side
//! writes a two-byte length and then as many bytes; a message of one byte is not a command but says what the reader
//! does to the card.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::applet::{Card, Status};
use super::touch::{Finger, Habit};

/// Answer to reset of a YubiKey 5, which offers T=1.
const ATR: &[u8] = &[
    0x3B, 0xFD, 0x13, 0x00, 0x00, 0x81, 0x31, 0xFE, 0x15, 0x80, 0x73, 0xC0, 0x21, 0xC0, 0x57, 0x59, 0x75,
    0x62, 0x69, 0x4B, 0x65, 0x79, 0x40,
];

/// How long until a card without a reader looks for one again.
const RECONNECT: Duration = Duration::from_millis(20);

/// How long a pulled card is away at least: no hand is faster.
const AWAY_MIN: Duration = Duration::from_secs(1);

/// The length of a message that does not come. Debian 12's driver takes a connection that ends before the length for
/// an empty answer, which no reader gives; one that ends after it is what it should be, a failed transmission.
const CUT_SHORT: [u8; 2] = [0, 2];

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

/// What answers commands.
pub trait Applet: Send + 'static {
    /// The answer to a command, its status included.
    fn answer(&mut self, command: &[u8]) -> Vec<u8>;

    /// Power-off or reset: what is stored stays, what was verified is forgotten.
    fn reset(&mut self);
}

/// A card in its slot of the reader; dropping it takes the slot away.
pub struct VirtualCard<A: Applet = Card> {
    shared: Arc<Shared<A>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<A> {
    card: Mutex<A>,
    finger: Arc<Finger>,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    plugged: bool,
    ended: bool,
    held: bool,
    pulled: Option<Instant>,
    stream: Option<TcpStream>,
    faults: Vec<Planned>,
    counted: BTreeMap<u8, u64>,
}

struct Planned {
    instruction: Option<u8>,
    fault: Fault,
    times: u32,
}

impl<A: Applet> VirtualCard<A> {
    /// Puts a card into the slot whose driver listens at a port of 127.0.0.1 in a network namespace.
    pub(super) fn insert((namespace, port): (File, u16), card: A, finger: Arc<Finger>) -> Result<Self> {
        let line = Mutex::new(Line { plugged: true, ..Line::default() });
        let shared = Arc::new(Shared { card: Mutex::new(card), finger, line, changed: Condvar::new() });
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("virtual-card-{port}"))
            .spawn(move || serving.serve(namespace, port))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes what the card keeps, between two commands.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut A) -> T) -> T {
        change(&mut self.shared.card())
    }

    /// Pulls the card out.
    pub fn unplug(&self) {
        self.shared.pull();
    }

    /// Puts the card back, a second after it was pulled at the earliest: pcscd looks for cards every 0.4 s, and a card
    /// that was away for less stays one that does not answer.
    pub fn plug(&self) {
        self.shared.finger.set_removed(false);
        self.shared.line().plugged = true;
        self.shared.changed.notify_all();
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
        wait_until(limit, "a command to hang", || self.is_hanging())
    }

    /// Whether a command hangs now.
    pub fn is_hanging(&self) -> bool {
        self.shared.line().held
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
        wait_until(limit, "the card to ask for a touch", || self.is_asking())
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

impl<A: Applet> Drop for VirtualCard<A> {
    fn drop(&mut self) {
        self.shared.line().ended = true;
        self.shared.pull();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<A: Applet> Shared<A> {
    fn card(&self) -> MutexGuard<'_, A> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pull(&self) {
        let mut line = self.line();
        line.plugged = false;
        line.pulled = Some(Instant::now());
        line.held = false;
        if let Some(stream) = line.stream.take() {
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Read);
        }
        self.changed.notify_all();
        self.finger.set_removed(true);
    }

    /// Connects for as long as the card is in its slot, whatever becomes of the connection. The thread is this card's
    /// alone, and so may leave the network of the others.
    fn serve(&self, namespace: File, port: u16) {
        let entered = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
        if entered.is_err() {
            return;
        }
        drop(namespace);
        while self.wait_until_plugged() {
            let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else {
                std::thread::sleep(RECONNECT);
                continue;
            };
            if !self.register(&stream) {
                continue;
            }
            self.card().reset();
            // The end of a connection is how a card is pulled, a reader closed and a daemon killed: nothing to report.
            let _ = self.converse(stream);
        }
    }

    /// Lets [`Shared::pull`] end the connection; false if the card was pulled while it was made.
    fn register(&self, stream: &TcpStream) -> bool {
        let mut line = self.line();
        line.stream = stream.try_clone().ok().filter(|_| line.plugged);
        line.stream.is_some()
    }

    /// False when the slot is taken away.
    fn wait_until_plugged(&self) -> bool {
        let mut line = self.line();
        while !line.ended {
            let away = line.pulled.map_or(AWAY_MIN, |pulled| pulled.elapsed());
            let left = AWAY_MIN.saturating_sub(away);
            line = match line.plugged {
                true if left.is_zero() => return true,
                true => self.changed.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0,
                false => self.changed.wait(line).unwrap_or_else(PoisonError::into_inner),
            };
        }
        false
    }

    fn converse(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        loop {
            match read_message(&mut stream)?.as_slice() {
                [POWER_OFF | POWER_ON | RESET] => self.card().reset(),
                [GIVE_ATR] => write_message(&mut stream, ATR)?,
                [_] => bail!("an unknown message of the reader"),
                command => {
                    let answer = self.answer(command).filter(|_| self.line().plugged);
                    match answer {
                        Some(answer) => write_message(&mut stream, &answer)?,
                        None => return Ok(stream.write_all(&CUT_SHORT)?),
                    }
                }
            }
        }
    }

    /// `None` if the card is pulled meanwhile.
    fn answer(&self, command: &[u8]) -> Option<Vec<u8>> {
        let instruction = command.get(1).copied().unwrap_or_default();
        match self.plan(instruction) {
            None => return Some(self.card().answer(command)),
            Some(Fault::Status(status)) => return Some(Status(status).0.to_be_bytes().to_vec()),
            Some(Fault::Garbage(bytes)) => return Some(bytes),
            Some(Fault::PullBefore) => self.pull(),
            Some(Fault::PullAfter) => {
                self.card().answer(command);
                self.pull();
            }
            Some(Fault::Hang) => {
                self.hold();
                return self.line().plugged.then(|| self.card().answer(command));
            }
        }
        None
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

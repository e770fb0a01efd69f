//! The least of a PC/SC client, over pcscd's socket: what pcscd sees, and a card held against others.
//!
//! So that the tests need neither libpcsclite nor its headers. Messages are those of pcsc-lite's protocol 4 (1.6 to
//! 2.x): eight bytes of length and command, then a fixed structure in the machine's byte order, which comes back
//! filled in.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Slots of vpcd's reader.
pub(super) const SLOTS: usize = 2;

const ESTABLISH_CONTEXT: u32 = 0x01;
const CONNECT: u32 = 0x04;
const TRANSMIT: u32 = 0x09;
const GET_READERS_STATE: u32 = 0x12;

const NAME_LEN: usize = 128;
const STATES: usize = 16;
const STATE_LEN: usize = 184;
const STATE_PRESENT: u32 = 0x04;
const EXCLUSIVE: u32 = 1;
const SHARED: u32 = 2;
const T1: u32 = 2;
const ANSWER_MAX: u32 = 66_000;

/// pcscd answers at once but for a card that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to pcscd; dropping it gives up what it holds.
pub struct Client {
    stream: UnixStream,
    card: u32,
}

/// A slot as pcscd sees it.
pub(super) struct SeenSlot {
    name: [u8; NAME_LEN],
    pub(super) present: bool,
}

impl Client {
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, card: 0 })
    }

    /// The reader's slots, in order.
    pub(super) fn slots(&mut self) -> Result<Vec<SeenSlot>> {
        self.send(GET_READERS_STATE, &[])?;
        let mut states = [0; STATES * STATE_LEN];
        self.stream.read_exact(&mut states)?;
        let mut slots: Vec<SeenSlot> = states.chunks_exact(STATE_LEN).filter_map(SeenSlot::parse).collect();
        slots.sort_by_key(|slot| slot.name);
        if slots.len() < SLOTS { bail!("pcscd has {} slots", slots.len()) } else { Ok(slots) }
    }

    /// Connects to the card in a slot, alone or shared.
    pub(super) fn open(&mut self, slot: usize, exclusive: bool) -> Result<()> {
        let slots = self.slots()?;
        let name = slots.get(slot).context("no such slot")?.name;
        let [_, context, _] = self.exchange(ESTABLISH_CONTEXT, [2, 0, 0])?;
        let mut message = context.to_ne_bytes().to_vec();
        message.extend_from_slice(&name);
        let mode = if exclusive { EXCLUSIVE } else { SHARED };
        message.extend([mode, T1, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes));
        self.send(CONNECT, &message)?;
        let mut reply = vec![0; message.len()];
        self.stream.read_exact(&mut reply)?;
        let words: Vec<u32> = reply.chunks_exact(4).filter_map(word).collect();
        match words.as_slice() {
            [.., card, _, 0] => self.card = *card,
            [.., code] => bail!("pcscd refused to connect: {code:#010X}"),
            [] => bail!("an empty reply"),
        }
        Ok(())
    }

    /// Sends a command to the card and returns its answer, status included.
    ///
    /// # Errors
    /// With PC/SC's code, if the reader reports one.
    pub fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let length = u32::try_from(command.len())?;
        let message = [self.card, T1, 8, length, T1, 8, ANSWER_MAX, 0];
        self.send(TRANSMIT, &message.map(u32::to_ne_bytes).concat())?;
        self.stream.write_all(command)?;
        let [_, _, _, _, _, _, length, code] = self.receive()?;
        if code != 0 {
            bail!("pcscd could not transmit: {code:#010X}");
        }
        let mut answer = vec![0; usize::try_from(length.min(ANSWER_MAX))?];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    fn exchange<const N: usize>(&mut self, command: u32, message: [u32; N]) -> Result<[u32; N]> {
        self.send(command, &message.map(u32::to_ne_bytes).concat())?;
        let reply: [u32; N] = self.receive()?;
        match reply.last() {
            Some(0) => Ok(reply),
            code => bail!("pcscd refused command {command}: {code:#010X?}"),
        }
    }

    fn send(&mut self, command: u32, message: &[u8]) -> Result<()> {
        let length = u32::try_from(message.len())?;
        self.stream.write_all(&[&length.to_ne_bytes(), &command.to_ne_bytes(), message].concat())?;
        Ok(())
    }

    fn receive<const N: usize>(&mut self) -> Result<[u32; N]> {
        let mut words = [0; N];
        for into in &mut words {
            let mut bytes = [0; 4];
            self.stream.read_exact(&mut bytes)?;
            *into = u32::from_ne_bytes(bytes);
        }
        Ok(words)
    }
}

impl SeenSlot {
    /// Name, event counter, state, sharing, ATR of 33 bytes and three of padding, its length, protocol.
    fn parse(state: &[u8]) -> Option<Self> {
        let (name, rest) = state.split_first_chunk::<NAME_LEN>()?;
        let [_, flags] = [word(rest.get(..4)?)?, word(rest.get(4..8)?)?];
        let is_used = name.first() != Some(&0);
        is_used.then_some(Self { name: *name, present: flags & STATE_PRESENT != 0 })
    }
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

//! The PIV application: the commands this plugin needs, each one APDU (NIST SP 800-73-4 part 2 section 3, and
//! Yubico's extensions: <https://docs.yubico.com/yesdk/users-manual/application-piv/commands.html>).

use yubikey::Version;
use yubikey::piv::AlgorithmId;
use zeroize::Zeroizing;

use super::apdu::{Answer, Command, OK, Wire, exchange, malformed};
use super::metadata::{self, Metadata};
use super::tlv;
use crate::error::Failure;
use crate::limits::PIN_BYTES;
use crate::slot::Slot;

const PIV: &[u8] = &[0xA0, 0x00, 0x00, 0x03, 0x08];
/// The application that tells the serial number on a YubiKey 4.
const OTP: &[u8] = &[0xA0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01];
const PIN: u8 = 0x80;
const MANAGEMENT_KEY: u8 = 0x9B;

const NOT_FOUND: u16 = 0x6A82;
const NO_SUCH_REFERENCE: u16 = 0x6A88;
const NO_SUCH_INSTRUCTION: u16 = 0x6D00;
const BLOCKED: u16 = 0x6983;
const WRONG: u16 = 0x63C0;

/// The selected PIV application of a card.
pub(crate) struct Piv<'a> {
    pub(crate) wire: &'a dyn Wire,
}

/// What the card says of a slot.
pub(crate) enum Found<T> {
    /// The card does not know the command: its firmware is too old.
    Unknown,
    /// There is nothing.
    Nothing,
    /// This.
    It(T),
}

/// What the card says of the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tries {
    /// So many are left; 0: it is blocked.
    Left(u8),
    /// The PIN is verified: all are left, and the card does not say how many that is.
    Verified,
}

/// What the card says to a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is right.
    Right,
    /// It is wrong, and so many tries are left.
    Wrong(u8),
}

impl Piv<'_> {
    /// Selects the application, which forgets a verified PIN. `false` if the card has none.
    pub(crate) fn select(&self) -> Result<bool, Failure> {
        self.select_application(PIV)
    }

    fn select_application(&self, application: &[u8]) -> Result<bool, Failure> {
        let doing = "select an application";
        let answer = self.ask(doing, [0xA4, 0x04, 0x00], application)?;
        match answer.status {
            OK => Ok(true),
            NOT_FOUND | NO_SUCH_INSTRUCTION | 0x6A81 | 0x6A86 | 0x6E00 => Ok(false),
            status => Err(refused(doing, status)),
        }
    }

    /// The version of the firmware; `None` if this is no YubiKey.
    pub(crate) fn version(&self) -> Result<Option<Version>, Failure> {
        let doing = "read the firmware version";
        let answer = self.ask(doing, [0xFD, 0x00, 0x00], &[])?;
        match (answer.status, answer.data.as_slice()) {
            (OK, [major, minor, patch]) => Ok(Some(Version { major: *major, minor: *minor, patch: *patch })),
            (OK, _) => Err(malformed(doing, "no version of three bytes")),
            _ => Ok(None),
        }
    }

    /// The serial number. On a YubiKey 4 another application tells it, so that PIV is selected anew afterwards.
    pub(crate) fn serial(&self, version: Version) -> Result<Option<u32>, Failure> {
        let doing = "read the serial number";
        let answer = if version.major < 5 {
            if !self.select_application(OTP)? {
                return Ok(None);
            }
            let answer = self.ask(doing, [0x01, 0x10, 0x00], &[])?;
            self.select()?;
            answer
        } else {
            self.ask(doing, [0xF8, 0x00, 0x00], &[])?
        };
        match (answer.status, <[u8; 4]>::try_from(answer.data.as_slice())) {
            (OK, Ok(bytes)) => Ok(Some(u32::from_be_bytes(bytes))),
            (OK, Err(_)) => Err(malformed(doing, "no serial number of four bytes")),
            _ => Ok(None),
        }
    }

    /// Metadata of a slot (firmware 5.3 and later).
    pub(crate) fn metadata(&self, slot: Slot) -> Result<Found<Metadata>, Failure> {
        let doing = format!("read what slot {slot} holds");
        let answer = self.ask(&doing, [0xF7, 0x00, slot.number()], &[])?;
        match answer.status {
            OK => metadata::parse(&answer.data, slot)
                .map(Found::It)
                .ok_or_else(|| malformed(&doing, "metadata that cannot be read")),
            NO_SUCH_REFERENCE | NOT_FOUND => Ok(Found::Nothing),
            NO_SUCH_INSTRUCTION => Ok(Found::Unknown),
            status => Err(refused(&doing, status)),
        }
    }

    /// How many tries the PIN has left. Asking spends none.
    pub(crate) fn tries(&self) -> Result<Tries, Failure> {
        let doing = "read how many tries the PIN has left";
        const RETRIES: u32 = 6;
        let answer = self.ask(doing, [0xF7, 0x00, PIN], &[])?;
        if let (OK, Some([_, left])) = (answer.status, tlv::find(&answer.data, RETRIES)) {
            return Ok(Tries::Left(*left));
        }
        // Without metadata: a VERIFY without data asks for the counter (SP 800-73-4 part 2 section 3.2.1).
        match self.ask(doing, [0x20, 0x00, PIN], &[])?.status {
            OK => Ok(Tries::Verified),
            BLOCKED => Ok(Tries::Left(0)),
            status if status & 0xFFF0 == WRONG => Ok(Tries::Left(nibble(status))),
            status => Err(refused(doing, status)),
        }
    }

    /// Sends the PIN, padded to eight bytes. A wrong one spends a try. The caller has checked the length.
    pub(crate) fn verify(&self, pin: &[u8]) -> Result<Verdict, Failure> {
        let doing = "verify the PIN";
        let mut padded = Zeroizing::new([0xFF; *PIN_BYTES.end()]);
        padded.iter_mut().zip(pin).for_each(|(to, from)| *to = *from);
        let command = Command { head: [0x20, 0x00, PIN], data: padded.as_slice(), answers: false };
        match exchange(self.wire, doing, &command)?.status {
            OK => Ok(Verdict::Right),
            BLOCKED => Ok(Verdict::Wrong(0)),
            status if status & 0xFFF0 == WRONG => Ok(Verdict::Wrong(nibble(status))),
            status => Err(refused(doing, status)),
        }
    }

    /// Signs: `input` is a digest for EC keys, a padded block for RSA keys. Returns DER or the bare number.
    pub(crate) fn sign(&self, slot: Slot, algorithm: AlgorithmId, input: &[u8]) -> Result<Vec<u8>, Failure> {
        let doing = format!("sign with slot {slot}");
        // Dynamic authentication template: an empty response is asked for, the challenge is what gets signed.
        let template =
            tlv::element(&[0x7C], &[tlv::element(&[0x82], &[]), tlv::element(&[0x81], input)].concat());
        let answer = self.ask(&doing, [0x87, algorithm.into(), slot.number()], &template)?;
        if answer.status != OK {
            return Err(refused(&doing, answer.status));
        }
        let signature = tlv::find(&answer.data, 0x7C).and_then(|inner| tlv::find(inner, 0x82));
        signature.map(<[u8]>::to_vec).ok_or_else(|| malformed(&doing, "no signature"))
    }

    /// A data object; nothing if there is none or it is empty.
    pub(crate) fn object(&self, doing: &str, object: u32) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let tag = object.to_be_bytes();
        let tag = tag.get(1..).unwrap_or_default();
        let answer = self.ask(doing, [0xCB, 0x3F, 0xFF], &tlv::element(&[0x5C], tag))?;
        match answer.status {
            OK => match tlv::first(&answer.data) {
                Some(element) if element.tag == 0x53 => {
                    Ok(Some(element.value).filter(|v| !v.is_empty()).map(|v| Zeroizing::new(v.to_vec())))
                }
                _ => Err(malformed(doing, "no data object")),
            },
            NOT_FOUND | NO_SUCH_REFERENCE => Ok(None),
            status => Err(refused(doing, status)),
        }
    }

    /// The certificate by which the device attests that it made a slot's key; nothing for keys it did not make.
    pub(crate) fn attest(&self, slot: Slot) -> Result<Option<Vec<u8>>, Failure> {
        let doing = format!("attest slot {slot}");
        let answer = self.ask(&doing, [0xF9, slot.number(), 0x00], &[])?;
        Ok((answer.status == OK && answer.data.first() == Some(&0x30)).then(|| answer.data.to_vec()))
    }

    /// The algorithm of the management key: as the card says, or the only one older firmware has.
    pub(crate) fn management_algorithm(&self) -> Result<u8, Failure> {
        const TRIPLE_DES: u8 = 0x03;
        let answer = self.ask("read the kind of management key", [0xF7, 0x00, MANAGEMENT_KEY], &[])?;
        match (answer.status, tlv::find(&answer.data, 1)) {
            (OK, Some([algorithm])) => Ok(*algorithm),
            _ => Ok(TRIPLE_DES),
        }
    }

    fn ask(&self, doing: &str, head: [u8; 3], data: &[u8]) -> Result<Answer, Failure> {
        exchange(self.wire, doing, &Command { head, data, answers: true })
    }
}

fn refused(doing: &str, status: u16) -> Failure {
    Failure::Status { doing: doing.to_owned(), status }
}

fn nibble(status: u16) -> u8 {
    u8::try_from(status & 0x000F).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::apdu::tests::Script;
    use super::*;

    #[test]
    fn tries_are_read_without_spending_one() {
        let metadata = Script::new(&[&[1, 1, 0xFF, 6, 2, 8, 5, 0x90, 0]]);
        assert_eq!(Piv { wire: &metadata }.tries().ok(), Some(Tries::Left(5)));
        for (status, tries) in
            [([0x63, 0xC2], Tries::Left(2)), ([0x69, 0x83], Tries::Left(0)), ([0x90, 0x00], Tries::Verified)]
        {
            let older = Script::new(&[&[0x6D, 0], &status]);
            assert_eq!(Piv { wire: &older }.tries().ok(), Some(tries));
            assert_eq!(older.sent.borrow()[1], [0, 0x20, 0, 0x80, 0], "no PIN is sent");
        }
    }

    #[test]
    fn a_pin_is_padded_and_its_verdict_read() {
        for (status, verdict) in [
            ([0x90, 0x00], Verdict::Right),
            ([0x63, 0xC1], Verdict::Wrong(1)),
            ([0x69, 0x83], Verdict::Wrong(0)),
        ] {
            let card = Script::new(&[&status]);
            assert_eq!(Piv { wire: &card }.verify(b"123456").ok(), Some(verdict));
            assert_eq!(card.sent.borrow()[0], *b"\x00\x20\x00\x80\x08123456\xFF\xFF");
        }
    }

    #[test]
    fn an_absent_object_is_nothing_and_a_garbled_one_is_refused() {
        let absent = Script::new(&[&[0x6A, 0x82]]);
        assert!(Piv { wire: &absent }.object("read", 0x5F_C10A).ok().unwrap().is_none());
        assert_eq!(absent.sent.borrow()[0], [0, 0xCB, 0x3F, 0xFF, 5, 0x5C, 3, 0x5F, 0xC1, 0x0A, 0]);
        let garbled = Script::new(&[&[0x53, 9, 1, 0x90, 0]]);
        assert!(Piv { wire: &garbled }.object("read", 0x5F_C10A).is_err());
    }
}

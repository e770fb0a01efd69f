//! The management key of the virtual card: 3DES or AES, both ways of authenticating with it, and changing it.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

use super::super::tlv;
use super::{Answer, Card, Command, Status};

/// Key reference of the management key (NIST SP 800-73-4 part 1 table 4b).
pub(super) const REFERENCE: u8 = 0x9B;

const FACTORY: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

const TRIPLE_DES: u8 = 0x03;
const AES_128: u8 = 0x08;
const AES_192: u8 = 0x0A;
const AES_256: u8 = 0x0C;

const WITNESS: u32 = 0x80;
const CHALLENGE: u32 = 0x81;
const RESPONSE: u32 = 0x82;

/// The key and PIV's number of its algorithm.
pub(super) struct ManagementKey {
    algorithm: u8,
    bytes: Vec<u8>,
}

impl ManagementKey {
    /// What a YubiKey of this firmware is delivered with: AES-192 from 5.7 on, 3DES before.
    pub(super) fn factory(version: [u8; 3]) -> Self {
        let algorithm = if version >= [5, 7, 0] { AES_192 } else { TRIPLE_DES };
        Self { algorithm, bytes: FACTORY.to_vec() }
    }

    fn new(algorithm: u8, bytes: &[u8]) -> Option<Self> {
        let width = match algorithm {
            TRIPLE_DES | AES_192 => 24,
            AES_128 => 16,
            AES_256 => 32,
            _ => return None,
        };
        (bytes.len() == width).then(|| Self { algorithm, bytes: bytes.to_vec() })
    }

    fn block_len(&self) -> usize {
        if self.algorithm == TRIPLE_DES { 8 } else { 16 }
    }

    fn encrypt(&self, block: &[u8]) -> Option<Vec<u8>> {
        match self.algorithm {
            TRIPLE_DES => encrypt::<des::TdesEde3>(&self.bytes, block),
            AES_128 => encrypt::<aes::Aes128>(&self.bytes, block),
            AES_192 => encrypt::<aes::Aes192>(&self.bytes, block),
            _ => encrypt::<aes::Aes256>(&self.bytes, block),
        }
    }
}

fn encrypt<C: KeyInit + BlockCipherEncrypt>(key: &[u8], block: &[u8]) -> Option<Vec<u8>> {
    let mut block = Array::try_from(block).ok()?;
    C::new_from_slice(key).ok()?.encrypt_block(&mut block);
    Some(block.to_vec())
}

impl Card {
    pub(super) fn require_management(&self) -> Result<(), Status> {
        if self.session.managing { Ok(()) } else { Err(Status::SECURITY) }
    }

    /// GENERAL AUTHENTICATE with the management key: external or mutual (NIST SP 800-73-4 part 2 appendix A.1).
    pub(super) fn authenticate(&mut self, command: &Command<'_>) -> Answer {
        if command.p1 != self.management.algorithm {
            return Err(Status::WRONG_PARAMETERS);
        }
        let elements = tlv::unwrap(command.data, 0x7C).ok_or(Status::WRONG_DATA)?;
        let waiting = self.session.challenge.take();
        self.session.managing = false;
        let part = |tag| tlv::find(&elements, tag);
        match (part(WITNESS), part(CHALLENGE), part(RESPONSE)) {
            (Some([]), None, None) => {
                let witness = self.random()?;
                let encrypted = self.management.encrypt(&witness).ok_or(Status::FAILED)?;
                self.session.challenge = Some(witness);
                Ok(tlv::encode(0x7C, &tlv::encode(WITNESS, &encrypted)))
            }
            (None, Some([]), None) => {
                let challenge = self.random()?;
                let shown = tlv::encode(0x7C, &tlv::encode(CHALLENGE, &challenge));
                self.session.challenge = self.management.encrypt(&challenge);
                Ok(shown)
            }
            (Some(witness), Some(challenge), _) => {
                self.accept(waiting, witness)?;
                let response = self.management.encrypt(challenge).ok_or(Status::WRONG_DATA)?;
                Ok(tlv::encode(0x7C, &tlv::encode(RESPONSE, &response)))
            }
            (None, None, Some(response)) => {
                self.accept(waiting, response)?;
                Ok(Vec::new())
            }
            _ => Err(Status::WRONG_DATA),
        }
    }

    fn accept(&mut self, waiting: Option<Vec<u8>>, given: &[u8]) -> Result<(), Status> {
        let expected = waiting.ok_or(Status::CONDITIONS)?;
        if given != expected {
            return Err(Status::SECURITY);
        }
        self.session.managing = true;
        Ok(())
    }

    fn random(&self) -> Result<Vec<u8>, Status> {
        let mut bytes = vec![0; self.management.block_len()];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Status::FAILED)?;
        Ok(bytes)
    }

    /// Yubico's SET MANAGEMENT KEY: algorithm, reference, length, key.
    pub(super) fn set_management_key(&mut self, command: &Command<'_>) -> Answer {
        self.require_management()?;
        let [algorithm, REFERENCE, length, key @ ..] = command.data else { return Err(Status::WRONG_DATA) };
        if usize::from(*length) != key.len() {
            return Err(Status::WRONG_DATA);
        }
        // AES came with firmware 5.4.
        if *algorithm != TRIPLE_DES && self.identity.version < [5, 4, 0] {
            return Err(Status::WRONG_DATA);
        }
        self.management = ManagementKey::new(*algorithm, key).ok_or(Status::WRONG_DATA)?;
        Ok(Vec::new())
    }

    /// Algorithm, policies (PIN: none, touch: never) and whether the key is the factory's.
    pub(super) fn management_metadata(&self) -> Vec<u8> {
        let is_factory = u8::from(self.management.bytes == FACTORY);
        [tlv::encode(1, &[self.management.algorithm]), tlv::encode(2, &[0, 1]), tlv::encode(5, &[is_factory])]
            .concat()
    }
}

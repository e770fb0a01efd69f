//! How a key signs a digest: by the token's own PSS, by raw RSA with the padding built here, or by ECDSA.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use prokura_plugin::{Digest, Error, HashAlgorithm, KeySpec};

/// What a signature is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `CKM_RSA_PKCS_PSS`: the token pads.
    Pss,
    /// `CKM_RSA_X_509`: the token only exponentiates; the padding is built here.
    RawRsa,
    /// `CKM_ECDSA` over the digest, which returns `r ‖ s` (PKCS#11 v3.1 section 6.3.12).
    Ecdsa,
}

/// The mechanisms a key may sign with, the better one first.
pub const SIGNING: [MechanismType; 3] =
    [MechanismType::RSA_PKCS_PSS, MechanismType::RSA_X_509, MechanismType::ECDSA];

impl Scheme {
    /// The scheme for a key in a token that can sign with `mechanisms`; otherwise which are missing.
    ///
    /// # Errors
    /// The names of the mechanisms of which the token has none.
    pub fn choose(spec: KeySpec, mechanisms: &[MechanismType]) -> Result<Self, &'static str> {
        let has = |mechanism| mechanisms.contains(&mechanism);
        match spec.is_rsa() {
            true if has(MechanismType::RSA_PKCS_PSS) => Ok(Self::Pss),
            true if has(MechanismType::RSA_X_509) => Ok(Self::RawRsa),
            true => Err("CKM_RSA_PKCS_PSS or CKM_RSA_X_509"),
            false if has(MechanismType::ECDSA) => Ok(Self::Ecdsa),
            false => Err("CKM_ECDSA"),
        }
    }

    /// What else may sign where the token lists this scheme and then refuses it: some have `CKM_RSA_PKCS_PSS` for SHA-1
    /// alone, or not with a salt as long as the digest, and no list says so.
    pub fn spare(self, mechanisms: &[MechanismType]) -> Option<Self> {
        (self == Self::Pss && mechanisms.contains(&MechanismType::RSA_X_509)).then_some(Self::RawRsa)
    }

    /// The mechanism, with its parameters.
    pub fn mechanism(self, hash: HashAlgorithm) -> Mechanism<'static> {
        match self {
            Self::Pss => Mechanism::RsaPkcsPss(pss(hash)),
            Self::RawRsa => Mechanism::RsaX509,
            Self::Ecdsa => Mechanism::Ecdsa,
        }
    }

    /// What is handed to the token for a digest: the digest, or for raw RSA a padded block as long as the modulus.
    ///
    /// # Errors
    /// `ERROR` if the operating system has no random numbers for the salt.
    pub fn input(self, spec: KeySpec, digest: &Digest) -> Result<Vec<u8>, Error> {
        if self != Self::RawRsa {
            return Ok(digest.bytes().to_vec());
        }
        let mut salt = vec![0; digest.bytes().len()];
        let mut filled = 0;
        while let Some(rest) = salt.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled +=
                rustix::rand::getrandom(rest, flags).map_err(|e| Error::internal(format!("no salt: {e}")))?;
        }
        Ok(encoded(digest, &salt, spec.signature_len()))
    }
}

/// MGF1 over the digest's own hash and a salt as long as the digest (PKCS#11 v3.1 section 6.1.10).
fn pss(hash: HashAlgorithm) -> PkcsPssParams {
    let (hash_alg, mgf, s_len) = match hash {
        HashAlgorithm::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
        HashAlgorithm::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
        HashAlgorithm::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
    };
    PkcsPssParams { hash_alg, mgf, s_len: cryptoki::types::Ulong::new(s_len) }
}

/// EMSA-PSS-ENCODE (RFC 8017 section 9.1.1) for a modulus of `len` bytes, all bits of which are used: one bit less
/// than the modulus has, so that the highest bit is zero.
fn encoded(digest: &Digest, salt: &[u8], len: usize) -> Vec<u8> {
    const TRAILER: u8 = 0xBC;
    let hash = Digest::of(digest.algorithm(), &[&[0; 8], digest.bytes(), salt].concat());
    let block_len = len.saturating_sub(hash.bytes().len() + 1);
    let zeros = block_len.saturating_sub(salt.len() + 1);
    let block = [vec![0; zeros], vec![1], salt.to_vec()].concat();
    let mask = mgf1(&hash, block_len);
    let mut masked: Vec<u8> = block.iter().zip(mask).map(|(b, m)| b ^ m).collect();
    if let Some(first) = masked.first_mut() {
        *first &= 0x7F;
    }
    [&masked, hash.bytes(), &[TRAILER]].concat()
}

/// The mask generation function of RFC 8017 appendix B.2.1.
fn mgf1(seed: &Digest, len: usize) -> Vec<u8> {
    let blocks = (0u32..).map(|counter| {
        let input = [seed.bytes(), &counter.to_be_bytes()].concat();
        Digest::of(seed.algorithm(), &input).bytes().to_vec()
    });
    blocks.flatten().take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_own_padding_is_preferred_and_what_is_missing_named() {
        let all = SIGNING.to_vec();
        assert_eq!(Scheme::choose(KeySpec::Rsa2048, &all), Ok(Scheme::Pss));
        assert_eq!(Scheme::choose(KeySpec::Rsa2048, &[MechanismType::RSA_X_509]), Ok(Scheme::RawRsa));
        assert_eq!(Scheme::choose(KeySpec::Ec256, &all), Ok(Scheme::Ecdsa));
        assert!(
            Scheme::choose(KeySpec::Rsa2048, &[MechanismType::ECDSA]).unwrap_err().contains("CKM_RSA_X_509")
        );
        assert_eq!(Scheme::choose(KeySpec::Ec521, &[MechanismType::RSA_X_509]), Err("CKM_ECDSA"));
    }

    #[test]
    fn padded_blocks_can_be_taken_apart_again() {
        for (hash, len) in
            [(HashAlgorithm::Sha256, 256), (HashAlgorithm::Sha384, 384), (HashAlgorithm::Sha512, 512)]
        {
            let digest = Digest::of(hash, b"message");
            let salt = vec![0xA5; hash.digest_len()];
            let block = encoded(&digest, &salt, len);
            assert_eq!((block.len(), block[len - 1], block[0] & 0x80), (len, 0xBC, 0), "{hash}");
            // EMSA-PSS-VERIFY (RFC 8017 section 9.1.2).
            let (masked, rest) = block.split_at(len - hash.digest_len() - 1);
            let seed = Digest::from_bytes(hash, rest[..hash.digest_len()].to_vec()).unwrap();
            let mut opened: Vec<u8> =
                masked.iter().zip(mgf1(&seed, masked.len())).map(|(b, m)| b ^ m).collect();
            opened[0] &= 0x7F;
            let zeros = opened.len() - salt.len() - 1;
            assert!(opened[..zeros].iter().all(|b| *b == 0) && opened[zeros] == 1, "{hash}");
            assert_eq!(opened[zeros + 1..], salt);
            let expected = Digest::of(hash, &[&[0; 8], digest.bytes(), &salt[..]].concat());
            assert_eq!(expected.bytes(), seed.bytes());
        }
    }

    #[test]
    fn salts_are_fresh() {
        let digest = Digest::of(HashAlgorithm::Sha256, b"m");
        let input = || Scheme::RawRsa.input(KeySpec::Rsa2048, &digest).unwrap();
        assert_ne!(input(), input());
        assert_eq!(Scheme::Ecdsa.input(KeySpec::Ec256, &digest).unwrap(), digest.bytes());
    }
}

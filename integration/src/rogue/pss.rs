//! RSASSA-PSS (RFC 8017 section 9.1) with the longest salt there is room for, as some vaults make it.
//!
//! No library in this house makes such a signature, and rightly: the contract wants a salt as long as the hash. The
//! arithmetic below is slow, leaks its key through time and is good for one misbehaving test plugin.

use anyhow::{Context as _, Result, ensure};
use prokura_plugin::{Digest, HashAlgorithm};
use x509_cert::der::asn1::{AnyRef, OctetStringRef, UintRef};
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

/// Signs with a PKCS#8 RSA key.
pub(super) fn sign_with_longest_salt(pkcs8: &[u8], digest: &Digest) -> Result<Vec<u8>> {
    let (modulus, exponent) = private_key(pkcs8)?;
    let width = modulus.len();
    ensure!(modulus.first().is_some_and(|byte| byte & 0x80 != 0) && width % 8 == 0, "an unusual modulus");
    let encoded = encode(digest, width)?;
    Ok(power(&encoded, &exponent, &modulus))
}

/// Modulus and private exponent of RSAPrivateKey in PrivateKeyInfo, big-endian.
fn private_key(pkcs8: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(pkcs8)?;
    let inner = reader.sequence(|info| {
        UintRef::decode(info)?;
        AnyRef::decode(info)?;
        <&OctetStringRef>::decode(info)
    })?;
    let mut reader = SliceReader::new(inner.as_bytes())?;
    let numbers = reader.sequence(|key| {
        let numbers = std::iter::from_fn(|| (!key.is_finished()).then(|| UintRef::decode(key)));
        numbers.map(|number| number.map(|n| n.as_bytes().to_vec())).collect::<Result<Vec<_>, _>>()
    })?;
    let [_version, modulus, _public, private, ..] = numbers.as_slice() else {
        anyhow::bail!("an RSA key has at least four numbers")
    };
    Ok((modulus.clone(), private.clone()))
}

/// EMSA-PSS-ENCODE for a modulus of `width` whole bytes.
fn encode(digest: &Digest, width: usize) -> Result<Vec<u8>> {
    let hash = digest.algorithm();
    let hash_len = digest.bytes().len();
    let salt = super::key::random(width.checked_sub(hash_len + 2).context("a modulus wider than the hash")?)?;
    let message = [&[0; 8], digest.bytes(), &salt].concat();
    let h = Digest::of(hash, &message).bytes().to_vec();
    let mut block = [&[1], salt.as_slice()].concat();
    for (byte, mask) in block.iter_mut().zip(mask(hash, &h, width - hash_len - 1)) {
        *byte ^= mask;
    }
    if let Some(first) = block.first_mut() {
        *first &= 0x7f;
    }
    Ok([block.as_slice(), &h, &[0xbc]].concat())
}

/// MGF1 (RFC 8017 appendix B.2.1).
fn mask(hash: HashAlgorithm, seed: &[u8], len: usize) -> Vec<u8> {
    let blocks = (0u32..)
        .flat_map(|counter| Digest::of(hash, &[seed, &counter.to_be_bytes()].concat()).bytes().to_vec());
    blocks.take(len).collect()
}

/// `base ^ exponent mod modulus`, all big-endian; the result is as wide as the modulus.
fn power(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let field = Montgomery::new(limbs(modulus));
    let base = field.enter(limbs(base));
    let mut result = field.enter(one(field.modulus.len()));
    for bit in exponent.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)) {
        result = field.times(&result, &result);
        if bit == 1 {
            result = field.times(&result, &base);
        }
    }
    let result = field.times(&result, &one(field.modulus.len()));
    result.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect()
}

fn limbs(bytes: &[u8]) -> Vec<u64> {
    let limb = |chunk: &[u8]| chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    bytes.rchunks(8).map(limb).collect()
}

fn one(len: usize) -> Vec<u64> {
    let mut limbs = vec![0; len];
    if let Some(first) = limbs.first_mut() {
        *first = 1;
    }
    limbs
}

/// Numbers below an odd modulus, least significant limb first, in Montgomery's form.
struct Montgomery {
    modulus: Vec<u64>,
    /// `-modulus^-1 mod 2^64`
    inverse: u64,
}

impl Montgomery {
    fn new(modulus: Vec<u64>) -> Self {
        let low = modulus.first().copied().unwrap_or(1);
        // Each step doubles the number of right bits (Newton).
        let inverse = (0..6).fold(1u64, |x, _| x.wrapping_mul(2u64.wrapping_sub(low.wrapping_mul(x))));
        Self { modulus, inverse: inverse.wrapping_neg() }
    }

    /// `number * 2^(64 * len)`: doubled as often.
    fn enter(&self, number: Vec<u64>) -> Vec<u64> {
        (0..64 * self.modulus.len()).fold(number, |number, _| {
            let mut carry = 0;
            let doubled: Vec<u64> = number
                .iter()
                .map(|limb| {
                    let out = limb << 1 | carry;
                    carry = limb >> 63;
                    out
                })
                .collect();
            self.reduced(doubled, carry)
        })
    }

    fn times(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut sum: Vec<u64> = vec![0; self.modulus.len() + 2];
        for limb in a {
            add_product(&mut sum, b, *limb);
            let factor = sum.first().copied().unwrap_or(0).wrapping_mul(self.inverse);
            add_product(&mut sum, &self.modulus, factor);
            sum.rotate_left(1);
        }
        let carry = sum.get(self.modulus.len()).copied().unwrap_or(0);
        sum.truncate(self.modulus.len());
        self.reduced(sum, carry)
    }

    /// Subtracts the modulus once if the number with its carry is not below it.
    fn reduced(&self, number: Vec<u64>, carry: u64) -> Vec<u64> {
        if carry == 0 && number.iter().rev().lt(self.modulus.iter().rev()) {
            return number;
        }
        let mut borrow = false;
        let subtract = |(a, b): (&u64, &u64)| {
            let (first, under) = a.overflowing_sub(*b);
            let (second, under_again) = first.overflowing_sub(u64::from(borrow));
            borrow = under || under_again;
            second
        };
        number.iter().zip(&self.modulus).map(subtract).collect()
    }
}

fn add_product(sum: &mut [u64], limbs: &[u64], factor: u64) {
    let mut carry: u64 = 0;
    let padded = limbs.iter().copied().chain(std::iter::repeat(0));
    for (place, limb) in sum.iter_mut().zip(padded) {
        let full = u128::from(*place) + u128::from(limb) * u128::from(factor) + u128::from(carry);
        let low = full & u128::from(u64::MAX);
        (*place, carry) = (u64::try_from(low).unwrap_or(0), u64::try_from(full >> 64).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_right() {
        let modulus = 0xffff_ffff_ffff_ffc5_u64.to_be_bytes();
        assert_eq!(power(&[3], &[5], &modulus), 243u64.to_be_bytes());
        // Fermat: the modulus is a prime.
        let order = 0xffff_ffff_ffff_ffc4_u64.to_be_bytes();
        assert_eq!(power(&[7], &order, &modulus), 1u64.to_be_bytes());
        let wide = [[0xff; 16].as_slice(), &[0xff; 7], &[0x61]].concat();
        assert_eq!(power(&[2], &[10], &wide).last(), Some(&0));
        assert_eq!(power(&[2], &[10], &wide).get(22), Some(&4));
    }

    #[test]
    fn the_signature_verifies_where_any_salt_is_taken() {
        let pair = crate::pki::generate_key(prokura_plugin::KeySpec::Rsa2048).unwrap();
        let digest = Digest::of(HashAlgorithm::Sha256, b"to be signed");
        let signature = sign_with_longest_salt(pair.serialized_der(), &digest).unwrap();
        let (modulus, _) = private_key(pair.serialized_der()).unwrap();
        let encoded = power(&signature, &[1, 0, 1], &modulus);
        assert_eq!((encoded.len(), encoded.last()), (256, Some(&0xbc)));
        assert_eq!(encoded[223..255].len(), 32);
        let mask = mask(HashAlgorithm::Sha256, &encoded[223..255], 223);
        let block: Vec<u8> = encoded.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
        // The first bit is cleared; the salt begins behind the 1 in the first byte.
        assert_eq!(block[0] & 0x7f, 1);
        let message = [&[0; 8], digest.bytes(), &block[1..]].concat();
        assert_eq!(Digest::of(HashAlgorithm::Sha256, &message).bytes(), &encoded[223..255]);
    }
}

//! EMSA-PSS (RFC 8017 section 9.1.1): the padded block a YubiKey signs as a bare number.

use aws_lc_rs::digest::{self, Context};
use aws_lc_rs::rand;
use prokura_plugin::{Digest, Error, HashAlgorithm};

/// The hash function of a digest.
pub(crate) const fn algorithm(hash: HashAlgorithm) -> &'static digest::Algorithm {
    match hash {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    }
}

/// Pads a digest for a modulus of `modulus_bytes` with its highest bit set, with a fresh salt as long as the digest
/// and MGF1 over the same hash.
///
/// # Errors
/// `ERROR` without random numbers, or if the modulus is too short for the digest.
pub(crate) fn encode(digest: &Digest, modulus_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut salt = vec![0; digest.bytes().len()];
    rand::fill(&mut salt).map_err(|_| Error::internal("the operating system gave no random numbers"))?;
    with_salt(digest, modulus_bytes, &salt)
        .ok_or_else(|| Error::internal("the modulus is too short for this digest"))
}

/// Section 9.1.1, steps 5 to 12, for emBits = 8 * `modulus_bytes` - 1.
fn with_salt(digest: &Digest, modulus_bytes: usize, salt: &[u8]) -> Option<Vec<u8>> {
    const ZEROS: [u8; 8] = [0; 8];
    let hash = algorithm(digest.algorithm());
    let mut context = Context::new(hash);
    for part in [&ZEROS[..], digest.bytes(), salt] {
        context.update(part);
    }
    let seed = context.finish();
    let padding = modulus_bytes.checked_sub(seed.as_ref().len() + salt.len() + 2)?;
    let mut block = [&vec![0; padding][..], &[1], salt].concat();
    block.iter_mut().zip(mask(hash, seed.as_ref())).for_each(|(byte, mask)| *byte ^= mask);
    *block.first_mut()? &= 0x7F;
    block.extend_from_slice(seed.as_ref());
    block.push(0xBC);
    Some(block)
}

/// MGF1 (appendix B.2.1), as long as it is asked for.
fn mask(hash: &'static digest::Algorithm, seed: &[u8]) -> impl Iterator<Item = u8> {
    let seed = seed.to_vec();
    (0_u32..).flat_map(move |counter| {
        let mut context = Context::new(hash);
        context.update(&seed);
        context.update(&counter.to_be_bytes());
        context.finish().as_ref().to_vec()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_form_of_the_standard() {
        for (hash, modulus_bytes) in
            [(HashAlgorithm::Sha256, 256), (HashAlgorithm::Sha384, 384), (HashAlgorithm::Sha512, 512)]
        {
            let length = hash.digest_len();
            let digest = Digest::from_bytes(hash, vec![0x5A; length]).unwrap();
            let (first, second) =
                (encode(&digest, modulus_bytes).unwrap(), encode(&digest, modulus_bytes).unwrap());
            assert_ne!(first, second, "the salt is fresh");
            assert_eq!((first.len(), first.last(), first[0] & 0x80), (modulus_bytes, Some(&0xBC), 0));
            // Unmasked: zeros, 01, salt; and the hash over it is the one in the block (section 9.1.2).
            let (masked, seed) = first[..modulus_bytes - 1].split_at(modulus_bytes - 1 - length);
            let mut block: Vec<u8> =
                masked.iter().zip(mask(algorithm(hash), seed)).map(|(a, b)| a ^ b).collect();
            block[0] &= 0x7F;
            let salt = block.split_off(block.len() - length);
            assert_eq!(block.pop(), Some(1));
            assert!(block.iter().all(|b| *b == 0));
            assert_eq!(with_salt(&digest, modulus_bytes, &salt), Some(first));
        }
    }

    #[test]
    fn a_modulus_that_is_too_short_is_refused() {
        let digest = Digest::from_bytes(HashAlgorithm::Sha512, vec![0; 64]).unwrap();
        assert!(encode(&digest, 129).is_err());
        assert!(encode(&digest, 130).is_ok());
    }
}

//! The receipt of a signature: whether it has the form of one, and its proof leads from entry to checkpoint.
//!
//! The signature of the checkpoint is for whoever knows the log's key; this plugin does not.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prokura_plugin::{Digest, HashAlgorithm};
use prokura_proto::broker::v1::Receipt;

use crate::limits::{PROOF_HASHES_MAX, RECEIPT_BYTES_MAX};

const HASH_BYTES: usize = 32;

/// The index of the entry, if the receipt proves it to be in a log of its checkpoint; else what is wrong with it.
pub(super) fn checked(receipt: Option<&Receipt>) -> Result<u64, String> {
    let receipt = receipt.ok_or("has no receipt")?;
    let wrong = |what: &str| format!("has a receipt that is none: {what}");
    if receipt.entry.is_empty() || receipt.entry.len().max(receipt.checkpoint.len()) > RECEIPT_BYTES_MAX {
        return Err(wrong("its entry is empty, or entry or checkpoint too large"));
    }
    if receipt.proof.len() > PROOF_HASHES_MAX || receipt.proof.iter().any(|hash| hash.len() != HASH_BYTES) {
        return Err(wrong("its proof is no list of SHA-256 hashes"));
    }
    let (size, root) = checkpoint(&receipt.checkpoint).ok_or_else(|| wrong("its checkpoint is none"))?;
    if receipt.index >= size {
        return Err(wrong("its entry is not below the size of the checkpoint"));
    }
    match led_to(receipt, size) {
        Some(found) if found == root => Ok(receipt.index),
        _ => Err(wrong("its proof does not lead to the root of the checkpoint")),
    }
}

/// Size and root of a checkpoint: origin, size, root, further lines, an empty line, signatures (C2SP tlog-checkpoint).
fn checkpoint(text: &str) -> Option<(u64, Vec<u8>)> {
    let (body, signatures) = text.split_once("\n\n")?;
    let mut lines = body.lines();
    lines.next().filter(|origin| !origin.is_empty())?;
    let digits = lines.next().filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
    let size = digits.parse().ok().filter(|_| digits == "0" || !digits.starts_with('0'))?;
    let root = BASE64_STANDARD.decode(lines.next()?).ok().filter(|root| root.len() == HASH_BYTES)?;
    let is_signed = !signatures.is_empty() && signatures.lines().all(|line| line.starts_with("\u{2014} "));
    (is_signed && signatures.ends_with('\n')).then_some((size, root))
}

/// The root that the proof leads to (RFC 9162 section 2.1.3.2); `None` if it is of another length.
fn led_to(receipt: &Receipt, size: u64) -> Option<Vec<u8>> {
    let (mut node, mut last) = (receipt.index, size.checked_sub(1)?);
    let mut hash = hashed(0, &[&receipt.entry]);
    for sibling in &receipt.proof {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = hashed(1, &[sibling, &hash]);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = hashed(1, &[&hash, sibling]);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

fn hashed(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let all = [&[prefix][..], &parts.concat()].concat();
    Digest::of(HashAlgorithm::Sha256, &all).bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of the refusal, and what was done to the receipt.
    type Fault = (&'static str, fn(&mut Receipt));

    fn entry(n: u64) -> Vec<u8> {
        format!("entry {n}").into_bytes()
    }

    /// RFC 9162 section 2.1.1, by its recursive definition.
    fn root(entries: &[Vec<u8>]) -> Vec<u8> {
        match entries {
            [] => Vec::new(),
            [one] => hashed(0, &[one]),
            _ => {
                let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
                hashed(1, &[&root(left), &root(right)])
            }
        }
    }

    /// RFC 9162 section 2.1.3.1.
    fn path(index: usize, entries: &[Vec<u8>]) -> Vec<Vec<u8>> {
        if entries.len() == 1 {
            return Vec::new();
        }
        let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
        let (mut path, sibling) = match index.checked_sub(left.len()) {
            None => (path(index, left), root(right)),
            Some(index) => (path(index, right), root(left)),
        };
        path.push(sibling);
        path
    }

    fn receipt(index: usize, size: u64) -> Receipt {
        let entries: Vec<_> = (0..size).map(entry).collect();
        let root = BASE64_STANDARD.encode(root(&entries));
        Receipt {
            index: index as u64,
            entry: entries[index].clone(),
            proof: path(index, &entries),
            checkpoint: format!("broker.example/log\n{size}\n{root}\n\n\u{2014} broker.example/log AAAA\n"),
        }
    }

    #[test]
    fn every_entry_of_every_small_log_is_proved() {
        for size in 1..=33 {
            for index in 0..size {
                assert_eq!(checked(Some(&receipt(index as usize, size))), Ok(index), "{index} of {size}");
            }
        }
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        let faults: [Fault; 11] = [
            ("entry is empty", |r| r.entry.clear()),
            ("too large", |r| r.checkpoint.push_str(&"x".repeat(RECEIPT_BYTES_MAX))),
            ("no list of SHA-256", |r| r.proof[0].truncate(31)),
            ("no list of SHA-256", |r| r.proof = vec![vec![0; 32]; 64]),
            ("checkpoint is none", |r| r.checkpoint = r.checkpoint.replace("\n\n", "\n")),
            ("checkpoint is none", |r| r.checkpoint = r.checkpoint.replace("\n7\n", "\n07\n")),
            ("not below the size", |r| r.index = 7),
            ("does not lead", |r| r.index += 1),
            ("does not lead", |r| r.entry[0] ^= 1),
            ("does not lead", |r| r.proof[1][5] ^= 1),
            ("does not lead", |r| drop(r.proof.pop())),
        ];
        for (words, fault) in faults {
            let mut bad = receipt(3, 7);
            fault(&mut bad);
            let error = checked(Some(&bad)).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        assert_eq!(checked(None).unwrap_err(), "has no receipt");
    }
}

//! One commit in a segment of the journal: a frame, whole or not there.
//!
//! ```text
//! "prkF"  count u32  first index u64  payload length u32   big-endian
//! payload: the entries as in an entry bundle (C2SP tlog-tiles)
//! SHA-256 of the previous frame's SHA-256 and all of the above
//! zeros up to a multiple of 512
//! ```
//!
//! A disk writes sectors of 512 bytes whole, so no acknowledged byte is written again by the frame after it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::super::tiles::{add_to_bundle, parse_bundle};
use super::super::tree::{Hash, sha256};
use crate::limits::{AUDIT_COMMIT_BYTES_MAX, AUDIT_COMMIT_ENTRIES_MAX};

/// What a disk writes whole.
pub(super) const SECTOR: u64 = 512;

const MAGIC: &[u8; 4] = b"prkF";
const HEADER: usize = 20;
const HASH: usize = 32;

/// A commit as it was read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) first: u64,
    pub(super) entries: Vec<Vec<u8>>,
    /// Its SHA-256, which the next frame continues.
    pub(super) chain: Hash,
    /// Bytes in the file, padding included.
    pub(super) length: u64,
}

/// What stands at a place of a segment.
#[derive(Debug)]
pub(super) enum Found {
    Frame(Frame),
    /// No whole frame: nothing, a torn one, or a damaged one.
    Nothing,
}

/// The bytes of a frame and its SHA-256.
pub(super) fn encode(first: u64, entries: &[Vec<u8>], chain: &Hash) -> (Vec<u8>, Hash) {
    let mut payload = Vec::new();
    entries.iter().for_each(|entry| add_to_bundle(&mut payload, entry));
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + HASH + 512);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&number(entries.len()));
    bytes.extend_from_slice(&first.to_be_bytes());
    bytes.extend_from_slice(&number(payload.len()));
    bytes.extend_from_slice(&payload);
    let chain = sha256(&[chain, &bytes]);
    bytes.extend_from_slice(&chain);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    (bytes, chain)
}

/// Reads what stands at `offset`; it must continue `chain` with entry `first`.
pub(super) fn read(file: &File, offset: u64, first: u64, chain: &Hash) -> io::Result<Found> {
    Ok(match read_any(file, offset, Some(chain))? {
        Some(frame) if frame.first == first => Found::Frame(frame),
        _ => Found::Nothing,
    })
}

/// Whether anything but zeros follows in the segment, and whether a frame of a later commit is among it.
pub(super) fn rest(file: &File, from: u64, end: u64, first: u64) -> io::Result<(bool, bool)> {
    let (mut any, mut later) = (false, false);
    let mut offset = from;
    let mut block = vec![0_u8; 128 * 1024];
    while offset < end {
        let length = usize::try_from(end - offset).map_or(block.len(), |left| left.min(block.len()));
        let Some(block) = block.get_mut(..length) else { break };
        file.read_exact_at(block, offset)?;
        if block.iter().any(|byte| *byte != 0) {
            any = true;
            for (number, sector) in (0_u64..).zip(block.chunks(512)) {
                let place = offset + number * SECTOR;
                if sector.starts_with(MAGIC) {
                    // Its chain is not known, so its SHA-256 cannot be checked; its form can.
                    later |= read_any(file, place, None)?.is_some_and(|frame| frame.first > first);
                }
            }
        }
        offset += length as u64;
    }
    Ok((any, later))
}

fn read_any(file: &File, offset: u64, chain: Option<&Hash>) -> io::Result<Option<Frame>> {
    let mut header = [0_u8; HEADER];
    if !read_whole(file, &mut header, offset)? {
        return Ok(None);
    }
    let Some((count, first, length)) = parse_header(&header) else { return Ok(None) };
    let padded = (HEADER + length + HASH).next_multiple_of(512);
    let mut rest = vec![0_u8; padded - HEADER];
    if !read_whole(file, &mut rest, offset + HEADER as u64)? {
        return Ok(None);
    }
    let (payload, rest) = rest.split_at(length);
    let Some((found, padding)) = rest.split_first_chunk::<HASH>() else { return Ok(None) };
    let wrong = |chain: &Hash| sha256(&[chain, &header, payload]) != *found;
    if chain.is_some_and(wrong) || padding.iter().any(|byte| *byte != 0) {
        return Ok(None);
    }
    let entries = parse_bundle(payload).filter(|entries| entries.len() == count);
    let entries = entries.map(|entries| entries.into_iter().map(<[u8]>::to_vec).collect());
    Ok(entries.map(|entries| Frame { first, entries, chain: *found, length: padded as u64 }))
}

/// Count, first index, length of the payload.
fn parse_header(header: &[u8; HEADER]) -> Option<(usize, u64, usize)> {
    let rest = header.strip_prefix(MAGIC)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
    let length = usize::try_from(u32::from_be_bytes(rest.try_into().ok()?)).ok()?;
    let bounded = (1..=AUDIT_COMMIT_ENTRIES_MAX).contains(&count) && length <= 2 * AUDIT_COMMIT_BYTES_MAX;
    bounded.then_some((count, u64::from_be_bytes(*first), length))
}

/// Whether there were so many bytes.
fn read_whole(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

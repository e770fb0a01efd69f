//! Walks CBOR before anything is built from it, so that hostile bytes cost neither memory nor stack.
//!
//! Refuses what deterministic encoding never holds and parsers disagree on: indefinite lengths, keys twice or of odd
//! types, bytes behind the end; and bounds depth and number of items. Every declared length is held against what is
//! left before it is used (RFC 8949 section 10).

use std::collections::HashSet;

use crate::limits::{CBOR_DEPTH_MAX, CBOR_ITEMS_MAX, CBOR_KEY_BYTES_MAX};

/// Checks one data item that fills `bytes` exactly.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut scan = Scan { rest: bytes, items: 0 };
    scan.item(0)?;
    match scan.rest.len() {
        0 => Ok(()),
        more => Err(format!("{more} bytes behind the end")),
    }
}

struct Scan<'a> {
    rest: &'a [u8],
    items: usize,
}

/// A map key by its meaning, so that two encodings of one number are one key.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Unsigned(u64),
    Negative(u64),
    Text(&'a [u8]),
}

const MAJOR_UNSIGNED: u8 = 0;
const MAJOR_NEGATIVE: u8 = 1;
const MAJOR_BYTES: u8 = 2;
const MAJOR_TEXT: u8 = 3;
const MAJOR_ARRAY: u8 = 4;
const MAJOR_MAP: u8 = 5;
const MAJOR_TAG: u8 = 6;

impl<'a> Scan<'a> {
    fn item(&mut self, depth: usize) -> Result<(), String> {
        let (major, argument) = self.head()?;
        if matches!(major, MAJOR_ARRAY | MAJOR_MAP | MAJOR_TAG) && depth == CBOR_DEPTH_MAX {
            return Err(format!("nested deeper than {CBOR_DEPTH_MAX} levels"));
        }
        match major {
            MAJOR_BYTES | MAJOR_TEXT => self.take(argument).map(|_| ()),
            MAJOR_ARRAY => (0..self.count(argument, 1)?).try_for_each(|_| self.item(depth + 1)),
            MAJOR_MAP => self.map(self.count(argument, 2)?, depth),
            MAJOR_TAG => self.item(depth + 1),
            // Numbers are their head; so are simple values and floats.
            _ => Ok(()),
        }
    }

    fn map(&mut self, entries: u64, depth: usize) -> Result<(), String> {
        let mut keys = HashSet::new();
        for _ in 0..entries {
            let key = self.key()?;
            if !keys.insert(key) {
                return Err("a map has a key twice".to_owned());
            }
            self.item(depth + 1)?;
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Key<'a>, String> {
        match self.head()? {
            (MAJOR_UNSIGNED, number) => Ok(Key::Unsigned(number)),
            (MAJOR_NEGATIVE, number) => Ok(Key::Negative(number)),
            (MAJOR_TEXT, len) => {
                let text = self.take(len)?;
                if text.len() > CBOR_KEY_BYTES_MAX {
                    return Err(format!("a map has a key longer than {CBOR_KEY_BYTES_MAX} bytes"));
                }
                Ok(Key::Text(text))
            }
            _ => Err("a map has a key that is neither integer nor text".to_owned()),
        }
    }

    /// Major type and argument (RFC 8949 section 3).
    fn head(&mut self) -> Result<(u8, u64), String> {
        self.items += 1;
        if self.items > CBOR_ITEMS_MAX {
            return Err(format!("more than {CBOR_ITEMS_MAX} data items"));
        }
        let initial = self.take(1)?.first().copied().unwrap_or_default();
        let argument = match initial & 0x1F {
            small @ 0..=23 => u64::from(small),
            24 => self.number(1)?,
            25 => self.number(2)?,
            26 => self.number(4)?,
            27 => self.number(8)?,
            31 => return Err("an indefinite length, expected definite lengths only".to_owned()),
            reserved => return Err(format!("reserved additional information {reserved}")),
        };
        Ok((initial >> 5, argument))
    }

    fn number(&mut self, len: u64) -> Result<u64, String> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// A declared number of elements that `each` bytes of what is left can hold at least.
    fn count(&self, declared: u64, each: u64) -> Result<u64, String> {
        let left = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        if declared > left / each {
            return Err(format!("{declared} elements declared, {left} bytes left"));
        }
        Ok(declared)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let taken = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = taken.ok_or_else(|| format!("{len} bytes expected, {} left", self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_items_pass() {
        // 18([h'A0', {1: -7, "a": [1.5, true, null]}, h'', h''])
        let bytes = [
            0xD2, 0x84, 0x41, 0xA0, 0xA2, 0x01, 0x26, 0x61, b'a', 0x83, 0xF9, 0x3E, 0x00, 0xF5, 0xF6, 0x40,
            0x40,
        ];
        assert_eq!(check(&bytes), Ok(()));
        for end in 0..bytes.len() {
            assert!(check(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn what_no_envelope_holds_is_refused_with_the_reason() {
        let cases: [(&[u8], &str); 9] = [
            (&[0x9F, 0x01, 0xFF], "indefinite"),
            (&[0x5F, 0x41, 0x00, 0xFF], "indefinite"),
            (&[0xA2, 0x01, 0x00, 0x18, 0x01, 0x00], "key twice"),
            (&[0xA2, 0x61, b'a', 0x00, 0x61, b'a', 0x00], "key twice"),
            (&[0xA1, 0xA0, 0x00], "neither integer nor text"),
            (&[0x01, 0x01], "1 bytes behind"),
            (&[0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "elements declared"),
            (&[0x5B, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "bytes expected"),
            (&[0x1C], "reserved"),
        ];
        for (bytes, expected) in cases {
            let error = check(bytes).unwrap_err();
            assert!(error.contains(expected), "{bytes:02x?}: {error}");
        }
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        for brick in [0x81, 0xC1] {
            assert!(check(&vec![brick; 10_000_000]).unwrap_err().contains("nested deeper"));
        }
        let maps: Vec<u8> = [0xA1, 0x01].repeat(1_000_000);
        assert!(check(&maps).unwrap_err().contains("nested deeper"));
        let wide = [&[0x99, 0xFF, 0xFF][..], &[0; 0xFFFF]].concat();
        assert!(check(&wide).unwrap_err().contains("more than"));
        let long_key = [&[0xA1, 0x79, 0xFF, 0xFF][..], &[b'a'; 0xFFFF], &[0]].concat();
        assert!(check(&long_key).unwrap_err().contains("key longer"));
    }
}

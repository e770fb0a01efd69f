//! Just enough CBOR (RFC 8949) to write envelopes that no library would write.

const EPOCH_TIME: u64 = 1;
const COSE_SIGN1: u64 = 18;

fn head(major: u8, number: u64) -> Vec<u8> {
    let major = major << 5;
    match number {
        0..=23 => vec![major | u8::try_from(number).unwrap_or(0)],
        24..=0xff => vec![major | 24, u8::try_from(number).unwrap_or(0)],
        0x100..=0xffff => [&[major | 25][..], &u16::try_from(number).unwrap_or(0).to_be_bytes()].concat(),
        _ => [&[major | 27][..], &number.to_be_bytes()].concat(),
    }
}

/// An integer.
pub(crate) fn int(number: i64) -> Vec<u8> {
    match u64::try_from(number) {
        Ok(number) => head(0, number),
        Err(_) => head(1, (-1 - number).unsigned_abs()),
    }
}

/// A byte string.
pub(crate) fn bytes(content: &[u8]) -> Vec<u8> {
    [head(2, content.len() as u64).as_slice(), content].concat()
}

/// A text string.
pub(crate) fn text(content: &str) -> Vec<u8> {
    [head(3, content.len() as u64).as_slice(), content.as_bytes()].concat()
}

/// An array of items.
pub(crate) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

/// A map of keys and values in the order given.
pub(crate) fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let content: Vec<u8> = entries.iter().flat_map(|(key, value)| [key.as_slice(), value].concat()).collect();
    [head(5, entries.len() as u64), content].concat()
}

/// Seconds since 1970 as a tagged time.
pub(crate) fn time(seconds: i64) -> Vec<u8> {
    [head(6, EPOCH_TIME), int(seconds)].concat()
}

/// A COSE_Sign1 with its tag.
pub(crate) fn sign1(protected: &[u8], unprotected: Vec<u8>, payload: &[u8], signature: &[u8]) -> Vec<u8> {
    let parts = [bytes(protected), unprotected, bytes(payload), bytes(signature)];
    [head(6, COSE_SIGN1), array(&parts)].concat()
}

/// The Sig_structure of RFC 9052 section 4.4.
pub(crate) fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    array(&[text("Signature1"), bytes(protected), bytes(&[]), bytes(payload)])
}

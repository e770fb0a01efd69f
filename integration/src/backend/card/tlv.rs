//! Tag-length-value encoding (ISO/IEC 7816-4 section 5.2.2), as PIV commands and DER keys use it.

/// One element: its tag of one to three bytes, and its value.
pub(super) type Element<'a> = (u32, &'a [u8]);

/// Encodes an element with the shortest length form.
pub(super) fn encode(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = tag.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = value.len().to_be_bytes();
    let short: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match short.as_slice() {
        [] => out.push(0),
        [only] if *only < 0x80 => out.push(*only),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7F));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(value);
    out
}

/// All elements that stand side by side in `bytes`, or `None` if these are not whole elements.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        let (element, rest) = first(bytes)?;
        elements.push(element);
        bytes = rest;
    }
    Some(elements)
}

/// The value of the first element with this tag.
pub(super) fn find<'a>(elements: &[Element<'a>], tag: u32) -> Option<&'a [u8]> {
    elements.iter().find(|(found, _)| *found == tag).map(|(_, value)| *value)
}

/// The elements inside the only element of `bytes`, which must have this tag.
pub(super) fn unwrap(bytes: &[u8], tag: u32) -> Option<Vec<Element<'_>>> {
    match decode(bytes)?.as_slice() {
        [(found, value)] if *found == tag => decode(value),
        _ => None,
    }
}

fn first(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, bytes) = tag(bytes)?;
    let (length, bytes) = length(bytes)?;
    let (value, rest) = bytes.split_at_checked(length)?;
    Some(((tag, value), rest))
}

fn tag(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mut tag = u32::from(*first);
    // 5F C1 05 and 7F 49: low five bits all set say that more bytes follow, their top bit that still more do.
    let mut more = first & 0x1F == 0x1F;
    while more {
        let (next, after) = rest.split_first()?;
        tag = tag.checked_mul(0x100)? | u32::from(*next);
        more = next & 0x80 != 0 && tag < 0x1_0000;
        rest = after;
    }
    Some((tag, rest))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0..=0x7F => Some((usize::from(*first), rest)),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest)),
        0x82 => rest.split_first_chunk().map(|(two, rest)| (usize::from(u16::from_be_bytes(*two)), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for length in [0, 1, 127, 128, 255, 256, 3000] {
            for tag in [0x53, 0x7F49, 0x5F_C105] {
                let value = vec![7; length];
                assert_eq!(decode(&encode(tag, &value)), Some(vec![(tag, value.as_slice())]));
            }
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = encode(0x53, &[1; 200]);
        assert!((1..whole.len()).all(|length| decode(&whole[..length]).is_none()));
    }
}

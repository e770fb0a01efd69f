//! BER-TLV as PIV cards write it (ISO 7816-4 section 5.2.2): tags of one to three bytes, lengths of up to 65,535.

/// One element and what stands behind it.
pub(crate) struct Element<'a> {
    pub(crate) tag: u32,
    pub(crate) value: &'a [u8],
    pub(crate) rest: &'a [u8],
}

/// Reads the first element; `None` if there is none or it is cut short.
pub(crate) fn first(bytes: &[u8]) -> Option<Element<'_>> {
    let (tag, bytes) = tag(bytes)?;
    let (length, bytes) = length(bytes)?;
    let (value, rest) = bytes.split_at_checked(length)?;
    Some(Element { tag, value, rest })
}

/// The value of the first element with this tag among its siblings.
pub(crate) fn find(mut bytes: &[u8], wanted: u32) -> Option<&[u8]> {
    while !bytes.is_empty() {
        let element = first(bytes)?;
        if element.tag == wanted {
            return Some(element.value);
        }
        bytes = element.rest;
    }
    None
}

/// Writes an element; at most 65,535 bytes of value, far above any data object.
pub(crate) fn element(tag: &[u8], value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
    let length = match value.len() {
        0..=127 => vec![low],
        128..=255 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [tag, &length, value].concat()
}

fn tag(bytes: &[u8]) -> Option<(u32, &[u8])> {
    const MORE_FOLLOWS: u8 = 0x1F;
    let (first, mut rest) = bytes.split_first()?;
    let mut tag = u32::from(*first);
    if first & MORE_FOLLOWS == MORE_FOLLOWS {
        for _ in 0..2 {
            let (next, after) = rest.split_first()?;
            tag = tag << 8 | u32::from(*next);
            rest = after;
            if next & 0x80 == 0 {
                return Some((tag, rest));
            }
        }
        return None;
    }
    Some((tag, rest))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0..=0x7F => Some((usize::from(*first), rest)),
        0x81 => rest.split_first().map(|(n, rest)| (usize::from(*n), rest)),
        0x82 => match rest {
            [high, low, rest @ ..] => Some((usize::from(u16::from_be_bytes([*high, *low])), rest)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_as_they_are_written() {
        for length in [0, 1, 127, 128, 255, 256, 3000] {
            let value = vec![7; length];
            for (tag, number) in
                [(&[0x53][..], 0x53), (&[0x7F, 0x49], 0x7F49), (&[0x5F, 0xC1, 0x0A], 0x5F_C10A)]
            {
                let bytes = [element(tag, &value), b"rest".to_vec()].concat();
                let read = first(&bytes).unwrap();
                assert_eq!((read.tag, read.value, read.rest), (number, &value[..], &b"rest"[..]));
            }
        }
    }

    #[test]
    fn siblings_are_searched_and_what_is_cut_short_is_nothing() {
        let bytes = [element(&[1], &[9]), element(&[4], &[1, 2, 3])].concat();
        assert_eq!(find(&bytes, 4), Some(&[1, 2, 3][..]));
        assert_eq!(find(&bytes, 5), None);
        for cut in 4..bytes.len() {
            assert_eq!(find(&bytes[..cut], 4), None, "{cut}");
        }
        for garbage in
            [&[0x5F][..], &[0x5F, 0xC1], &[1, 0x82, 1], &[1, 0x83, 0, 0, 0], &[1, 0x80], &[0xFF; 9]]
        {
            assert!(first(garbage).is_none(), "{garbage:?}");
        }
    }
}

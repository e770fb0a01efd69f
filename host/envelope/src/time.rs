//! RFC 3339 times of JWS headers: written as UTC whole seconds, read in every legal form.

use jiff::Timestamp;

/// Cuts off the fraction of a second; signed times have none.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    // Towards the past, also before 1970, as a clock without sub-seconds would show it.
    let seconds = if time.subsec_nanosecond() < 0 { time.as_second() - 1 } else { time.as_second() };
    Timestamp::from_second(seconds).unwrap_or(time)
}

/// The form written into headers, such as `2026-01-31T08:00:00Z`.
pub(crate) fn to_rfc3339(time: Timestamp) -> String {
    whole_seconds(time).to_string()
}

/// Reads an RFC 3339 `date-time`: any offset, fractions (digits beyond nanoseconds are cut), `t` and `z` in either case.
///
/// notation writes the local offset of the signing machine, so offsets are everyday. Leap seconds are refused, as
/// by notation.
pub(crate) fn from_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    const DATE_TIME: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (head, tail) = (bytes.get(..DATE_TIME.len())?, bytes.get(DATE_TIME.len()..)?);
    if !matches_shape(head, DATE_TIME) || head.ends_with(b"60") {
        return None;
    }
    let (fraction, offset) = match tail.strip_prefix(b".") {
        Some(rest) => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            (rest.get(..digits).filter(|d| !d.is_empty())?, rest.get(digits..)?)
        }
        None => (&[][..], tail),
    };
    if !matches!(offset, b"Z" | b"z") && !matches_shape(offset, b"+dd:dd") {
        return None;
    }
    let fraction = fraction.get(..9.min(fraction.len()))?;
    let dot: &[u8] = if fraction.is_empty() { b"" } else { b"." };
    let normal = [head, dot, fraction, offset].concat().to_ascii_uppercase();
    std::str::from_utf8(&normal).ok()?.parse().ok()
}

fn matches_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(found, expected)| match expected {
            b'd' => found.is_ascii_digit(),
            b'T' => matches!(found, b'T' | b't'),
            b'+' => matches!(found, b'+' | b'-'),
            other => found == other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_legal_form_is_read() {
        let expected: Timestamp = "2024-01-02T02:00:00Z".parse().unwrap();
        for text in [
            "2024-01-02T02:00:00Z",
            "2024-01-02t02:00:00z",
            "2024-01-02T10:00:00+08:00",
            "2024-01-01T18:00:00-08:00",
        ] {
            assert_eq!(from_rfc3339(text), Some(expected), "{text}");
        }
        let precise = from_rfc3339("2024-01-02T02:00:00.12345678987654321Z").unwrap();
        assert_eq!(precise.subsec_nanosecond(), 123_456_789);
        assert_eq!(to_rfc3339(precise), "2024-01-02T02:00:00Z");
    }

    #[test]
    fn what_only_looks_like_a_time_is_refused() {
        for text in [
            "",
            "2024-01-02",
            "2024-01-02 02:00:00Z",
            "2024-01-02T02:00:00",
            "2024-01-02T02:00:00.Z",
            "2024-01-02T02:00:60Z",
            "2024-13-02T02:00:00Z",
            "2024-02-30T02:00:00Z",
            "2024-01-02T02:00:00+0800",
            "2024-01-02T02:00:00Z[UTC]",
            "+002024-01-02T02:00:00Z",
            "2024-01-02T02:00:00Z ",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn fractions_are_cut_towards_the_past() {
        let before_1970: Timestamp = "1969-12-31T23:59:58.5Z".parse().unwrap();
        assert_eq!(whole_seconds(before_1970).to_string(), "1969-12-31T23:59:58Z");
    }
}

//! The standard `grpc-timeout` header as a [`Deadline`].

use std::time::{Duration, Instant};

use tonic::codegen::http::HeaderMap;

use crate::request::Deadline;

const DIGITS_MAX: usize = 8; // gRPC over HTTP/2: "TimeoutValue: positive integer of at most 8 digits"

/// The deadline a call carries; none if it carries no readable one.
pub(crate) fn deadline_of(headers: &HeaderMap) -> Deadline {
    let header = headers.get("grpc-timeout").and_then(|v| v.to_str().ok());
    let until = header.and_then(duration).and_then(|left| Instant::now().checked_add(left));
    until.map_or(Deadline::NONE, Deadline::at)
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_of_the_header_are_read() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
        for bad in ["", "S", "999999999S", "-1S", "1", "1s", "1.5S", "1é"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }
}

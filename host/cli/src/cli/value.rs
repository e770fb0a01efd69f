//! Values parsed at the door: durations as Go writes them, `name=value` pairs, counts, names.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use prokura_plugin::KeyId;

/// A duration in Go's notation: `1h30m`, `1.5h`, `300ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoDuration(pub(crate) Duration);

/// Units of Go's `time.ParseDuration`, longest name first, with their nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Go's durations are signed 64-bit nanoseconds, about 292 years.
const NANOSECONDS_MAX: u128 = i64::MAX as u128;

impl FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is no duration, expected such as 24h, 1h30m or 90s");
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        if unsigned == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = unsigned;
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(digits);
            let (unit, nanoseconds) =
                UNITS.into_iter().find(|(unit, _)| tail.starts_with(unit)).ok_or_else(invalid)?;
            // "m" is also the beginning of "ms", which comes first in the table.
            total =
                total.checked_add(scaled(number, nanoseconds).ok_or_else(invalid)?).ok_or_else(invalid)?;
            rest = tail.get(unit.len()..).ok_or_else(invalid)?;
        }
        if unsigned.is_empty() || total > NANOSECONDS_MAX {
            return Err(invalid());
        }
        u64::try_from(total).map(|n| Self(Duration::from_nanos(n))).map_err(|_| invalid())
    }
}

/// `number` (digits with at most one point) times `unit`; what is below a nanosecond is dropped, as in Go.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: String = fraction.chars().take(18).collect();
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(fraction.checked_mul(unit)? / scale)
}

/// An expiry: whole seconds, not negative; zero means none (`notation` words the refusals like this).
pub(crate) fn parse_expiry(text: &str) -> Result<GoDuration, String> {
    if let Some(positive) = text.strip_prefix('-') {
        positive.parse::<GoDuration>()?;
        return Err("expiry duration cannot be a negative value".to_owned());
    }
    let duration: GoDuration = text.parse()?;
    if duration.0.subsec_nanos() != 0 {
        return Err("expiry duration supports minimum granularity of seconds".to_owned());
    }
    Ok(duration)
}

/// A deadline: between a tenth of a second and a day.
pub(crate) fn parse_deadline(text: &str) -> Result<GoDuration, String> {
    let duration: GoDuration = text.parse()?;
    if duration.0 < Duration::from_millis(100) || duration.0 > Duration::from_secs(24 * 3600) {
        return Err(format!("{text} is out of range, expected 100ms to 24h"));
    }
    Ok(duration)
}

/// A positive count.
pub(crate) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("value {text} must be a positive number")),
    }
}

/// A key id; only its length and its characters are checked, the rest is the plugin's.
pub(crate) fn parse_key_id(text: &str) -> Result<KeyId, String> {
    KeyId::new(text).map_err(|error| error.message)
}

/// One `name=value` of a repeatable flag. The first `=` separates; neither side may be empty.
#[derive(Clone)]
pub(crate) struct KeyValue {
    name: String,
    value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            // The text is not repeated: a plugin config value can be sensitive.
            _ => Err("key-value pair requires \"=\" as separator, with text on both sides".to_owned()),
        }
    }
}

/// The pairs as a map; of two with one name the last one holds, as in `notation`.
pub(crate) fn to_map(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}

/// A name that becomes a file or directory name: `[a-zA-Z0-9_.-]+`, and not only dots, which would lead elsewhere.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        && !name.chars().all(|c| c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let ms = |text: &str| text.parse::<GoDuration>().unwrap().0.as_millis();
        assert_eq!(ms("24h"), 86_400_000);
        assert_eq!(ms("3h20m"), 12_000_000);
        assert_eq!(ms("1.5h"), 5_400_000);
        assert_eq!(ms("1m30.5s"), 90_500);
        assert_eq!(ms("300ms"), 300);
        assert_eq!(ms(".5s"), 500);
        assert_eq!(ms("+2000us"), 2);
        assert_eq!(ms("0"), 0);
        for bad in ["", "+", "1", "h", "1d", "1h 2m", "1.2.3s", "--1h", "é", "9999999999h", ".s"] {
            assert!(bad.parse::<GoDuration>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_expiry_is_whole_seconds_and_not_negative() {
        assert_eq!(parse_expiry("-1h").unwrap_err(), "expiry duration cannot be a negative value");
        assert_eq!(
            parse_expiry("1500ms").unwrap_err(),
            "expiry duration supports minimum granularity of seconds"
        );
        assert!(parse_expiry("-x").unwrap_err().contains("no duration"));
        assert_eq!(parse_expiry("90m").unwrap().0, Duration::from_secs(5400));
        assert!(
            parse_deadline("0").is_err() && parse_deadline("25h").is_err() && parse_deadline("5s").is_ok()
        );
    }

    #[test]
    fn pairs_split_at_the_first_separator() {
        let pairs: Vec<KeyValue> = ["a=b=c", "x=1", "x=2"].iter().map(|p| p.parse().unwrap()).collect();
        let map = to_map(&pairs);
        assert_eq!(map.get("a").unwrap(), "b=c");
        assert_eq!(map.get("x").unwrap(), "2");
        for bad in ["", "a", "=b", "a="] {
            let error = bad.parse::<KeyValue>().err().unwrap();
            assert!(error.contains("requires \"=\" as separator"), "{error}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_names() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "é", "a\n", &"x".repeat(129)] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
        assert!(is_plain_name("wabbit-networks.io") && is_plain_name("..a"));
    }
}

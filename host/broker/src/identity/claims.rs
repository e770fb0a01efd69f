//! The claims that every token must have (RFC 7519, section 4.1), whoever issued it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::issuer::IssuerConfig;
use super::refusal::{Refusal, quoted};
use super::token::refused;
use crate::limits::{AUDIENCES_MAX, CLOCK_SKEW};

const NEW_TOKEN: &str =
    "fetch a new token; if that fails too, correct the clock of the broker or of the issuer";

/// Checks audience, times and required claims; returns the end of validity.
pub(crate) fn check(
    claims: &Map<String, Value>,
    config: &IssuerConfig,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    check_audience(claims, config)?;
    let expires_at = check_times(claims, config, now)?;
    check_required(claims, config)?;
    Ok(expires_at)
}

/// `sub`, which must be there: it becomes part of the id.
pub(crate) fn subject(claims: &Map<String, Value>) -> Result<&str, Refusal> {
    let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if sub.is_empty() || sub.chars().any(char::is_control) {
        let act = "let the issuer name the caller in `sub`";
        return Err(refused("a token without a printable text `sub`", "the caller's name", act));
    }
    Ok(sub)
}

/// `jti`, for the log.
pub(crate) fn jti(claims: &Map<String, Value>) -> String {
    let id = claims.get("jti").and_then(Value::as_str);
    id.map_or_else(|| "without jti".to_owned(), |id| format!("{:?}", quoted(id)))
}

fn check_audience(claims: &Map<String, Value>, config: &IssuerConfig) -> Result<(), Refusal> {
    let found: Option<Vec<&str>> = match claims.get("aud") {
        Some(Value::String(one)) => Some(vec![one]),
        Some(Value::Array(many)) if many.len() <= AUDIENCES_MAX => many.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let found = found.unwrap_or_default();
    if found.iter().any(|one| config.audiences.iter().any(|audience| audience == one)) {
        return Ok(());
    }
    let found = format!("a token for the audience {:?}", quoted(&found.join(", ")));
    Err(refused(
        found,
        format!("{:?}", config.audiences.join(" or ")),
        "ask the issuer for a token with that audience",
    ))
}

fn check_times(
    claims: &Map<String, Value>,
    config: &IssuerConfig,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let skew = SignedDuration::try_from(CLOCK_SKEW).unwrap_or_default();
    let times = (time(claims, "exp")?, time(claims, "iat")?, time(claims, "nbf")?);
    let (Some(exp), Some(iat), nbf) = times else {
        let act = "let the issuer put both into its tokens";
        return Err(refused("a token without `exp` or `iat`", "both", act));
    };
    if now.duration_since(exp) >= skew {
        return Err(refused(
            format!("a token that expired at {exp}, and now is {now}"),
            "a valid one",
            NEW_TOKEN,
        ));
    }
    for (name, start) in [("iat", Some(iat)), ("nbf", nbf)] {
        if let Some(start) = start.filter(|start| start.duration_since(now) > skew) {
            let found = format!("a token from the future (`{name}` is {start}, and now is {now})");
            return Err(refused(found, "one that is valid already", NEW_TOKEN));
        }
    }
    let longest = SignedDuration::try_from(config.lifetime_max).unwrap_or_default();
    let lifetime = exp.duration_since(iat);
    if lifetime > longest || lifetime <= SignedDuration::ZERO {
        let found = format!("a token with a lifetime of {} s", lifetime.as_secs());
        let act =
            "ask for a shorter one, or let the broker's operator raise the longest lifetime of the issuer";
        return Err(refused(found, format!("1 to {} s", longest.as_secs()), act));
    }
    Ok(exp)
}

/// NumericDate (RFC 7519, section 2); fractions are cut.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| {
        let fraction = value.as_f64().filter(|seconds| seconds.abs() < 1e12)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounded in the line above")]
        Some(fraction.floor() as i64)
    });
    seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).map(Some).ok_or_else(|| {
        let act = "let the issuer put seconds since 1970 there";
        refused(format!("a token whose `{name}` is no time"), "a number of seconds", act)
    })
}

fn check_required(claims: &Map<String, Value>, config: &IssuerConfig) -> Result<(), Refusal> {
    for (name, allowed) in &config.required_claims {
        let found = match claims.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => Some(value.to_string()),
            _ => None,
        };
        if !found.as_ref().is_some_and(|found| allowed.contains(found)) {
            let found = found.map_or_else(|| "nothing".to_owned(), |text| format!("{:?}", quoted(&text)));
            let act =
                "send a token of a permitted caller, or let the broker's operator change `required_claims`";
            return Err(refused(
                format!("{found} in claim {name:?}"),
                format!("{:?}", allowed.join(" or ")),
                act,
            ));
        }
    }
    Ok(())
}

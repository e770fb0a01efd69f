//! SPIFFE IDs (SPIFFE-ID specification, section 2): which URIs are one.

use crate::limits::PEER_ID_BYTES_MAX;

/// How every SPIFFE ID begins.
pub(crate) const SCHEME: &str = "spiffe://";
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// The trust domain of a SPIFFE ID of a workload.
///
/// # Errors
/// The rule that the text breaks.
pub(crate) fn trust_domain(id: &str) -> Result<&str, &'static str> {
    if id.len() > PEER_ID_BYTES_MAX {
        return Err("it is longer than 2048 bytes");
    }
    let rest = id.strip_prefix(SCHEME).ok_or("it does not begin with spiffe://")?;
    let (domain, path) =
        rest.split_once('/').ok_or("it has no path, so it names a trust domain and no workload")?;
    if domain.is_empty() || domain.len() > TRUST_DOMAIN_BYTES_MAX {
        return Err("its trust domain is empty or longer than 255 bytes");
    }
    if !domain.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b)) {
        return Err("its trust domain has other characters than a-z, 0-9, '-', '.', '_'");
    }
    path.split('/').try_for_each(segment)?;
    Ok(domain)
}

fn segment(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("its path has an empty segment or ends with '/'"),
        "." | ".." => Err("its path has a segment '.' or '..'"),
        _ if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) => Ok(()),
        _ => Err("its path has other characters than a-z, A-Z, 0-9, '-', '.', '_'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_workloads_are_read() {
        assert_eq!(trust_domain("spiffe://example.org/ci/build-1"), Ok("example.org"));
        assert_eq!(trust_domain("spiffe://a_b-c.9/X.y"), Ok("a_b-c.9"));
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let long = format!("spiffe://example.org/{}", "x".repeat(PEER_ID_BYTES_MAX));
        for id in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///ci",
            "SPIFFE://example.org/ci",
            "spiffe://Example.org/ci",
            "spiffe://user@example.org/ci",
            "spiffe://example.org:443/ci",
            "spiffe://example.org/ci/",
            "spiffe://example.org//ci",
            "spiffe://example.org/../ci",
            "spiffe://example.org/ci?x=1",
            "spiffe://example.org/ci#x",
            "spiffe://example.org/%63i",
            long.as_str(),
        ] {
            assert!(trust_domain(id).is_err(), "{id}");
        }
    }
}

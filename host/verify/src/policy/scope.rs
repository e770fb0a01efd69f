//! Registry scopes: which repositories a statement is for. Exact names only; there are no prefixes and no patterns.
//!
//! Grammar: the domain and repository of the distribution project's references.

use super::error::Violation;

/// The scope of everything no other statement names.
pub(super) const WILDCARD: &str = "*";
/// HTTPS.
const DEFAULT_PORT: &str = "443";

/// Checks one scope other than the wildcard: `domain[:port]/lower/case/path`.
pub(super) fn check(scope: &str) -> Result<(), Violation> {
    if scope.len() > 1 && scope.contains(WILDCARD) {
        return Err(Violation::WildcardInScope { scope: scope.to_owned() });
    }
    match scope.split_once('/') {
        Some((domain, repository)) if is_domain(domain) && is_repository(repository) => Ok(()),
        _ => Err(Violation::InvalidScope { scope: scope.to_owned() }),
    }
}

/// The form in which scopes and repositories are compared. The names of hosts are case-insensitive (RFC 9110 section
/// 4.2.3) and 443 is the port of a registry that names none, so without this a reference could be spelled past the
/// statement meant for it and fall to the wildcard. The repository stays as it is: its grammar knows lower case only.
pub(super) fn canonical(scope: &str) -> String {
    let Some((domain, repository)) = scope.split_once('/') else { return scope.to_owned() };
    let domain = domain.to_ascii_lowercase();
    let (host, port) = domain.split_once(':').unwrap_or((&domain, DEFAULT_PORT));
    match port.trim_start_matches('0') {
        DEFAULT_PORT => format!("{host}/{repository}"),
        port => format!("{host}:{port}/{repository}"),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_label(label: &str) -> bool {
    let allowed = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    !label.is_empty() && allowed && !label.starts_with('-') && !label.ends_with('-')
}

fn is_repository(repository: &str) -> bool {
    repository.split('/').all(is_component)
}

/// Lower-case letters and digits in runs, separated by one of `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separates = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && component.split(alphanumeric).all(separates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_follow_the_grammar() {
        for good in [
            "example.com/r",
            "localhost:5000/a/b-c/d_e/f__g/h.i/j---k",
            "local/layout",
            "A-b.example/0",
            "10.0.0.1:80/x",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "example.com",
            "example.com/",
            "/repo",
            "example.com/R",
            "example.com/a:tag",
            "https://example.com/a",
            "example.com/a@sha256:00",
            "example.com:/a",
            "example.com:x/a",
            "-a.com/r",
            "a-.com/r",
            "a..com/r",
            "example.com/a//b",
            "example.com/a/",
            "example.com/_a",
            "example.com/a-",
            "example.com/a._b",
            "example.com/a___b",
            "example.com/a..b",
            "example.com/a b",
            "example.com/é",
            "exämple.com/a",
            "example.com/a\n",
            "[::1]:5000/a",
        ] {
            assert_eq!(check(bad), Err(Violation::InvalidScope { scope: bad.to_owned() }), "{bad:?}");
        }
        for wild in ["example.com/*", "*.com/a", "**"] {
            assert_eq!(check(wild), Err(Violation::WildcardInScope { scope: wild.to_owned() }), "{wild}");
        }
    }
}

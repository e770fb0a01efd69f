//! What a caller says about the artifact and nothing proves.

use std::collections::BTreeMap;

use crate::limits::{
    CLAIMED_MAX, CLAIMED_NAME_BYTES_MAX, CLAIMED_REFERENCE_BYTES_MAX, CLAIMED_VALUE_BYTES_MAX,
};

/// Claims of one request, within the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    reference: Option<Reference>,
    claims: BTreeMap<String, String>,
}

/// A reference to an artifact in a registry, such as `registry.example:5000/app:1.2@sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host and port.
    pub registry: String,
    /// Path of the repository.
    pub repository: String,
    /// Tag.
    pub tag: Option<String>,
    /// Digest as `algorithm:hex`.
    pub digest: Option<String>,
}

/// A claim that is not well formed. The caller must change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found}, expected {expected}")]
pub struct InvalidClaim {
    what: &'static str,
    found: String,
    expected: String,
}

const REFERENCE: &str = "claimed_reference";
const CLAIMS: &str = "claims";

impl Claimed {
    /// Takes the claims of a request; an empty reference is none.
    ///
    /// # Errors
    /// [`InvalidClaim`] if a limit is passed or the reference is none.
    pub fn new(reference: &str, claims: BTreeMap<String, String>) -> Result<Self, InvalidClaim> {
        within(CLAIMS, "entries", claims.len(), CLAIMED_MAX)?;
        for (name, value) in &claims {
            if name.is_empty() {
                return Err(invalid(CLAIMS, "an empty name", "a name"));
            }
            within(CLAIMS, "bytes in a name", name.len(), CLAIMED_NAME_BYTES_MAX)?;
            within(CLAIMS, "bytes in a value", value.len(), CLAIMED_VALUE_BYTES_MAX)?;
        }
        let reference = if reference.is_empty() { None } else { Some(reference.parse()?) };
        Ok(Self { reference, claims })
    }

    /// Where the caller says the artifact is stored.
    pub const fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// Further claims by name.
    pub const fn claims(&self) -> &BTreeMap<String, String> {
        &self.claims
    }
}

impl std::str::FromStr for Reference {
    type Err = InvalidClaim;

    /// Reads `registry/repository[:tag][@digest]` (OCI distribution specification 1.1, "Pulling manifests"). The
    /// registry must be named: short names mean different things to different tools.
    fn from_str(text: &str) -> Result<Self, InvalidClaim> {
        within(REFERENCE, "bytes", text.len(), CLAIMED_REFERENCE_BYTES_MAX)?;
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (registry, rest) = rest.split_once('/').unwrap_or(("", rest));
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let good = is_registry(registry)
            && is_repository(repository)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if !good {
            let found = format!("{:?}", text.chars().take(128).collect::<String>());
            return Err(invalid(REFERENCE, &found, "registry/repository[:tag][@algorithm:hex]"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

fn is_registry(text: &str) -> bool {
    let names_a_host = text.contains(['.', ':']) || text == "localhost";
    names_a_host && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
}

fn is_repository(text: &str) -> bool {
    let component = |part: &str| {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.bytes().next().is_some_and(letter)
            && part.bytes().last().is_some_and(letter)
            && part.bytes().all(|b| letter(b) || b"._-".contains(&b))
    };
    text.split('/').all(component)
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b".-".contains(&b))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty()
            && algorithm.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn within(what: &'static str, unit: &str, found: usize, limit: usize) -> Result<(), InvalidClaim> {
    if found <= limit {
        return Ok(());
    }
    Err(invalid(what, &format!("{found} {unit}"), &format!("at most {limit}")))
}

fn invalid(what: &'static str, found: &str, expected: &str) -> InvalidClaim {
    InvalidClaim { what, found: found.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, registry, repository, tag, with_digest) in [
            ("registry.example/app", "registry.example", "app", None, false),
            ("localhost:5000/team/app:1.2", "localhost:5000", "team/app", Some("1.2"), false),
            ("localhost/a:v1@D", "localhost", "a", Some("v1"), true),
            ("[::1]:5000/a_b/c-d@D", "[::1]:5000", "a_b/c-d", None, true),
        ] {
            let found: Reference = text.replace('D', &digest).parse().unwrap();
            assert_eq!((found.registry.as_str(), found.repository.as_str()), (registry, repository));
            assert_eq!(found.tag.as_deref(), tag);
            assert_eq!(found.digest.is_some(), with_digest);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "app",
            "library/app",
            "r.example/",
            "r.example/App",
            "r.example/a:",
            "r.example/a:b:c",
            "/a",
            "r.example/a@sha256:xyz",
            "r.example//a",
            "r.example/../a",
            "r.example/a b",
            "https://r.example/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!(Claimed::new(&format!("r.example/{}", "a".repeat(2000)), BTreeMap::new()).is_err());
    }

    #[test]
    fn claims_are_bounded() {
        let with = |n: usize, name: usize, value: usize| {
            let entry = |n: usize| (format!("{n:0>name$}"), "v".repeat(value));
            Claimed::new("", (0..n).map(entry).collect())
        };
        assert!(with(CLAIMED_MAX, CLAIMED_NAME_BYTES_MAX, CLAIMED_VALUE_BYTES_MAX).is_ok());
        for (n, name, value) in
            [(CLAIMED_MAX + 1, 4, 1), (1, CLAIMED_NAME_BYTES_MAX + 1, 1), (1, 1, CLAIMED_VALUE_BYTES_MAX + 1)]
        {
            assert!(with(n, name, value).unwrap_err().to_string().contains("at most"));
        }
        assert!(Claimed::new("", BTreeMap::from([(String::new(), String::new())])).is_err());
    }
}

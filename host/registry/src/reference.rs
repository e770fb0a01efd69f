//! References: to a manifest in a registry, and to a manifest in an image layout.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Digest, Error, text};

/// A tag: one word character, then up to 127 of `A-Za-z0-9_.-` (distribution specification, "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let valid = value.starts_with(word)
            && value.len() <= 128
            && value.chars().all(|c| word(c) || c == '.' || c == '-');
        if valid {
            return Ok(Self(value.to_owned()));
        }
        let expected = "a tag of up to 128 characters of A-Z a-z 0-9 _ . - that starts with none of . -";
        Err(Error::InvalidReference { found: text::printable(value), expected })
    }
}

/// How one manifest in a repository is named: by a tag, which may move, or by its digest, which cannot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Selector {
    type Err = Error;

    /// A text with a colon is a digest, any other a tag; no text is both.
    fn from_str(value: &str) -> Result<Self, Error> {
        if value.contains(':') { Ok(Self::Digest(value.parse()?)) } else { Ok(Self::Tag(value.parse()?)) }
    }
}

impl From<Digest> for Selector {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<Tag> for Selector {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

/// `REGISTRY/REPOSITORY[:TAG|@DIGEST]`. The registry is always named: nothing defaults to Docker Hub.
///
/// In `REPOSITORY:TAG@DIGEST` the digest decides and the tag is dropped, as `notation` does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    registry: String,
    repository: String,
    selector: Option<Selector>,
}

impl RegistryReference {
    /// Host, with a port when it is not the default one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Repository name inside the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag or digest, when the reference has one.
    pub fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }

    /// The same repository with the manifest named by `selector`.
    pub fn with_selector(&self, selector: impl Into<Selector>) -> Self {
        Self { selector: Some(selector.into()), ..self.clone() }
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.selector {
            None => Ok(()),
            Some(Selector::Tag(tag)) => write!(f, ":{tag}"),
            Some(Selector::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for RegistryReference {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let invalid = |expected| Error::InvalidReference { found: text::printable(value), expected };
        let (registry, path) =
            value.split_once('/').ok_or_else(|| invalid("REGISTRY/REPOSITORY[:TAG|@DIGEST]"))?;
        let (name, digest) = match path.split_once('@') {
            Some((name, digest)) => (name, Some(Selector::Digest(digest.parse()?))),
            None => (path, None),
        };
        let (repository, tag) = match name.split_once(':') {
            Some((repository, tag)) => (repository, Some(Selector::Tag(tag.parse()?))),
            None => (name, None),
        };
        if !is_registry(registry) {
            return Err(invalid("a registry as HOST[:PORT] before the first slash"));
        }
        if !is_repository(repository) {
            return Err(invalid(
                "a repository of lower-case letters, digits and single separators . _ __ - /",
            ));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            selector: digest.or(tag),
        })
    }
}

/// `PATH[:TAG|@DIGEST]`: a manifest in an OCI image layout on disk.
///
/// A colon or an at-sign that is not followed by a tag or a digest belongs to the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutReference {
    path: PathBuf,
    selector: Option<Selector>,
}

impl LayoutReference {
    /// The layout's directory.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Tag or digest, when the reference has one.
    pub fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)?;
        match &self.selector {
            None => Ok(()),
            Some(Selector::Tag(tag)) => write!(f, ":{tag}"),
            Some(Selector::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for LayoutReference {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        let (path, selector) = split_layout(value)?;
        if path.is_empty() {
            let expected = "PATH[:TAG|@DIGEST] with a path that is not empty";
            return Err(Error::InvalidReference { found: text::printable(value), expected });
        }
        Ok(Self { path: PathBuf::from(path), selector })
    }
}

fn split_layout(value: &str) -> Result<(&str, Option<Selector>), Error> {
    if let Some((path, digest)) = value.rsplit_once('@')
        && digest.contains(':')
        && !digest.contains('/')
    {
        return Ok((path, Some(Selector::Digest(digest.parse()?))));
    }
    match value.rsplit_once(':') {
        Some((path, tag)) if !tag.contains(['/', '\\']) => Ok((path, Some(Selector::Tag(tag.parse()?)))),
        _ => Ok((value, None)),
    }
}

/// Whether `registry` (`HOST[:PORT]`) is this machine: `localhost`, `127.0.0.0/8` or `[::1]`.
///
/// `notation` speaks plain HTTP to such a registry without being asked; the caller applies that rule.
pub fn is_localhost(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => {
            return rest.split(']').next().and_then(|h| h.parse().ok()) == Some(Ipv6Addr::LOCALHOST);
        }
        None => registry.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// `HOST[:PORT]` and nothing that a URL would read as user, path, query or fragment.
pub(crate) fn is_registry(value: &str) -> bool {
    let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    let url = url::Url::parse(&format!("https://{value}/"));
    plain
        && value.len() <= 255 + 6
        && !value.ends_with(':')
        && url.is_ok_and(|u| u.host_str().is_some_and(|h| !h.is_empty()) && u.path() == "/")
}

/// The repository grammar of the distribution specification.
fn is_repository(value: &str) -> bool {
    value.len() <= 255 && value.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(value: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    let mut previous_is_word = false;
    for b in value.bytes() {
        if alphanumeric(b) {
            let known = separator.is_empty()
                || matches!(separator.as_str(), "." | "_" | "__")
                || separator.bytes().all(|s| s == b'-');
            if !known {
                return false;
            }
            separator.clear();
            previous_is_word = true;
        } else if b"._-".contains(&b) && previous_is_word {
            separator.push(char::from(b));
        } else {
            return false;
        }
    }
    previous_is_word && separator.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn registry_references_are_read_in_all_four_forms() {
        let parse = |s: &str| s.parse::<RegistryReference>().unwrap();
        assert_eq!(parse("r.example:5000/a/b-c__d:v1").to_string(), "r.example:5000/a/b-c__d:v1");
        assert_eq!(parse("localhost:1/x").selector(), None);
        assert_eq!(parse("[::1]:5000/x").registry(), "[::1]:5000");
        let digest = format!("r.example/x@sha256:{HEX}");
        assert_eq!(parse(&digest).to_string(), digest);
        assert_eq!(parse(&format!("r.example/x:v1@sha256:{HEX}")).to_string(), digest);
    }

    #[test]
    fn bad_registry_references_are_refused() {
        for bad in [
            "ubuntu",
            "/x",
            "r.example/",
            "r.example/X",
            "r.example/a//b",
            "r.example/../x",
            "r.example/a__.b",
            "user@r.example/x",
            "r.example:/x",
            "r.example:99999/x",
            "r.example/x:",
            "r.example/x:.a",
            "r.example/x@sha256:00",
            "r.example/x?y",
            "r ex/x",
            "r.example/-a",
            "r.example/a_",
            "r.example#/x",
        ] {
            assert!(bad.parse::<RegistryReference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn layout_references_keep_colons_that_belong_to_the_path() {
        let parse = |s: &str| s.parse::<LayoutReference>().unwrap();
        assert_eq!(parse("./out:v1").selector().unwrap().to_string(), "v1");
        assert_eq!(parse("a:b/c").path(), std::path::Path::new("a:b/c"));
        assert_eq!(parse("me@home/x").selector(), None);
        let by_digest = parse(&format!("dir@sha256:{HEX}"));
        assert_eq!(by_digest.path(), std::path::Path::new("dir"));
        assert!(matches!(by_digest.selector(), Some(Selector::Digest(_))));
        assert!(":v1".parse::<LayoutReference>().is_err());
        assert!("dir@sha256:12".parse::<LayoutReference>().is_err());
    }

    #[test]
    fn only_this_machine_is_localhost() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1", "127.8.9.1:80", "[::1]:5000", "[::1]"] {
            assert!(is_localhost(yes), "{yes}");
        }
        for no in ["localhost.example", "127.0.0.1.example:80", "[::2]:1", "10.0.0.1", "", "r:127"] {
            assert!(!is_localhost(no), "{no}");
        }
    }
}

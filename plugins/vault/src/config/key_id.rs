//! Key ids: `KEY`, `MOUNT/KEY` and cosign's `hashivault://KEY`, each with `?version=N` or `@vN` behind it.

use std::fmt;

use prokura_plugin::Error;

use crate::limits::PATH_BYTES_MAX;

const COSIGN_SCHEME: &str = "hashivault://";
const DEFAULT_MOUNT: &str = "transit";

/// A key of a transit engine, and the version that shall sign: the latest, if none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransitId {
    /// Where the engine is mounted, such as `transit` or `teams/build/transit`.
    pub(crate) mount: String,
    /// Name of the key.
    pub(crate) name: String,
    /// The version that is asked for.
    pub(crate) version: Option<u32>,
}

impl TransitId {
    /// Reads a key id; `mount` is the plugin config of that name.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` saying what a key id looks like.
    pub(crate) fn parse(text: &str, mount: Option<&str>) -> Result<Self, Error> {
        let (path, version) = split_version(text.strip_prefix(COSIGN_SCHEME).unwrap_or(text))?;
        let (mount_of_id, name) = match path.rsplit_once('/') {
            Some((mount_of_id, name)) => (Some(mount_of_id), name),
            None => (None, path),
        };
        let mount = match (mount_of_id, mount) {
            (Some(found), Some(configured)) if found != configured.trim_matches('/') => {
                return Err(Error::validation(format!(
                    "key id {text:?} names the mount {found:?}, plugin config mount is {configured:?}; \
                     leave one of them out"
                )));
            }
            (Some(found), _) => found,
            (None, Some(configured)) => configured.trim_matches('/'),
            (None, None) => DEFAULT_MOUNT,
        };
        check_path(mount)?;
        check_segment(name)?;
        Ok(Self { mount: mount.to_owned(), name: name.to_owned(), version })
    }

    /// `MOUNT/keys/NAME`, as it stands in a policy.
    pub(crate) fn key_path(&self) -> String {
        format!("{}/keys/{}", self.mount, self.name)
    }

    /// `MOUNT/sign/NAME`, as it stands in a policy.
    pub(crate) fn sign_path(&self) -> String {
        format!("{}/sign/{}", self.mount, self.name)
    }

    /// The key id that names exactly this version.
    pub(crate) fn at_version(&self, version: u32) -> String {
        format!("{}/{}?version={version}", self.mount, self.name)
    }
}

impl fmt::Display for TransitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.name)
    }
}

fn split_version(text: &str) -> Result<(&str, Option<u32>), Error> {
    let split = text.split_once("?version=").or_else(|| text.rsplit_once("@v"));
    let Some((path, digits)) = split else { return Ok((text, None)) };
    let version = digits.parse::<u32>().ok().filter(|v| *v > 0 && !digits.starts_with(['+', '0']));
    let version = version.ok_or_else(|| {
        Error::validation(format!(
            "key id {text:?} names version {digits:?}, expected a number from 1, as in KEY?version=3 or KEY@v3"
        ))
    })?;
    Ok((path, Some(version)))
}

/// A path in the vault, as it stands in a policy: segments without anything a URL would read otherwise.
///
/// # Errors
/// `VALIDATION_ERROR` naming the segment.
pub(crate) fn check_path(path: &str) -> Result<(), Error> {
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::validation(format!(
            "a path in the vault has {} bytes, at most {PATH_BYTES_MAX} are allowed",
            path.len()
        )));
    }
    path.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let only_dots = segment.chars().all(|c| c == '.');
    if only_dots || !segment.chars().all(allowed) || segment.len() > PATH_BYTES_MAX {
        let shown: String = segment.chars().take(64).collect();
        return Err(Error::validation(format!(
            "{shown:?} is no name in the vault, expected letters, digits, '_', '-', '.' and ':'; \
             a key id is KEY, MOUNT/KEY or hashivault://KEY, with ?version=N behind it to pin a version"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(mount: &str, name: &str, version: Option<u32>) -> TransitId {
        TransitId { mount: mount.to_owned(), name: name.to_owned(), version }
    }

    #[test]
    fn keys_are_named_the_way_people_name_them() {
        for (text, mount, expected) in [
            ("release", None, id("transit", "release", None)),
            ("release", Some("signing/"), id("signing", "release", None)),
            ("signing/release", None, id("signing", "release", None)),
            ("teams/a/transit/release", None, id("teams/a/transit", "release", None)),
            ("hashivault://release", None, id("transit", "release", None)),
            ("hashivault://release?version=3", None, id("transit", "release", Some(3))),
            ("transit/release@v12", None, id("transit", "release", Some(12))),
            ("transit/release", Some("transit"), id("transit", "release", None)),
        ] {
            assert_eq!(TransitId::parse(text, mount).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_url_or_a_policy_would_read_otherwise_is_refused() {
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "../a",
            "a/..",
            "a/./b",
            "a b",
            "a?b",
            "a#b",
            "a%2fb",
            "a\\b",
            "ä",
            "a*",
            "a+",
            "k@v0",
            "k@v",
            "k?version=",
            "k?version=+1",
            "k?version=01",
            "k?version=99999999999",
            "k?v=1",
            "https://vault/v1/transit/keys/a",
        ] {
            assert!(TransitId::parse(bad, None).is_err(), "{bad}");
        }
        assert!(TransitId::parse(&"k".repeat(513), None).is_err());
    }

    #[test]
    fn two_mounts_are_refused() {
        let error = TransitId::parse("a/key", Some("b")).unwrap_err();
        assert!(error.message.contains("leave one of them out"), "{error}");
    }

    #[test]
    fn the_exact_key_id_is_read_back() {
        let exact = id("signing", "release", None).at_version(7);
        assert_eq!(TransitId::parse(&exact, None).unwrap(), id("signing", "release", Some(7)));
    }
}

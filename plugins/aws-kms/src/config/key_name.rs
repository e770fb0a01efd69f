//! Key ids: the five ways KMS itself names a key, bare or behind `awskms://` as users of cosign write them.

use prokura_plugin::Error;

const SCHEME: &str = "awskms://";

/// A key as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyName {
    text: String,
    region: Option<String>,
    endpoint: Option<String>,
}

impl KeyName {
    /// Reads a key id.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` saying which forms there are.
    pub(crate) fn parse(id: &str) -> Result<Self, Error> {
        let (endpoint, name) = match id.strip_prefix(SCHEME) {
            None => (None, id),
            Some(rest) => {
                let (host, name) = rest.split_once('/').ok_or_else(|| refused(id))?;
                (Some(host).filter(|h| !h.is_empty()), name)
            }
        };
        let region =
            if name.starts_with("arn:") { Some(region_of(name).ok_or_else(|| refused(id))?) } else { None };
        if region.is_none() && !is_resource(name) && !is_id(name) {
            return Err(refused(id));
        }
        Ok(Self {
            text: name.to_owned(),
            region: region.map(str::to_owned),
            endpoint: endpoint.map(|host| format!("https://{host}")),
        })
    }

    /// The name KMS is asked with.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The region an ARN names.
    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The endpoint a URI names.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// `alias/NAME`, if the key is named by an alias: a name that can be moved to another key.
    pub(crate) fn alias(&self) -> Option<&str> {
        let resource = self.text.rsplit(':').next().unwrap_or(&self.text);
        resource.starts_with("alias/").then_some(resource)
    }
}

/// The region of `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or `…:alias/NAME`.
fn region_of(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    let [_, partition, "kms", region, account, resource] = parts.as_slice() else { return None };
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let is_region = !region.is_empty() && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_key = resource.strip_prefix("key/").is_some_and(is_id);
    let is_named = is_key || resource.starts_with("alias/") && is_resource(resource);
    (partition.starts_with("aws") && is_account && is_region && is_named).then_some(region)
}

/// `alias/NAME` with the letters KMS allows.
fn is_resource(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    text.strip_prefix("alias/").is_some_and(|name| !name.is_empty() && name.chars().all(allowed))
}

/// A UUID, or the id of a multi-region key.
fn is_id(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(rest) = text.strip_prefix("mrk-") {
        return rest.len() == 32 && is_hex(rest);
    }
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.split('-').all(is_hex)
}

fn refused(id: &str) -> Error {
    let is_word = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let hint = if is_word { format!("; if {id} is an alias, write alias/{id}") } else { String::new() };
    Error::validation(format!(
        "key id {id:?} names no KMS key, expected a key id (1234abcd-12ab-34cd-56ef-1234567890ab or mrk-…), \
         arn:aws:kms:REGION:ACCOUNT:key/ID, alias/NAME or arn:aws:kms:REGION:ACCOUNT:alias/NAME{hint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const MULTI_REGION: &str = "mrk-1234abcd12ab34cd56ef1234567890ab";

    #[test]
    fn every_name_of_kms_is_a_key_id() {
        let arn = format!("arn:aws:kms:eu-central-1:111122223333:key/{ID}");
        let multi = format!("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/{MULTI_REGION}");
        for (id, region, alias) in [
            (ID, None, None),
            (MULTI_REGION, None, None),
            ("alias/Team/release_1", None, Some("alias/Team/release_1")),
            (arn.as_str(), Some("eu-central-1"), None),
            (multi.as_str(), Some("us-gov-west-1"), None),
            ("arn:aws-cn:kms:cn-north-1:111122223333:alias/r", Some("cn-north-1"), Some("alias/r")),
        ] {
            let name = KeyName::parse(id).unwrap();
            assert_eq!((name.as_str(), name.region(), name.alias()), (id, region, alias));
            let uri = KeyName::parse(&format!("awskms:///{id}")).unwrap();
            assert_eq!(uri, name);
        }
        let name = KeyName::parse("awskms://vpce-1.kms.eu-central-1.vpce.amazonaws.com/alias/r").unwrap();
        assert_eq!(name.endpoint(), Some("https://vpce-1.kms.eu-central-1.vpce.amazonaws.com"));
        assert_eq!(name.as_str(), "alias/r");
    }

    #[test]
    fn other_texts_are_refused_with_the_forms_there_are() {
        for bad in [
            "",
            "alias/",
            "alias/a b",
            "awskms://",
            "awskms:///",
            "arn:aws:kms:eu-central-1:111122223333:key/x",
            "arn:aws:s3:::bucket/key",
            "arn:aws:kms::111122223333:alias/r",
            "arn:aws:kms:eu-central-1:1111:alias/r",
            "mrk-1234",
            "1234abcd-12ab-34cd-56ef-1234567890a",
        ] {
            assert!(KeyName::parse(bad).is_err(), "{bad}");
        }
        let error = KeyName::parse("release").unwrap_err();
        assert!(error.message.ends_with("if release is an alias, write alias/release"), "{error}");
    }
}

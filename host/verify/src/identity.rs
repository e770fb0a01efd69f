//! Trusted identities and the distinguished names in them.
//!
//! Source: Notary Project specification "Trusted Identities Constraints"; the text form is RFC 4514. A name is read
//! as `notation` reads it: spaces around separators are dropped, `;` separates like `,`, `S` means `ST`, attribute
//! types are compared as written.

use std::collections::BTreeMap;
use std::fmt;

use prokura_envelope::certificate::Certificate;

use crate::limits::DISTINGUISHED_NAME_BYTES_MAX;
use crate::policy::StatementRule;

const X509_SUBJECT: &str = "x509.subject";
const MANDATORY: [&str; 3] = ["C", "ST", "O"];
const RULES: &str = "it must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum";

/// One entry of `trustedIdentities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedIdentity {
    /// `*`: whoever the trust store vouches for.
    Anyone,
    /// `x509.subject:<distinguished name>`: leaf certificates whose subject has all these attributes.
    Subject {
        /// As written.
        text: String,
        /// The attributes.
        name: DistinguishedName,
    },
    /// Another prefix: meant for a verification plugin, matches nothing here.
    Foreign(String),
}

/// A distinguished name with unique attribute types, at least C, ST and O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName {
    attributes: BTreeMap<String, String>,
}

/// Why a text is no distinguished name that identities can be compared with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is described by its own message; the fields are its values")]
pub enum NameError {
    #[error(
        "unsupported distinguished name (DN) {0:?}: notation does not support x509.subject identities containing \"=#\""
    )]
    HexValue(String),
    #[error(
        "parsing distinguished name (DN) {name:?} failed with err: {why}. A valid DN must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum, and follow RFC 4514 standard"
    )]
    Malformed { name: String, why: &'static str },
    #[error(
        "distinguished name (DN) {0:?} has multi-valued RDN attributes, remove multi-valued RDN attributes as they are not supported"
    )]
    MultiValued(String),
    #[error(
        "distinguished name (DN) {name:?} has duplicate RDN attribute for {attribute:?}, DN can only have unique RDN attributes"
    )]
    Duplicate { name: String, attribute: String },
    #[error("distinguished name (DN) {name:?} has no mandatory RDN attribute for {attribute:?}, {RULES}")]
    Mandatory { name: String, attribute: &'static str },
    #[error("a distinguished name (DN) of {0} bytes, at most {DISTINGUISHED_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
}

impl TrustedIdentity {
    /// Reads one entry of `trustedIdentities`.
    ///
    /// # Errors
    /// The broken [`StatementRule`].
    pub fn parse(value: &str) -> Result<Self, StatementRule> {
        match value {
            "" => return Err(StatementRule::EmptyIdentity),
            "*" => return Ok(Self::Anyone),
            _ => {}
        }
        let (prefix, name) =
            value.split_once(':').ok_or_else(|| StatementRule::IdentitySeparator(value.to_owned()))?;
        if prefix != X509_SUBJECT {
            return Ok(Self::Foreign(value.to_owned()));
        }
        if name.is_empty() {
            return Err(StatementRule::IdentityValue(value.to_owned()));
        }
        let parsed = DistinguishedName::parse(name);
        let name = parsed.map_err(|why| StatementRule::IdentityName { identity: value.to_owned(), why })?;
        Ok(Self::Subject { text: value.to_owned(), name })
    }

    /// The name of an `x509.subject` identity.
    pub const fn subject(&self) -> Option<&DistinguishedName> {
        match self {
            Self::Subject { name, .. } => Some(name),
            Self::Anyone | Self::Foreign(_) => None,
        }
    }
}

impl fmt::Display for TrustedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::Subject { text, .. } | Self::Foreign(text) => f.write_str(text),
        }
    }
}

impl DistinguishedName {
    /// Reads a name in the text form of RFC 4514.
    ///
    /// # Errors
    /// [`NameError`]; values in hexadecimal form, multi-valued RDNs and repeated attribute types are refused.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.len() > DISTINGUISHED_NAME_BYTES_MAX {
            return Err(NameError::TooLong(name.len()));
        }
        if name.contains("=#") {
            return Err(NameError::HexValue(name.to_owned()));
        }
        let malformed = |why| NameError::Malformed { name: name.to_owned(), why };
        let mut attributes = BTreeMap::new();
        for part in split(name) {
            let (attribute, value) = assertion(part.text).map_err(malformed)?;
            if part.ends_with_plus {
                return Err(NameError::MultiValued(name.to_owned()));
            }
            if attributes.insert(attribute.clone(), value).is_some() {
                return Err(NameError::Duplicate { name: name.to_owned(), attribute });
            }
        }
        Self::with_mandatory(attributes, name)
    }

    /// The subject of a certificate. It must keep the same rules: no attribute type without a name of its own (those
    /// are shown as `=#`), no multi-valued RDN, no type twice. Taken from the certificate itself, not from the text that
    /// people see.
    ///
    /// # Errors
    /// [`NameError`], naming the subject as text.
    pub fn subject_of(certificate: &Certificate) -> Result<Self, NameError> {
        let name = certificate.subject();
        let mut attributes = BTreeMap::new();
        for attribute in certificate.subject_attributes() {
            if attribute.kind.contains('.') {
                return Err(NameError::HexValue(name));
            }
            if attribute.multi_valued {
                return Err(NameError::MultiValued(name));
            }
            if attributes.insert(attribute.kind.clone(), attribute.value).is_some() {
                return Err(NameError::Duplicate { name, attribute: attribute.kind });
            }
        }
        Self::with_mandatory(attributes, &name)
    }

    fn with_mandatory(attributes: BTreeMap<String, String>, name: &str) -> Result<Self, NameError> {
        let lacks = |wanted: &&str| attributes.get(*wanted).is_none_or(String::is_empty);
        match MANDATORY.into_iter().find(lacks) {
            Some(attribute) => Err(NameError::Mandatory { name: name.to_owned(), attribute }),
            None => Ok(Self { attributes }),
        }
    }

    /// Whether `other` has every attribute of this name with exactly the same value.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.attributes.iter().all(|(attribute, value)| other.attributes.get(attribute) == Some(value))
    }
}

/// `type=value` as written, and whether another one of the same RDN follows.
struct Part<'a> {
    text: &'a str,
    ends_with_plus: bool,
}

fn split(name: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' | b';' | b'+' => {
                let text = name.get(start..at).unwrap_or_default();
                parts.push(Part { text, ends_with_plus: byte == b'+' });
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(Part { text: name.get(start..).unwrap_or_default(), ends_with_plus: false });
    parts
}

fn assertion(part: &str) -> Result<(String, String), &'static str> {
    let mut escaped = false;
    let equals = part.bytes().position(|byte| {
        let plain = !escaped;
        escaped = plain && byte == b'\\';
        plain && byte == b'='
    });
    let (attribute, value) = equals
        .and_then(|at| Some((part.get(..at)?, part.get(at + 1..)?)))
        .ok_or("incomplete type, value pair")?;
    let attribute = match unescape(attribute)? {
        empty if empty.is_empty() => return Err("incomplete type, value pair"),
        alias if alias == "S" => "ST".to_owned(),
        attribute => attribute,
    };
    Ok((attribute, unescape(value)?))
}

/// Drops the spaces around and resolves `\,` and `\2C`. Hexadecimal pairs are bytes of UTF-8 (RFC 4514 section 2.4).
fn unescape(text: &str) -> Result<String, &'static str> {
    let trimmed = trim_spaces(text);
    let mut bytes = trimmed.bytes();
    let mut plain = Vec::with_capacity(trimmed.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let escaped = bytes.next().ok_or("a backslash at the end")?;
        if b" \"#+,;<=>\\".contains(&escaped) {
            plain.push(escaped);
            continue;
        }
        let low = bytes.next().ok_or("a backslash in front of half a hexadecimal pair")?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let pair = digit(escaped).zip(digit(low)).ok_or("a backslash in front of what needs none")?;
        plain.push(pair.0 << 4 | pair.1);
    }
    String::from_utf8(plain).map_err(|_| "a value that is not UTF-8")
}

/// Spaces around are dropped, but not one that is escaped.
fn trim_spaces(text: &str) -> &str {
    let text = text.trim_start_matches(' ');
    let trimmed = text.trim_end_matches(' ');
    let backslashes = trimmed.bytes().rev().take_while(|b| *b == b'\\').count();
    let escaped_space = backslashes % 2 == 1 && trimmed.len() < text.len();
    text.get(..trimmed.len() + usize::from(escaped_space)).unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<DistinguishedName, NameError> {
        DistinguishedName::parse(name)
    }

    fn value(name: &str, attribute: &str) -> String {
        parse(name).unwrap().attributes[attribute].clone()
    }

    #[test]
    fn spaces_separators_aliases_and_escapes_are_read_as_rfc_4514_says() {
        let plain = parse("CN=x,O=Notary,ST=WA,C=US").unwrap();
        for same in [
            "C=US, ST=WA, O=Notary, CN=x",
            "C=US;ST=WA;O=Notary;CN=x",
            " C = US ,S=WA,O=Notary , CN= x ",
            "C=US,ST=WA,O=N\\6ftary,CN=\\78",
        ] {
            assert_eq!(parse(same).unwrap(), plain, "{same}");
        }
        assert_eq!(value("C=US,ST=WA,O=Acme\\, Inc.", "O"), "Acme, Inc.");
        assert_eq!(value("C=US,ST=WA,O=a=b", "O"), "a=b");
        assert_eq!(value("C=US,ST=WA,O=a\\ ", "O"), "a ");
        assert_eq!(value("C=US,ST=WA,O=\\C3\\A9\\+\\\\", "O"), "é+\\");
        assert_eq!(value("C=US,ST=WA,O=é", "O"), "é");
    }

    #[test]
    fn names_against_a_rule_are_refused_by_that_rule() {
        let cases = [
            ("C=US,ST=WA,O=#0c0161", "containing \"=#\""),
            ("C=US,ST=WA,O=x+OU=y", "has multi-valued RDN attributes"),
            ("C=US,ST=WA,O=x,OU=a,OU=b", "has duplicate RDN attribute for \"OU\""),
            ("C=US,ST=WA,S=WA,O=x", "has duplicate RDN attribute for \"ST\""),
            ("ST=WA,O=x", "has no mandatory RDN attribute for \"C\""),
            ("C=US,O=x", "has no mandatory RDN attribute for \"ST\""),
            ("C=US,ST=WA", "has no mandatory RDN attribute for \"O\""),
            ("C=US,ST=WA,O=", "has no mandatory RDN attribute for \"O\""),
            ("c=US,ST=WA,O=x", "has no mandatory RDN attribute for \"C\""),
            ("", "incomplete type, value pair"),
            ("C=US,ST=WA,O", "incomplete type, value pair"),
            ("C=US,,ST=WA,O=x", "incomplete type, value pair"),
            ("C=US,ST=WA,=x", "incomplete type, value pair"),
            ("C=US,ST=WA,O=x\\", "a backslash at the end"),
            ("C=US,ST=WA,O=x\\4", "half a hexadecimal pair"),
            ("C=US,ST=WA,O=x\\zz", "what needs none"),
            ("C=US,ST=WA,O=x\\ff", "not UTF-8"),
        ];
        for (name, words) in cases {
            let error = parse(name).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
        let long = format!("C=US,ST=WA,O={}", "x".repeat(DISTINGUISHED_NAME_BYTES_MAX));
        assert!(matches!(parse(&long), Err(NameError::TooLong(_))));
    }

    #[test]
    fn an_identity_matches_by_subset_and_exact_values() {
        let subject = parse("CN=x,O=Notary,L=Seattle,ST=WA,C=US").unwrap();
        assert!(parse("C=US,ST=WA,O=Notary").unwrap().is_subset_of(&subject));
        assert!(parse("C=US,S=WA,O=Notary,CN=x").unwrap().is_subset_of(&subject));
        for other in [
            "C=US,ST=WA,O=notary",
            "C=US,ST=WA,O=Notary,CN=y",
            "C=US,ST=WA,O=Notary,OU=z",
            "C=US,ST=WA,O=Notary,cn=x",
        ] {
            assert!(!parse(other).unwrap().is_subset_of(&subject), "{other}");
        }
    }

    #[test]
    fn a_subject_with_a_multi_valued_rdn_is_refused() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (rcgen::DnType::CountryName, "US"),
            (rcgen::DnType::StateOrProvinceName, "WA"),
            (rcgen::DnType::OrganizationName, "x"),
        ] {
            params.distinguished_name.push(kind, value);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let mut der = params.self_signed(&key).unwrap().der().to_vec();
        let subject = DistinguishedName::subject_of(&Certificate::from_der(&der).unwrap()).unwrap();
        assert_eq!(subject, parse("C=US,ST=WA,O=x").unwrap());
        // Two SETs become one of the same total length; its second value grows by the two bytes of the header saved.
        let apart =
            b"\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x0c\x02US\x31\x0b\x30\x09\x06\x03\x55\x04\x08\x0c\x02WA";
        let joined =
            b"\x31\x18\x30\x09\x06\x03\x55\x04\x06\x0c\x02US\x30\x0b\x06\x03\x55\x04\x08\x0c\x04WAxx";
        let places: Vec<_> =
            der.windows(apart.len()).enumerate().filter(|(_, w)| w == apart).map(|(at, _)| at).collect();
        assert_eq!(places.len(), 2, "issuer and subject");
        for at in places {
            der[at..at + joined.len()].copy_from_slice(joined);
        }
        let error = DistinguishedName::subject_of(&Certificate::from_der(&der).unwrap()).unwrap_err();
        assert!(matches!(error, NameError::MultiValued(_)), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(name in ".{0,60}", soup in "[CSTO=,;+\\\\ #a2]{0,40}") {
            let _ = parse(&name);
            let _ = parse(&soup);
            let _ = TrustedIdentity::parse(&format!("x509.subject:{soup}"));
        }

        #[test]
        fn an_escaped_value_is_read_back(value in "[ -~éß]{1,40}") {
            let bytes = value.bytes().map(|b| format!("\\{b:02x}")).collect::<String>();
            let read = parse(&format!("C=US,ST=WA,O={bytes}")).unwrap();
            proptest::prop_assert_eq!(&read.attributes["O"], &value);
        }
    }

    #[test]
    fn identities_are_told_apart_by_prefix() {
        assert_eq!(TrustedIdentity::parse("*"), Ok(TrustedIdentity::Anyone));
        let foreign = TrustedIdentity::parse("plugin.id:anything").unwrap();
        assert_eq!((foreign.to_string(), foreign.subject()), ("plugin.id:anything".to_owned(), None));
        let upper = TrustedIdentity::parse("X509.subject:C=US,ST=WA,O=x").unwrap();
        assert!(matches!(upper, TrustedIdentity::Foreign(_)), "the prefix is compared exactly");
    }
}

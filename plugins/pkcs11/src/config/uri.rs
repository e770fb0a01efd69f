//! PKCS#11 URIs (RFC 7512): parsed strictly into what they say of the module, the token, the key and the PIN.
//!
//! Attributes of vendors, which by custom start with `x-`, are ignored; everything else that is not understood is refused. A
//! mistyped name would else match any token, or drop where the PIN is.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::limits::{NAME_DISTANCE_MAX, SHOWN_CHARS_MAX};

/// Attributes of vendors start so.
const VENDOR: &str = "x-";
const PATH_NAMES: [&str; 13] = [
    "token",
    "manufacturer",
    "serial",
    "model",
    "slot-id",
    "slot-manufacturer",
    "slot-description",
    "library-manufacturer",
    "library-description",
    "library-version",
    "object",
    "id",
    "type",
];
const QUERY_NAMES: [&str; 3] = ["module-path", "module-name", "pin-source"];
const SCHEME: &str = "pkcs11:";
/// Besides letters, digits and escapes: `pk11-path-res-avail` and the unreserved marks.
const PATH_MARKS: &str = "-._~:[]@!$'()*+,=&";
/// Besides letters, digits and escapes: `pk11-query-res-avail` and the unreserved marks.
const QUERY_MARKS: &str = "-._~:[]@!$'()*+,=/?|";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a URI says. An absent attribute matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// Attributes of the token, its slot and its library.
    pub token: TokenFilter,
    /// Attributes of the private key.
    pub object: ObjectFilter,
    /// `module-path`: file name of the PKCS#11 library.
    pub module_path: Option<String>,
    /// `module-name`: its name without path, prefix `lib` and suffix.
    pub module_name: Option<String>,
    /// `pin-source`, still to be parsed by [`prokura_plugin::pin::PinSource::parse`].
    pub pin_source: Option<String>,
}

/// Which tokens match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// `token`: label of the token.
    pub label: Option<String>,
    /// `manufacturer` of the token.
    pub manufacturer: Option<String>,
    /// `serial`: serial number of the token.
    pub serial: Option<String>,
    /// `model` of the token.
    pub model: Option<String>,
    /// `slot-id`. Many modules number their slots anew after each start.
    pub slot_id: Option<u64>,
    /// `slot-manufacturer`.
    pub slot_manufacturer: Option<String>,
    /// `slot-description`.
    pub slot_description: Option<String>,
    /// `library-manufacturer`.
    pub library_manufacturer: Option<String>,
    /// `library-description`.
    pub library_description: Option<String>,
    /// `library-version`: major and minor.
    pub library_version: Option<(u8, u8)>,
}

/// Which private keys match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectFilter {
    /// `object`: CKA_LABEL.
    pub label: Option<String>,
    /// `id`: CKA_ID.
    pub id: Option<Vec<u8>>,
}

/// Why a text is no URI this plugin can follow. The value of an attribute is never repeated: it may be a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme.
    #[error("not a PKCS#11 URI, expected pkcs11:")]
    Scheme,
    /// A part that is no `name=value`.
    #[error("expected name=value between the separators of a PKCS#11 URI, found {0:?}")]
    Attribute(String),
    /// A character that must be percent-encoded.
    #[error("attribute {attribute} holds {found:?}, which a PKCS#11 URI writes as {escaped}")]
    Character {
        /// Name of the attribute.
        attribute: String,
        /// The character found.
        found: char,
        /// How it is to be written.
        escaped: String,
    },
    /// A percent sign without two hexadecimal digits.
    #[error("attribute {0} holds a % without two hexadecimal digits")]
    Escape(String),
    /// A text that is not UTF-8 once decoded.
    #[error("attribute {0} is not UTF-8 once decoded")]
    NotText(String),
    /// An attribute that neither the standard nor this plugin knows. Only its name is told.
    #[error("attribute {name} is not known, {advice}; one that is not understood would match anything")]
    Unknown {
        /// Name of the attribute.
        name: String,
        /// What may be meant.
        advice: String,
    },
    /// The same attribute twice.
    #[error("attribute {0} is given twice")]
    Duplicate(String),
    /// An attribute without a value.
    #[error("attribute {0} is empty; leave it out to match anything")]
    Empty(String),
    /// A number or version that is none.
    #[error("attribute {attribute} is no {expected}")]
    Number {
        /// Name of the attribute.
        attribute: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// `type` of something that cannot sign.
    #[error("attribute type is not \"private\": only private keys sign")]
    ObjectType,
    /// A PIN in the URI itself.
    #[error(
        "pin-value is refused: a key id is shown and logged. Name the place of the PIN with pin-source, and \
         consider this PIN disclosed"
    )]
    PinValue,
}

/// Whether `text` claims to be a PKCS#11 URI. Schemes are case-insensitive (RFC 3986 section 3.1).
pub fn is_uri(text: &str) -> bool {
    after_scheme(text).is_some()
}

/// Parses a URI.
///
/// # Errors
/// [`UriError`], see there.
pub fn parse(text: &str) -> Result<Uri, UriError> {
    let rest = after_scheme(text).ok_or(UriError::Scheme)?;
    let (path, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    let mut uri = Uri::default();
    let mut seen = BTreeSet::new();
    for attribute in attributes(path, ';', PATH_MARKS) {
        let (name, value) = attribute?;
        if !seen.insert(name.clone()) {
            return Err(UriError::Duplicate(name));
        }
        uri.take_path(&name, value)?;
    }
    seen.clear();
    for attribute in query.into_iter().flat_map(|q| attributes(q, '&', QUERY_MARKS)) {
        let (name, value) = attribute?;
        let known = uri.take_query(&name, value)?;
        if !seen.insert(name.clone()) && known {
            return Err(UriError::Duplicate(name));
        }
    }
    Ok(uri)
}

/// Writes `name=value` as a URI's path has it.
pub fn text_attribute(name: &str, value: &[u8]) -> String {
    format!("{name}={}", percent_encode(value, UNRESERVED))
}

/// Writes `id=%01%02`, every byte escaped as section 2.3 recommends.
pub fn id_attribute(id: &[u8]) -> String {
    id.iter().fold("id=".to_owned(), |text, byte| text + &format!("%{byte:02X}"))
}

impl Uri {
    fn take_path(&mut self, name: &str, value: Vec<u8>) -> Result<(), UriError> {
        let token = &mut self.token;
        match name {
            "token" => token.label = Some(utf8(name, value)?),
            "manufacturer" => token.manufacturer = Some(utf8(name, value)?),
            "serial" => token.serial = Some(utf8(name, value)?),
            "model" => token.model = Some(utf8(name, value)?),
            "slot-id" => token.slot_id = Some(slot_id(&utf8(name, value)?)?),
            "slot-manufacturer" => token.slot_manufacturer = Some(utf8(name, value)?),
            "slot-description" => token.slot_description = Some(utf8(name, value)?),
            "library-manufacturer" => token.library_manufacturer = Some(utf8(name, value)?),
            "library-description" => token.library_description = Some(utf8(name, value)?),
            "library-version" => token.library_version = Some(library_version(&utf8(name, value)?)?),
            "object" => self.object.label = Some(utf8(name, value)?),
            "id" => self.object.id = Some(value),
            "type" if value != b"private" => return Err(UriError::ObjectType),
            "pin-value" => return Err(UriError::PinValue),
            "type" => {}
            _ if name.starts_with(VENDOR) => {}
            _ => return Err(unknown(name, &PATH_NAMES, "behind", &QUERY_NAMES)),
        }
        Ok(())
    }

    /// Returns whether the attribute is one of the standard's, which must not repeat.
    fn take_query(&mut self, name: &str, value: Vec<u8>) -> Result<bool, UriError> {
        let field = match name {
            "module-path" => &mut self.module_path,
            "module-name" => &mut self.module_name,
            "pin-source" => &mut self.pin_source,
            "pin-value" => return Err(UriError::PinValue),
            _ if name.starts_with(VENDOR) => return Ok(false),
            _ => return Err(unknown(name, &QUERY_NAMES, "before", &PATH_NAMES)),
        };
        let text = utf8(name, value)?;
        field.get_or_insert(text);
        Ok(true)
    }
}

/// Refuses an attribute of one part of the URI; `elsewhere` are those of the other one.
fn unknown(name: &str, here: &[&str], where_else: &str, elsewhere: &[&str]) -> UriError {
    let name = name.to_owned();
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known);
    let nearest = here.iter().map(|known| (distance(known), known)).min();
    let near = nearest.filter(|(far, _)| *far <= NAME_DISTANCE_MAX.min(name.len() / 2));
    let advice = match near {
        _ if elsewhere.contains(&name.as_str()) => format!("it belongs {where_else} the ?"),
        Some((_, known)) => format!("{known} may be meant"),
        None => format!("known here are {}, and names of vendors that start with {VENDOR}", here.join(", ")),
    };
    UriError::Unknown { name, advice }
}

/// Parses the decimal `slot-id`.
///
/// # Errors
/// [`UriError::Number`].
pub fn slot_id(text: &str) -> Result<u64, UriError> {
    let wrong = UriError::Number { attribute: "slot-id", expected: "decimal number" };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong);
    }
    text.parse().map_err(|_| wrong)
}

fn library_version(text: &str) -> Result<(u8, u8), UriError> {
    let wrong = || UriError::Number { attribute: "library-version", expected: "version such as 2.6" };
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    Ok((major.parse().map_err(|_| wrong())?, minor.parse().map_err(|_| wrong())?))
}

fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

fn attributes<'a>(
    part: &'a str,
    separator: char,
    marks: &'a str,
) -> impl Iterator<Item = Result<(String, Vec<u8>), UriError>> {
    let pieces = (!part.is_empty()).then(|| part.split(separator));
    pieces.into_iter().flatten().map(|piece| attribute(piece, marks))
}

fn attribute(piece: &str, marks: &str) -> Result<(String, Vec<u8>), UriError> {
    let (name, value) = piece.split_once('=').ok_or_else(|| UriError::Attribute(shown(piece)))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(UriError::Attribute(shown(name)));
    }
    let name = shown(name);
    if value.is_empty() {
        return Err(UriError::Empty(name));
    }
    let value = decode(&name, value, marks)?;
    Ok((name, value))
}

fn decode(name: &str, value: &str, marks: &str) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(found) = rest.next() {
        let byte = match found {
            '%' => escaped_byte(rest.by_ref().take(2)).ok_or_else(|| UriError::Escape(name.to_owned()))?,
            c if c.is_ascii_alphanumeric() || marks.contains(c) => c as u8,
            _ => {
                let escaped =
                    percent_encode(found.encode_utf8(&mut [0; 4]).as_bytes(), UNRESERVED).to_string();
                return Err(UriError::Character { attribute: name.to_owned(), found, escaped });
            }
        };
        decoded.push(byte);
    }
    Ok(decoded)
}

fn escaped_byte(mut digits: impl Iterator<Item = char>) -> Option<u8> {
    let high = digits.next()?.to_digit(16)?;
    let low = digits.next()?.to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn utf8(name: &str, value: Vec<u8>) -> Result<String, UriError> {
    String::from_utf8(value).map_err(|_| UriError::NotText(name.to_owned()))
}

/// The part before any `=`, cut: what follows may be secret.
fn shown(piece: &str) -> String {
    piece.chars().take_while(|c| *c != '=').take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standard_attribute_is_read() {
        let uri = parse(
            "PKCS11:token=Build%20Keys;manufacturer=SoftHSM%20project;serial=6aa1;model=v2;slot-id=42;\
             slot-manufacturer=a;slot-description=b;library-manufacturer=c;library-description=d;\
             library-version=2.6;object=release;id=%01%FF;type=private;x-vendor=1\
             ?module-path=/usr/lib/p11.so&module-name=p11&pin-source=file:/etc/pin",
        )
        .unwrap();
        assert_eq!(uri.token.label.as_deref(), Some("Build Keys"));
        assert_eq!(uri.token.manufacturer.as_deref(), Some("SoftHSM project"));
        assert_eq!(uri.token.slot_id, Some(42));
        assert_eq!(uri.token.library_version, Some((2, 6)));
        assert_eq!(uri.object, ObjectFilter { label: Some("release".into()), id: Some(vec![1, 0xFF]) });
        assert_eq!(uri.module_path.as_deref(), Some("/usr/lib/p11.so"));
        assert_eq!(uri.module_name.as_deref(), Some("p11"));
        assert_eq!(uri.pin_source.as_deref(), Some("file:/etc/pin"));
        assert_eq!(parse("pkcs11:"), Ok(Uri::default()));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let label = "Schlüssel; #1?&=%/\u{1F511}";
        let text =
            format!("pkcs11:{};{}", text_attribute("object", label.as_bytes()), id_attribute(&[0, 61, 200]));
        let object = parse(&text).unwrap().object;
        assert_eq!(object, ObjectFilter { label: Some(label.into()), id: Some(vec![0, 61, 200]) });
    }

    #[test]
    fn duplicates_are_refused_except_vendor_queries() {
        for (text, name) in [
            ("pkcs11:token=a;token=a", "token"),
            ("pkcs11:x-v=a;x-v=b", "x-v"),
            ("pkcs11:?pin-source=/a&pin-source=/a", "pin-source"),
        ] {
            assert_eq!(parse(text), Err(UriError::Duplicate(name.into())), "{text}");
        }
        assert!(parse("pkcs11:token=a?x-v=1&x-v=2").is_ok());
    }

    #[test]
    fn malformed_text_is_refused_by_its_fault() {
        let attribute = |found: &str| UriError::Attribute(found.into());
        let escape = |name: &str| UriError::Escape(name.into());
        let character = |found, escaped: &str| UriError::Character {
            attribute: "token".into(),
            found,
            escaped: escaped.into(),
        };
        for (text, error) in [
            ("https://token", UriError::Scheme),
            ("pkcs1", UriError::Scheme),
            ("pkcs11é:token=a", UriError::Scheme),
            ("pkcs11:token", attribute("token")),
            ("pkcs11:token=a;", attribute("")),
            ("pkcs11:token=a;;object=b", attribute("")),
            ("pkcs11:=a", attribute("")),
            ("pkcs11:tok%65n=a", attribute("tok%65n")),
            ("pkcs11:token=", UriError::Empty("token".into())),
            ("pkcs11:id=%", escape("id")),
            ("pkcs11:id=%0", escape("id")),
            ("pkcs11:id=%0g", escape("id")),
            ("pkcs11:id=%+1", escape("id")),
            ("pkcs11:token=a b", character(' ', "%20")),
            ("pkcs11:token=a/b", character('/', "%2F")),
            ("pkcs11:token=a#b", character('#', "%23")),
            ("pkcs11:token=ü", character('ü', "%C3%BC")),
            ("pkcs11:token=%FF", UriError::NotText("token".into())),
            ("pkcs11:type=cert", UriError::ObjectType),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        for bad in ["", "-1", "+1", "0x1", "18446744073709551616"] {
            assert!(parse(&format!("pkcs11:slot-id={bad}")).is_err(), "{bad}");
        }
        assert!(parse("pkcs11:library-version=2.6.1").is_err());
    }

    #[test]
    fn a_mistyped_attribute_is_refused_with_the_one_that_is_meant() {
        for (text, advice) in [
            ("pkcs11:tokn=a;object=b", "tokn is not known, token may be meant"),
            ("pkcs11:Token=a;object=b", "Token is not known, token may be meant"),
            ("pkcs11:object=b;slotid=1", "slot-id may be meant"),
            ("pkcs11:object=b?pin-sorce=/a", "pin-sorce is not known, pin-source may be meant"),
            ("pkcs11:object=b;pin-source=a", "pin-source is not known, it belongs behind the ?"),
            ("pkcs11:object=b?token=a", "token is not known, it belongs before the ?"),
            ("pkcs11:object=b;colour=a", "known here are token, manufacturer"),
            ("pkcs11:object=b?colour=a", "known here are module-path"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(advice), "{text}: {error}");
        }
        assert!(parse("pkcs11:object=b;x-colour=a?x-colour=b").is_ok());
    }

    #[test]
    fn a_pin_in_the_uri_is_refused_and_not_repeated() {
        for text in ["pkcs11:token=a?pin-value=1234", "pkcs11:pin-value=1234", "pkcs11:?PIN 1234=x"] {
            let error = parse(text).unwrap_err();
            let allowed = matches!(error, UriError::PinValue | UriError::Attribute(_));
            assert!(allowed, "{error:?}");
        }
        let error = parse("pkcs11:token=a?pin-value=1234").unwrap_err().to_string();
        assert!(error.contains("pin-source") && !error.contains("1234"), "{error}");
        let error = parse("pkcs11:token=a?pin-source=12%zz34").unwrap_err().to_string();
        assert!(!error.contains("12"), "{error}");
    }
}

//! Distinguished names as notation prints them, and their attributes one by one.
//!
//! The order is that of Go's `pkix.Name.String`, which trusted identities in existing policies were copied from:
//! SERIALNUMBER, CN, OU, O, POSTALCODE, STREET, L, ST, C, then every other attribute as `oid=#hex`, last first.
//! Several values of one type are joined with `+`.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Tag, Tagged};
use x509_cert::name::Name;

/// One attribute of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectAttribute {
    /// Short name such as `CN`, or the dotted OID for any type without one.
    pub kind: String,
    /// The value; `#` and the hex of its DER if it is no text.
    pub value: String,
    /// Whether it shares its relative distinguished name with other attributes.
    pub multi_valued: bool,
}

/// Types with a short name, in the order in which they are printed.
const SHORT_NAMES: [(ObjectIdentifier, &str); 9] = [
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "SERIALNUMBER"),
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.17"), "POSTALCODE"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
];

pub(super) fn attributes(name: &Name) -> Vec<SubjectAttribute> {
    let mut attributes = Vec::new();
    for rdn in name.iter_rdn() {
        for attribute in rdn.iter() {
            let short = SHORT_NAMES.iter().find(|(oid, _)| *oid == attribute.oid);
            let kind = short.map_or_else(|| attribute.oid.to_string(), |(_, name)| (*name).to_owned());
            let value = AnyRef::from(&attribute.value);
            let value = text(value).unwrap_or_else(|| hex_of_der(value));
            attributes.push(SubjectAttribute { kind, value, multi_valued: rdn.len() > 1 });
        }
    }
    attributes
}

pub(super) fn to_text(name: &Name) -> String {
    let all: Vec<_> = name.iter_rdn().flat_map(|rdn| rdn.iter()).collect();
    let mut parts = Vec::new();
    for (oid, short) in SHORT_NAMES {
        let values = all.iter().filter(|a| a.oid == oid).filter_map(|a| text(AnyRef::from(&a.value)));
        let mut values: Vec<String> = values.collect();
        if matches!(short, "CN" | "SERIALNUMBER") {
            // The last one wins, and an empty one is not printed.
            values = values.pop().filter(|v| !v.is_empty()).into_iter().collect();
        }
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|v| format!("{short}={}", escaped(v))).collect();
            parts.push(values.join("+"));
        }
    }
    for other in all.iter().rev().filter(|a| SHORT_NAMES.iter().all(|(oid, _)| *oid != a.oid)) {
        parts.push(format!("{}={}", other.oid, hex_of_der(AnyRef::from(&other.value))));
    }
    parts.join(",").chars().filter(|c| !c.is_control()).collect()
}

/// Escapes as RFC 4514 section 2.4 asks.
fn escaped(value: &str) -> String {
    let last = value.char_indices().last().map_or(0, |(at, _)| at);
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let escape = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if escape {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The text of a DirectoryString (RFC 5280 section 4.1.2.4) or IA5String.
fn text(value: AnyRef<'_>) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        // Read as ISO 8859-1, as everybody does.
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok())?
        }
        _ => None,
    }
}

/// `#` and the DER in hex. Texts are encoded anew, as PrintableString or UTF8String, the way notation shows them.
fn hex_of_der(value: AnyRef<'_>) -> String {
    let (tag, content) = match text(value) {
        Some(text) if text.bytes().all(is_printable_string) => (Tag::PrintableString, text.into_bytes()),
        Some(text) => (Tag::Utf8String, text.into_bytes()),
        None => (value.tag(), value.value().to_vec()),
    };
    let der = AnyRef::new(tag, &content).and_then(|any| der::Encode::to_der(&any)).unwrap_or_default();
    format!("#{}", crate::lower_hex(&der))
}

/// The characters of an ASN.1 PrintableString.
fn is_printable_string(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::Decode;

    /// A Name of one RDN per inner list: (last arc of 2.5.4, tag, bytes).
    fn name(rdns: &[&[(u8, u8, &[u8])]]) -> Name {
        let tlv =
            |tag: u8, content: Vec<u8>| [vec![tag, u8::try_from(content.len()).unwrap()], content].concat();
        let rdns = rdns.iter().map(|attributes| {
            let attributes = attributes.iter().map(|(arc, tag, value)| {
                tlv(0x30, [tlv(6, vec![0x55, 4, *arc]), tlv(*tag, value.to_vec())].concat())
            });
            tlv(0x31, attributes.collect::<Vec<_>>().concat())
        });
        Name::from_der(&tlv(0x30, rdns.collect::<Vec<_>>().concat())).unwrap()
    }

    #[test]
    fn attributes_are_printed_in_the_order_notation_uses() {
        let subject = name(&[
            &[(6, 0x13, b"US")],
            &[(8, 0x13, b"WA")],
            &[(7, 0x13, b"Seattle")],
            &[(10, 0x0c, b"Notary")],
            &[(3, 0x0c, b"wabbit-networks.io")],
        ]);
        assert_eq!(to_text(&subject), "CN=wabbit-networks.io,O=Notary,L=Seattle,ST=WA,C=US");
    }

    #[test]
    fn escapes_repeated_types_and_types_without_a_name() {
        let subject = name(&[
            &[(12, 0x13, b"Clerk"), (10, 0x0c, "Müller, Söhne + Co".as_bytes())],
            &[(11, 0x0c, b"a")],
            &[(11, 0x0c, b" #b ")],
            &[(3, 0x0c, b"#1\x1b")],
        ]);
        assert_eq!(
            to_text(&subject),
            "CN=\\#1,OU=a+OU=\\ #b\\ ,O=Müller\\, Söhne \\+ Co,2.5.4.12=#1305436c65726b"
        );
        let attributes = attributes(&subject);
        assert_eq!((attributes[0].kind.as_str(), attributes[0].value.as_str()), ("2.5.4.12", "Clerk"));
        assert!(attributes[0].multi_valued && attributes[1].multi_valued && !attributes[2].multi_valued);
        assert_eq!(attributes[3].value, " #b ");
    }

    #[test]
    fn old_string_types_are_read_and_other_values_shown_as_der() {
        let subject = name(&[&[(10, 0x14, b"M\xfcller")], &[(7, 0x1e, b"\0K\0\xf6")], &[(13, 0x02, &[5])]]);
        assert_eq!(to_text(&subject), "O=Müller,L=Kö,2.5.4.13=#020105");
        assert_eq!(attributes(&subject)[2].value, "#020105");
    }

    #[test]
    fn sets_out_of_der_order_are_read_as_they_are() {
        let subject = name(&[&[(10, 0x13, b"zzzz"), (7, 0x13, b"a")]]);
        assert_eq!(to_text(&subject), "O=zzzz,L=a");
    }
}

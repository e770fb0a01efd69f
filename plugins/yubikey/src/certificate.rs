//! Certificates: the one in a slot, the one by which a device attests a key, and what is read in them.

use der::{Decode, Encode};
use prokura_plugin::limits::CERTIFICATE_BYTES_MAX;
use prokura_plugin::{Error, PublicKey};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use yubikey::{PinPolicy, TouchPolicy};

use crate::limits::{SHOWN_CHARS_MAX, SLOT_CERTIFICATE_BYTES_MAX};
use crate::slot::Slot;
use crate::vault::metadata::policies;
use crate::vault::tlv;

/// Policies of the attested key, as two bytes (Yubico, "PIV attestation").
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");

/// The certificate in a slot's data object (NIST SP 800-73-4 part 1, table 10): 70 certificate, 71 how it is stored.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(crate) fn from_object(object: &[u8]) -> Result<Option<Vec<u8>>, String> {
    const COMPRESSED: u8 = 1;
    let Some(certificate) = tlv::find(object, 0x70) else {
        return Err("its data object holds no certificate; import one again".to_owned());
    };
    if certificate.is_empty() {
        return Ok(None);
    }
    if tlv::find(object, 0x71).is_some_and(|how| how.first().is_some_and(|b| b & COMPRESSED != 0)) {
        return Err("its certificate is stored compressed, which is not read; import it again uncompressed"
            .to_owned());
    }
    if certificate.len() > CERTIFICATE_BYTES_MAX || Certificate::from_der(certificate).is_err() {
        return Err("its certificate cannot be read; import it again".to_owned());
    }
    Ok(Some(certificate.to_vec()))
}

/// A certificate as the data object of a slot.
///
/// # Errors
/// `VALIDATION_ERROR` if it is too large.
pub(crate) fn to_object(certificate: &[u8]) -> Result<Vec<u8>, Error> {
    if certificate.len() > SLOT_CERTIFICATE_BYTES_MAX {
        let found = certificate.len();
        return Err(Error::validation(format!(
            "the certificate has {found} bytes, a slot of a YubiKey holds at most {SLOT_CERTIFICATE_BYTES_MAX}"
        )));
    }
    Ok([tlv::element(&[0x70], certificate), tlv::element(&[0x71], &[0]), tlv::element(&[0xFE], &[])].concat())
}

/// The key a certificate is for.
///
/// # Errors
/// Why it is none that signs for Notary.
pub(crate) fn public_key(certificate: &[u8]) -> Result<PublicKey, String> {
    let certificate = Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(|e| e.to_string())?;
    PublicKey::from_spki_der(&spki).map_err(|e| e.to_string())
}

/// The subject, for messages.
pub(crate) fn subject(certificate: &[u8]) -> String {
    let subject = Certificate::from_der(certificate).map(|c| c.tbs_certificate().subject().to_string());
    subject.unwrap_or_default().chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect()
}

/// The policies of the attested key.
pub(crate) fn attested_policies(attestation: &[u8], slot: Slot) -> (Option<PinPolicy>, Option<TouchPolicy>) {
    let Some(certificate) = Certificate::from_der(attestation).ok() else { return (None, None) };
    let extensions = certificate.tbs_certificate().extensions().into_iter().flatten();
    let found = extensions.into_iter().find(|e| e.extn_id == POLICIES).map(|e| e.extn_value.as_bytes());
    match found {
        Some([pin, touch]) => policies(*pin, *touch, slot),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn certificate(key: &KeyPair, policies: Option<[u8; 2]>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "a key\u{7}");
        if let Some(bytes) = policies {
            let oid = [1, 3, 6, 1, 4, 1, 41482, 3, 8];
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, bytes.to_vec()));
        }
        params.self_signed(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_slot_gives_back_what_was_stored() {
        let key = KeyPair::generate().unwrap();
        let der = certificate(&key, None);
        assert_eq!(from_object(&to_object(&der).unwrap()).unwrap(), Some(der.clone()));
        assert_eq!(from_object(&to_object(&[]).unwrap()), Ok(None));
        assert_eq!(public_key(&der).unwrap().spec(), prokura_plugin::KeySpec::Ec256);
        assert!(!subject(&der).contains('\u{7}'));
    }

    #[test]
    fn compressed_garbled_and_missing_certificates_are_told_apart() {
        let compressed = [tlv::element(&[0x70], &[0x1F, 0x8B]), tlv::element(&[0x71], &[1])].concat();
        assert!(from_object(&compressed).unwrap_err().contains("uncompressed"));
        assert!(from_object(&tlv::element(&[0x70], b"noise")).unwrap_err().contains("cannot be read"));
        assert!(from_object(b"noise").unwrap_err().contains("no certificate"));
        assert!(to_object(&vec![0; SLOT_CERTIFICATE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn attested_policies_are_read_and_garbage_is_none() {
        let key = KeyPair::generate().unwrap();
        let slot = "9c".parse().unwrap();
        let expected = (Some(PinPolicy::Always), Some(TouchPolicy::Always));
        assert_eq!(attested_policies(&certificate(&key, Some([3, 2])), slot), expected);
        assert_eq!(attested_policies(&certificate(&key, None), slot), (None, None));
        assert_eq!(attested_policies(b"noise", slot), (None, None));
    }
}

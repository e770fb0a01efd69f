//! Certificates put into a token: the leaf under the id of its key, its issuers beside it.

use cryptoki::object::{Attribute, CertificateType, ObjectClass};
use cryptoki::session::Session;
use prokura_plugin::{CertificateChain, Error};

use super::{certificates, parts};
use crate::config::uri::ObjectFilter;
use crate::error::Refusal;
use crate::key::object::{described, find_private_key};
use crate::vault::token::{Access, Token};

/// Stores the chain of a key, leaf first, root last; certificates that are there already are left alone.
///
/// # Errors
/// `VALIDATION_ERROR` if there is no such key, `ACCESS_DENIED` if the token cannot be written to.
pub fn install(
    token: &Token,
    object: &ObjectFilter,
    chain: &CertificateChain,
    access: Access<'_>,
) -> Result<(), Error> {
    token.admit(access)?;
    token.write("store certificates", access.settings.call, access, &|inside| {
        let key = find_private_key(inside.session, object)?.object;
        for (n, der) in chain.certificates().iter().enumerate() {
            let names = if n == 0 { key.clone() } else { ObjectFilter::default() };
            store(inside.session, der, &names)?;
        }
        Ok(())
    })
}

fn store(session: &Session, der: &[u8], names: &ObjectFilter) -> Result<(), Refusal> {
    let Some(found) = parts(der) else {
        return Err(Refusal::Final(Error::validation("a certificate to be installed is none")));
    };
    let mut same = vec![Attribute::Subject(found.subject.to_vec())];
    same.extend(names.id.as_ref().map(|id| Attribute::Id(id.clone())));
    if certificates(session, same)?.iter().any(|known| known == der) {
        return Ok(());
    }
    let mut certificate = vec![
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Subject(found.subject.to_vec()),
        Attribute::Issuer(found.issuer.to_vec()),
        Attribute::SerialNumber(found.serial.to_vec()),
        Attribute::Value(der.to_vec()),
    ];
    certificate.extend(names.label.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    certificate.extend(names.id.as_ref().map(|id| Attribute::Id(id.clone())));
    let of = if *names == ObjectFilter::default() { "an issuer".to_owned() } else { described(names) };
    session.create_object(&certificate).map_err(Refusal::of(format!("store the certificate of {of}")))?;
    Ok(())
}

//! Makes a key inside the vault.

use azure_security_keyvault_keys::models::{
    CreateKeyParameters, CurveName, KeyAttributes, KeyOperation, KeyType,
};
use prokura_plugin::{CertificateChain, CreateRequest, Error, KeyDescription, KeyId, KeySpec};

use crate::config::Config;
use crate::error::Operation;
use crate::key::{describe_key, read_key};
use crate::vault::Vault;

/// Makes a key that signs, verifies and never leaves.
///
/// # Errors
/// `VALIDATION_ERROR` if the name is taken: Key Vault would make another version of the key of that name.
pub(crate) fn create_key(vault: &Vault, request: &CreateRequest) -> Result<KeyDescription, Error> {
    let config = Config::of(request.vault(), vault.surroundings())?;
    let name = config.key_name(request.name().as_str())?;
    if name.version.is_some() {
        return Err(Error::validation(format!("key {name}: a new key has no version yet; leave it out")));
    }
    let connection = vault.connect(&name.host, &config)?;
    let deadline = request.vault().deadline();
    match read_key(&connection, &name, deadline)? {
        Ok(_) => {
            return Err(Error::validation(format!(
                "key {name} exists already; take another name, or rotate that key (az keyvault key rotate)"
            )));
        }
        Err(refusal) if refusal.is_not_found() => {}
        Err(refusal) => return Err(connection.refused(Operation::GetKey, &name, refusal)),
    }
    let hardware = config.hardware.unwrap_or_else(|| name.host.is_managed_hsm());
    let key = connection.call(Operation::CreateKey, &name, deadline, async || {
        let parameters = parameters(request.spec(), hardware);
        connection.keys.create_key(&name.name, parameters.try_into()?, None).await?.into_model()
    })?;
    let described = describe_key(&connection, &name, &key, vault.surroundings().now().as_secs())?;
    Ok(KeyDescription {
        key_id: KeyId::new(name.to_string())?,
        public_key: described.public_key.into(),
        certificates: CertificateChain::default(),
        details: described.details,
    })
}

fn parameters(spec: KeySpec, hardware: bool) -> CreateKeyParameters {
    let (kty, key_size, curve) = match spec {
        KeySpec::Rsa2048 => (KeyType::Rsa, Some(2048), None),
        KeySpec::Rsa3072 => (KeyType::Rsa, Some(3072), None),
        KeySpec::Rsa4096 => (KeyType::Rsa, Some(4096), None),
        KeySpec::Ec256 => (KeyType::Ec, None, Some(CurveName::P256)),
        KeySpec::Ec384 => (KeyType::Ec, None, Some(CurveName::P384)),
        KeySpec::Ec521 => (KeyType::Ec, None, Some(CurveName::P521)),
    };
    let kty = match (kty, hardware) {
        (KeyType::Rsa, true) => KeyType::RsaHsm,
        (KeyType::Ec, true) => KeyType::EcHsm,
        (kty, _) => kty,
    };
    CreateKeyParameters {
        kty: Some(kty),
        key_size,
        curve,
        key_ops: Some(vec![KeyOperation::Sign, KeyOperation::Verify]),
        key_attributes: Some(KeyAttributes { exportable: Some(false), ..KeyAttributes::default() }),
        ..CreateKeyParameters::default()
    }
}

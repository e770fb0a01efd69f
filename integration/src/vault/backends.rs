//! The backends, each by its name, the specs it has and how it is started.

use std::path::Path;

use crate::backend::aws::Kms;
use crate::backend::azure::{AzureVault, Kind};
use crate::backend::card::Filled;
use crate::backend::card::nitrokey::Nitrokey;
use crate::backend::nss::Nss;
use crate::backend::openbao::OpenBao;
use crate::backend::p11kit::P11Kit;
use crate::backend::token::Token;
use crate::vault::{Abilities, TestVault};
use anyhow::Result;
use prokura_plugin::KeySpec;

/// A backend before it is started: what must be known to name its tests.
pub struct Backend {
    /// Plugin and backend.
    pub name: &'static str,
    /// Its key specs.
    pub specs: &'static [KeySpec],
    /// What it can do besides signing.
    pub abilities: Abilities,
    /// Starts it below a directory.
    pub start: fn(&Path) -> Result<Box<dyn TestVault>>,
}

/// All six.
const SIX: &[KeySpec] = &KeySpec::ALL;
/// What PIV has on firmware 4.3, which tells no metadata.
const OLD_PIV: &[KeySpec] = &[KeySpec::Rsa2048, KeySpec::Ec256, KeySpec::Ec384];
/// What PIV has since firmware 5.7.
const PIV: &[KeySpec] =
    &[KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096, KeySpec::Ec256, KeySpec::Ec384];

const TOKEN: Abilities = Abilities { list: true, create: true, install: true, version: false };
const KMS: Abilities = Abilities { list: true, create: true, install: false, version: true };
/// Key Vault takes a certificate only for a key that it made together with a request: see `tests/azure`.
const KEY_VAULT: Abilities = Abilities { list: true, create: true, install: false, version: true };
const TRANSIT: Abilities = Abilities { list: true, create: true, install: true, version: true };

/// Every backend.
pub const BACKENDS: &[Backend] = &[
    Backend {
        name: "pkcs11/softhsm",
        specs: SIX,
        abilities: TOKEN,
        start: |d| Ok(Box::new(Token::softhsm(d)?)),
    },
    Backend {
        name: "pkcs11/kryoptic",
        specs: SIX,
        abilities: TOKEN,
        start: |d| Ok(Box::new(Token::kryoptic(d)?)),
    },
    Backend { name: "pkcs11/nss", specs: SIX, abilities: TOKEN, start: |d| Ok(Box::new(Nss::new(d)?)) },
    Backend {
        name: "pkcs11/p11-kit",
        specs: SIX,
        abilities: TOKEN,
        start: |d| Ok(Box::new(P11Kit::start(d)?)),
    },
    Backend { name: "aws-kms/moto", specs: SIX, abilities: KMS, start: |_| Ok(Box::new(Kms::moto()?)) },
    Backend {
        name: "aws-kms/localstack",
        specs: SIX,
        abilities: KMS,
        start: |_| Ok(Box::new(Kms::localstack()?)),
    },
    Backend {
        name: "azure-keyvault/vault",
        specs: SIX,
        abilities: KEY_VAULT,
        start: |_| Ok(Box::new(AzureVault::start(Kind::Vault)?)),
    },
    Backend {
        name: "azure-keyvault/managedhsm",
        specs: SIX,
        abilities: KEY_VAULT,
        start: |_| Ok(Box::new(AzureVault::start(Kind::ManagedHsm)?)),
    },
    Backend {
        name: "yubikey/virtual",
        specs: PIV,
        abilities: TOKEN,
        start: |d| Ok(Box::new(Filled::start(d)?)),
    },
    Backend {
        name: "yubikey/old",
        specs: OLD_PIV,
        abilities: TOKEN,
        start: |d| Ok(Box::new(Filled::start_old(d)?)),
    },
    Backend {
        name: "yubikey/nitrokey",
        specs: PIV,
        abilities: TOKEN,
        start: |d| Ok(Box::new(Nitrokey::start(d)?)),
    },
    Backend {
        name: "vault/openbao",
        specs: SIX,
        abilities: TRANSIT,
        start: |_| Ok(Box::new(OpenBao::start()?)),
    },
];

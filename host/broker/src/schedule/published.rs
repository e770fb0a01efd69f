//! What the vaults' makers publish of their limits: the defaults of the budgets, each with its source.

use std::time::Duration;

use prokura_plugin::KeySpec;

use super::budget::Quota;

/// A default: which keys share a budget, how much there is of it, and what one signature takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// Keys of one vault with the same class share one budget.
    pub class: &'static str,
    /// How much there is.
    pub quota: Quota,
    /// What one signature takes of it, in units.
    pub cost: u32,
    /// Calls in flight that are worth having; more only wait inside the vault.
    pub in_flight: usize,
    /// Where it is published.
    pub source: &'static str,
}

/// Who keeps the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// AWS KMS; a vault is one account in one region.
    AwsKms,
    /// Azure Key Vault, key type `RSA` or `EC`.
    AzureSoftware,
    /// Azure Key Vault, key type `RSA-HSM` or `EC-HSM`.
    AzureHsm,
    /// Azure Managed HSM.
    AzureManagedHsm,
    /// A PKCS#11 token with so many sessions.
    Pkcs11 {
        /// Sessions that the plugin opens.
        sessions: usize,
    },
    /// One operation at a time: YubiKey, smart cards.
    OneAtATime,
    /// Anything else.
    Other,
}

const AWS: &str = "https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html";
const AZURE: &str = "https://learn.microsoft.com/azure/key-vault/general/service-limits";
const MANAGED_HSM: &str = "https://learn.microsoft.com/azure/key-vault/managed-hsm/scaling-guidance";
const OWN: &str = "no limit is published";

/// Calls in flight at a cloud vault: 1,000 a second at 60 ms each.
const CLOUD_IN_FLIGHT: usize = 64;

/// The default for a key.
pub fn published(keeper: Keeper, spec: KeySpec) -> Published {
    match keeper {
        Keeper::AwsKms => aws(spec),
        Keeper::AzureSoftware => azure("software keys", 4000, spec),
        Keeper::AzureHsm => azure("HSM keys", 2000, spec),
        Keeper::AzureManagedHsm => managed_hsm(spec),
        Keeper::Pkcs11 { sessions } => own("sessions", sessions.max(1)),
        Keeper::OneAtATime => own("device", 1),
        Keeper::Other => own("calls", CLOUD_IN_FLIGHT),
    }
}

/// Cryptographic operations (RSA) and (ECC): 1,000 a second each, shared by all keys of the account in the region. Older
/// accounts may have 500 and 300; Service Quotas shows it, throttling teaches it.
fn aws(spec: KeySpec) -> Published {
    let class = match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => "RSA",
        KeySpec::Ec256 | KeySpec::Ec384 | KeySpec::Ec521 => "ECC",
    };
    let quota = Quota::per_second(1000);
    Published { class, quota, cost: 1, in_flight: CLOUD_IN_FLIGHT, source: AWS }
}

/// Transactions in 10 s, per vault and region: HSM keys RSA-2048 and ECC 2,000, RSA-3072 500, RSA-4096 250; software keys
/// twice that. The thresholds are weighted and their sum counts: so one budget, in which the cheapest costs one unit.
fn azure(class: &'static str, units: u32, spec: KeySpec) -> Published {
    let cost = match spec {
        KeySpec::Rsa2048 | KeySpec::Ec256 | KeySpec::Ec384 | KeySpec::Ec521 => 1,
        KeySpec::Rsa3072 => 4,
        KeySpec::Rsa4096 => 8,
    };
    let quota = Quota::new(units, Duration::from_secs(10));
    Published { class, quota, cost, in_flight: CLOUD_IN_FLIGHT, source: AZURE }
}

/// Signatures a second of one key with one of three partitions left; there is no throttling, only queueing in the HSM.
fn managed_hsm(spec: KeySpec) -> Published {
    let (class, rate) = match spec {
        KeySpec::Rsa2048 => ("RSA-2048", 900),
        KeySpec::Rsa3072 => ("RSA-3072", 340),
        KeySpec::Rsa4096 => ("RSA-4096", 150),
        KeySpec::Ec256 => ("EC-256", 330),
        KeySpec::Ec384 => ("EC-384", 160),
        KeySpec::Ec521 => ("EC-521", 200),
    };
    let quota = Quota::per_second(rate);
    Published { class, quota, cost: 1, in_flight: CLOUD_IN_FLIGHT, source: MANAGED_HSM }
}

const fn own(class: &'static str, in_flight: usize) -> Published {
    Published { class, quota: Quota::UNLIMITED, cost: 1, in_flight, source: OWN }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signatures in ten seconds.
    fn in_ten_seconds(keeper: Keeper, spec: KeySpec) -> f64 {
        let found = published(keeper, spec);
        (found.quota.rate() * 10.0 / f64::from(found.cost)).round()
    }

    #[test]
    fn azures_table_is_what_microsoft_publishes() {
        let table = [
            (KeySpec::Rsa2048, 2000.0, 4000.0),
            (KeySpec::Rsa3072, 500.0, 1000.0),
            (KeySpec::Rsa4096, 250.0, 500.0),
            (KeySpec::Ec256, 2000.0, 4000.0),
            (KeySpec::Ec384, 2000.0, 4000.0),
            (KeySpec::Ec521, 2000.0, 4000.0),
        ];
        for (spec, hsm, software) in table {
            assert_eq!(in_ten_seconds(Keeper::AzureHsm, spec), hsm, "{spec:?}");
            assert_eq!(in_ten_seconds(Keeper::AzureSoftware, spec), software, "{spec:?}");
        }
    }

    #[test]
    fn awss_keys_share_by_family_and_tokens_are_limited_by_sessions() {
        let (small, large) = (KeySpec::Rsa2048, KeySpec::Rsa4096);
        assert_eq!(published(Keeper::AwsKms, small), published(Keeper::AwsKms, large));
        assert_ne!(published(Keeper::AwsKms, small).class, published(Keeper::AwsKms, KeySpec::Ec256).class);
        assert_eq!(published(Keeper::Pkcs11 { sessions: 8 }, small).in_flight, 8);
        assert!(published(Keeper::OneAtATime, small).quota.rate().is_infinite());
    }
}

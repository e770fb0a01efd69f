//! What is asked of a vault, and the permission each request needs, in the words of both permission models.

use super::Attempt;

/// What is asked of the vault. Each needs one permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    GetKey,
    ListKeys,
    CreateKey,
    Sign,
    GetCertificate,
    MergeCertificate,
    GetSecret,
}

impl Operation {
    /// In the form "read the key".
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::GetKey => "read the key",
            Self::ListKeys => "list the keys of",
            Self::CreateKey => "create the key",
            Self::Sign => "sign with",
            Self::GetCertificate => "read the certificate",
            Self::MergeCertificate => "store the certificate",
            Self::GetSecret => "read the certificate chain from the secret",
        }
    }

    /// Permission of an access policy; data action and built-in role of Azure RBAC.
    pub(super) const fn permission(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::GetKey => ("keys/get", "keys/read", "Key Vault Crypto User"),
            Self::ListKeys => ("keys/list", "keys/read", "Key Vault Crypto User"),
            Self::CreateKey => ("keys/create", "keys/create/action", "Key Vault Crypto Officer"),
            Self::Sign => ("keys/sign", "keys/sign/action", "Key Vault Crypto User"),
            Self::GetCertificate => ("certificates/get", "certificates/read", "Key Vault Certificate User"),
            Self::MergeCertificate => {
                ("certificates/create", "certificates/create/action", "Key Vault Certificates Officer")
            }
            Self::GetSecret => ("secrets/get", "secrets/getSecret/action", "Key Vault Secrets User"),
        }
    }

    /// Data action of Managed HSM's own RBAC.
    const fn managed_hsm_action(self) -> &'static str {
        match self {
            Self::CreateKey => "keys/create",
            Self::Sign => "keys/sign/action",
            _ => "keys/read/action",
        }
    }
}

/// Where to look for what is not there.
pub(super) fn not_found(attempt: &Attempt<'_>) -> String {
    let name = attempt.host.short_name();
    match attempt.operation {
        Operation::GetCertificate | Operation::MergeCertificate => {
            format!(
                "check the identifier; az keyvault certificate list --vault-name {name} lists what there is"
            )
        }
        _ => {
            let flag = if attempt.host.is_managed_hsm() { "--hsm-name" } else { "--vault-name" };
            format!(
                "check the identifier; az keyvault key list {flag} {name} lists what there is, and a key that was deleted \
                 can be recovered (az keyvault key recover)"
            )
        }
    }
}

/// Which permission is missing, and how it is granted. Both permission models are named: which one the vault has is not visible from here.
pub(super) fn permission_missing(attempt: &Attempt<'_>) -> String {
    let (policy, action, role) = attempt.operation.permission();
    let (name, source) = (attempt.host.short_name(), attempt.source);
    if attempt.host.is_managed_hsm() {
        let action = attempt.operation.managed_hsm_action();
        return format!(
            "{source} lacks Microsoft.KeyVault/managedHSM/{action}; the HSM's administrator grants it with az keyvault role \
             assignment create --hsm-name {name} --role 'Managed HSM Crypto User' --assignee ID --scope /keys"
        );
    }
    let (kind, right) = policy.split_once('/').unwrap_or(("keys", policy));
    let kind = kind.trim_end_matches('s');
    let hint = match attempt.operation {
        Operation::GetCertificate => {
            "; or set chain_from=bundle, with the key's certificate in the file ca_certs names"
        }
        Operation::GetSecret => {
            "; or leave chain_from=secret out, with the certificates above the leaf in the file ca_certs names"
        }
        _ => "",
    };
    format!(
        "{source} lacks {policy}; the vault's administrator grants Microsoft.KeyVault/vaults/{action} with az role \
         assignment create --role '{role}' --assignee ID --scope VAULT_RESOURCE_ID, or, in a vault with access policies, \
         with az keyvault set-policy --name {name} --{kind}-permissions {right} --object-id ID{hint}"
    )
}

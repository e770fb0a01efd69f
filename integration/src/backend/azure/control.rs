//! What tests do to the fake while it runs: faults and permissions, credentials, keys and certificates that change.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use prokura_plugin::KeySpec;

use super::key::Version;
use super::{AzureVault, Fault, Kind, Pending, TENANT, entra, resource, rest};

impl AzureVault {
    /// The next `times` requests for an operation (`keys/sign`, `token`, `imds`, ...) go wrong.
    pub fn fail(&self, operation: &str, fault: Fault, times: usize) {
        self.state().faults.push((operation.to_owned(), fault, times));
    }

    /// Ends all faults and gives all permissions back.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.denied.clear();
    }

    /// Takes a permission such as `keys/sign` from the caller.
    pub fn deny(&self, permission: &str) {
        self.state().denied.insert(permission.to_owned());
    }

    /// The operations asked for since this was last called, in order: permission names, `token`, `imds`, and
    /// `challenge` for requests without a token.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// Makes every token issued so far invalid.
    pub fn revoke_tokens(&self) {
        self.state().epoch += 1;
    }

    /// Gives this machine a managed identity; an empty client id is a system-assigned one.
    pub fn assign_identity(&self, client_id: &str) {
        self.state().identity = Some(client_id.to_owned());
    }

    /// Registers a certificate (DER) with the application.
    pub fn register_client_certificate(&self, certificate: Vec<u8>) {
        self.state().client_certificate = Some(certificate);
    }

    /// A token for this vault, as the Azure CLI hands it out.
    pub fn issue_token(&self) -> String {
        entra::issue(&self.state(), resource(self.kind), TENANT)
    }

    /// The version that signs when none is named.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn current_version(&self, name: &str) -> Result<String> {
        Ok(self.state().keys.get(name).and_then(|all| all.last()).context("no such key")?.id.clone())
    }

    /// Enables or disables the current version of a key.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn set_enabled(&self, name: &str, enabled: bool) -> Result<()> {
        self.state().change(name, "", |version| version.enabled = enabled)
    }

    /// Sets from and until when a key may be used, in seconds since 1970.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn set_validity(&self, name: &str, not_before: Option<u64>, expires: Option<u64>) -> Result<()> {
        self.state().change(name, "", |version| (version.not_before, version.expires) = (not_before, expires))
    }

    /// Sets what a key may be used for.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn set_operations(&self, name: &str, operations: &[&str]) -> Result<()> {
        let operations = operations.iter().map(|o| (*o).to_owned()).collect();
        self.state().change(name, "", |version| version.operations = operations)
    }

    /// Shows a key as one of another type (`kty`), such as `oct-HSM`.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn set_type(&self, name: &str, kty: &'static str) -> Result<()> {
        self.state().change(name, "", |version| version.shown_type = Some(kty))
    }

    /// Deletes a key softly.
    pub fn delete(&self, name: &str) {
        self.state().deleted.insert(name.to_owned());
    }

    /// A new version of a key without a certificate, as automatic rotation makes it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn rotate(&self, name: &str, spec: KeySpec) -> Result<String> {
        let version = Version::generate(spec, self.kind == Kind::ManagedHsm)?;
        let id = version.id.clone();
        self.state().keys.entry(name.to_owned()).or_default().push(Arc::new(version));
        Ok(id)
    }

    /// Marks the key of a certificate exportable, or changes the content type of its secret.
    pub fn set_policy(&self, name: &str, exportable: bool, content_type: &str) {
        for certificate in self.state().certificates.get_mut(name).into_iter().flatten() {
            certificate.exportable = exportable;
            content_type.clone_into(&mut certificate.content_type);
        }
    }

    /// Puts the certificate of one key beside another.
    pub fn swap_certificate(&self, name: &str, with: &str) {
        let mut state = self.state();
        let other = state.certificates.get(with).and_then(|all| all.last()).map(|c| c.chain.clone());
        if let (Some(other), Some(own)) =
            (other, state.certificates.get_mut(name).and_then(|all| all.last_mut()))
        {
            own.chain = other;
        }
    }

    /// Starts a certificate with issuer `Unknown`, as `az keyvault certificate create` does: a key, and a request for
    /// its certificate. Returns the key's SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// If the key or the request cannot be made.
    pub fn begin_certificate(&self, name: &str, spec: KeySpec) -> Result<Vec<u8>> {
        let version = Version::generate(spec, false)?;
        let spki = rcgen::PublicKeyData::subject_public_key_info(&version.pair);
        let csr = rest::request_for(&version.pair, name)?;
        let content_type = "application/x-pem-file".to_owned();
        self.state()
            .pending
            .insert(name.to_owned(), Pending { version, csr, content_type, exportable: false });
        Ok(spki)
    }

    /// Forgets the certificate of a key.
    pub fn remove_certificate(&self, name: &str) {
        self.state().certificates.remove(name);
    }
}

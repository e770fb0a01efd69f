//! The clouds of Azure: where their vaults are and who issues their tokens.

use prokura_plugin::Error;

use super::key_name::VaultHost;

/// A cloud with DNS names and an authority of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// Worldwide.
    #[default]
    Public,
    /// For the government of the United States.
    UsGovernment,
    /// In China, run by 21Vianet.
    China,
}

impl Cloud {
    const ALL: [Cloud; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// As plugin config `cloud` names it; also in the words of `az cloud list`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "public" | "azurecloud" => Ok(Self::Public),
            "usgovernment" | "azureusgovernment" => Ok(Self::UsGovernment),
            "china" | "azurechinacloud" => Ok(Self::China),
            _ => Err(Error::validation(format!(
                "plugin config cloud is {text:?}, expected public, usgovernment or china"
            ))),
        }
    }

    /// The cloud a vault's DNS name belongs to, if it is one of Azure's.
    pub(crate) fn of(host: &VaultHost) -> Option<Self> {
        let (_, suffix) = host.host().split_once('.')?;
        Self::ALL
            .into_iter()
            .find(|cloud| [cloud.vault_suffix(), cloud.managed_hsm_suffix()].contains(&suffix))
    }

    /// What stands behind a vault's name.
    pub(crate) const fn vault_suffix(self) -> &'static str {
        match self {
            Self::Public => "vault.azure.net",
            Self::UsGovernment => "vault.usgovcloudapi.net",
            Self::China => "vault.azure.cn",
        }
    }

    const fn managed_hsm_suffix(self) -> &'static str {
        match self {
            Self::Public => "managedhsm.azure.net",
            Self::UsGovernment => "managedhsm.usgovcloudapi.net",
            Self::China => "managedhsm.azure.cn",
        }
    }

    /// Who issues tokens.
    pub(crate) const fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_tells_its_cloud_by_its_name() {
        for (host, cloud) in [
            ("a.vault.azure.net", Some(Cloud::Public)),
            ("a.managedhsm.azure.net", Some(Cloud::Public)),
            ("a.vault.usgovcloudapi.net", Some(Cloud::UsGovernment)),
            ("a.managedhsm.azure.cn", Some(Cloud::China)),
            ("a.vault.azure.net.example", None),
            ("localhost", None),
        ] {
            let host = VaultHost::parse(&format!("https://{host}"), Cloud::Public);
            assert_eq!(host.ok().and_then(|h| Cloud::of(&h)), cloud);
        }
    }
}

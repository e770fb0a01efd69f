//! PKCS#11 implementations that need no hardware, and how each is told where its tokens are.

use std::path::{Path, PathBuf};

/// One implementation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    SoftHsm,
    Kryoptic,
    /// SoftHSM behind the module that breaks what it is told to break.
    Faulty,
}

/// Tokens the world needs: the last but one cannot sign at all, the last one not with PSS.
const SLOTS: usize = 9;

impl Backend {
    pub(crate) const ALL: [Self; 3] = [Self::SoftHsm, Self::Kryoptic, Self::Faulty];

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|b| b.name() == name).unwrap()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm",
            Self::Kryoptic => "kryoptic",
            Self::Faulty => "faulty",
        }
    }

    /// The module, or why there is none.
    pub(crate) fn module(self) -> Result<PathBuf, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/kryoptic");
        let candidates = match self {
            Self::SoftHsm => softhsm(),
            Self::Kryoptic => vec![root.join("target/release/libprokura_test_token.so")],
            Self::Faulty => vec![root.join("../p11-fault/target/release/libprokura_p11_fault.so")],
        };
        let found = candidates.into_iter().find(|c| c.is_file());
        found.ok_or_else(|| match self {
            Self::SoftHsm => "SoftHSM is not installed (apt-get install softhsm2)".to_owned(),
            Self::Kryoptic => "the kryoptic module is not built (integration/kryoptic/build)".to_owned(),
            Self::Faulty => "the module that breaks is not built (integration/p11-fault/build)".to_owned(),
        })
    }

    /// Writes the configuration; returns the environment variables that name it.
    pub(crate) fn configure(self, directory: &Path) -> Vec<(&'static str, PathBuf)> {
        let file = directory.join("configuration");
        let text = match self {
            Self::SoftHsm | Self::Faulty => {
                format!("directories.tokendir = {}\nlog.level = ERROR\n", directory.display())
            }
            Self::Kryoptic => (0..SLOTS)
                .map(|n| {
                    let store = directory.join(format!("token{n}.sql"));
                    format!(
                        "[[slots]]\nslot = {n}\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n{}",
                        store.display(),
                        poor(n)
                    )
                })
                .collect(),
        };
        std::fs::write(&file, text).unwrap();
        match self {
            Self::SoftHsm => vec![("SOFTHSM2_CONF", file)],
            Self::Kryoptic => vec![("KRYOPTIC_CONF", file)],
            Self::Faulty => {
                let real = softhsm().into_iter().find(|module| module.is_file()).unwrap_or_default();
                std::fs::write(directory.join("module"), real.to_str().unwrap()).unwrap();
                vec![("SOFTHSM2_CONF", file), ("PROKURA_PLUGIN_P11_FAULT", directory.to_owned())]
            }
        }
    }

    /// Whether it has a slot whose token cannot sign the way Notary requires.
    pub(crate) const fn has_poor_slot(self) -> bool {
        matches!(self, Self::Kryoptic)
    }

    /// Whether it makes Ed25519 keys.
    pub(crate) const fn has_ed25519(self) -> bool {
        matches!(self, Self::SoftHsm | Self::Faulty)
    }

    /// Whether it makes RSA keys below 2048 bits.
    pub(crate) const fn has_small_rsa(self) -> bool {
        matches!(self, Self::SoftHsm)
    }
}

fn softhsm() -> Vec<PathBuf> {
    ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib64/pkcs11", "/usr/local/lib/softhsm"]
        .map(|d| Path::new(d).join("libsofthsm2.so"))
        .to_vec()
}

fn poor(slot: usize) -> &'static str {
    match SLOTS - slot {
        2 => "mechanisms = [\"DENY\", \"CKM_RSA_PKCS_PSS\", \"CKM_RSA_X_509\", \"CKM_ECDSA\"]\n",
        1 => "mechanisms = [\"DENY\", \"CKM_RSA_PKCS_PSS\"]\n",
        _ => "",
    }
}

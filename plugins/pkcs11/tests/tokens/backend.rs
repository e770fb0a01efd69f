//! PKCS#11 implementations that need no hardware, and how each is told where its tokens are.

use std::path::{Path, PathBuf};

/// One implementation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    SoftHsm,
    Kryoptic,
}

/// Tokens the world needs: the last one is in the poor slot.
const SLOTS: usize = 7;

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::SoftHsm, Self::Kryoptic];

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|b| b.name() == name).unwrap()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm",
            Self::Kryoptic => "kryoptic",
        }
    }

    /// The module, or why there is none.
    pub(crate) fn module(self) -> Result<PathBuf, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/kryoptic");
        let candidates = match self {
            Self::SoftHsm => [
                "/usr/lib/softhsm",
                "/usr/lib/x86_64-linux-gnu/softhsm",
                "/usr/lib64/pkcs11",
                "/usr/local/lib/softhsm",
            ]
            .map(|d| Path::new(d).join("libsofthsm2.so"))
            .to_vec(),
            Self::Kryoptic => vec![root.join("target/release/libprokura_test_token.so")],
        };
        let found = candidates.into_iter().find(|c| c.is_file());
        found.ok_or_else(|| match self {
            Self::SoftHsm => "SoftHSM is not installed (apt-get install softhsm2)".to_owned(),
            Self::Kryoptic => "the kryoptic module is not built (integration/kryoptic/build)".to_owned(),
        })
    }

    /// Writes the configuration; returns the environment variable that names it.
    pub(crate) fn configure(self, directory: &Path) -> (&'static str, PathBuf) {
        let file = directory.join("configuration");
        let text = match self {
            Self::SoftHsm => format!("directories.tokendir = {}\nlog.level = ERROR\n", directory.display()),
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
        let variable = match self {
            Self::SoftHsm => "SOFTHSM2_CONF",
            Self::Kryoptic => "KRYOPTIC_CONF",
        };
        (variable, file)
    }

    /// Whether it has a slot whose token cannot sign the way Notary requires.
    pub(crate) const fn has_poor_slot(self) -> bool {
        matches!(self, Self::Kryoptic)
    }

    /// Whether it makes Ed25519 keys.
    pub(crate) const fn has_ed25519(self) -> bool {
        matches!(self, Self::SoftHsm)
    }

    /// Whether it makes RSA keys below 2048 bits.
    pub(crate) const fn has_small_rsa(self) -> bool {
        matches!(self, Self::SoftHsm)
    }
}

fn poor(slot: usize) -> &'static str {
    if slot + 1 == SLOTS { "mechanisms = [\"DENY\", \"CKM_RSA_PKCS_PSS\", \"CKM_ECDSA\"]\n" } else { "" }
}

//! Everything the end-to-end tests need, each part started when first asked for and ended with the test run.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use prokura_plugin::KeySpec;

use crate::backend::registry::Registry;
use crate::backend::token::Token;
use crate::home::Home;
use crate::image::Image;
use crate::key::KeyFiles;
use crate::program::Missing;

/// A home with keys and trust, registries, tokens and an image of real files.
pub struct World {
    /// The home every command runs in; trusts the roots of all keys.
    pub home: Home,
    /// softkey's keys.
    pub keys: KeyFiles,
    image: Shared<Image>,
    with_referrers: Shared<Registry>,
    without_referrers: Shared<Registry>,
    softhsm: Shared<Token>,
    kryoptic: Shared<Token>,
}

impl World {
    /// A fresh home with softkey's six keys, whose root is trusted at level strict.
    ///
    /// # Errors
    /// If the workspace does not build or a key cannot be made.
    pub fn new() -> Result<Self> {
        let mut home = Home::new()?;
        home.set("SOFTHSM2_CONF", home.path().join("softhsm/softhsm2.conf"));
        home.set("KRYOPTIC_CONF", home.path().join("kryoptic/kryoptic.toml"));
        let directory = home.path().join("keys");
        std::fs::create_dir(&directory)?;
        let keys = KeyFiles::create(&directory)?;
        home.trust(&keys.root, "strict")?;
        Ok(Self {
            home,
            keys,
            image: Shared::default(),
            with_referrers: Shared::default(),
            without_referrers: Shared::default(),
            softhsm: Shared::default(),
            kryoptic: Shared::default(),
        })
    }

    /// An image made by umoci.
    ///
    /// # Errors
    /// [`Missing`] without umoci.
    pub fn image(&self) -> Result<&Image> {
        self.image.get(|| Image::create(self.home.path()))
    }

    /// olareg with the referrers API, or docker-registry, which has none.
    ///
    /// # Errors
    /// [`Missing`] without Go or docker-registry.
    pub fn registry(&self, referrers: bool) -> Result<&Registry> {
        match referrers {
            true => self.with_referrers.get(|| Registry::olareg(true)),
            false => self.without_referrers.get(|| Registry::docker(self.home.path())),
        }
    }

    /// A token named `softhsm` or `kryoptic`, whose root is trusted.
    ///
    /// # Errors
    /// [`Missing`] without the module.
    pub fn token(&self, name: &str) -> Result<&Token> {
        let directory = self.home.path().join(name);
        let start = || {
            std::fs::create_dir_all(&directory)?;
            let token =
                if name == "softhsm" { Token::softhsm(&directory)? } else { Token::kryoptic(&directory)? };
            let store = self.home.config().join("truststore/x509/ca/tests");
            let staged = self.home.path().join(format!("{name}.pem"));
            std::fs::copy(&token.root, &staged)?;
            // Renamed into place: other tests read the trust store at the same time.
            std::fs::rename(staged, store.join(format!("{name}.pem")))?;
            Ok(token)
        };
        if name == "softhsm" { self.softhsm.get(start) } else { self.kryoptic.get(start) }
    }

    /// `--plugin`, `--id` and `--plugin-config` for the softkey key of a spec.
    pub fn softkey_arguments(&self, spec: KeySpec) -> Vec<String> {
        let dir = format!("dir={}", self.keys.directory.display());
        ["--plugin", "softkey", "--id", &crate::key::id(spec), "--plugin-config", &dir]
            .map(str::to_owned)
            .to_vec()
    }

    /// `--plugin`, `--id` and `--plugin-config` for the key of a spec in a token.
    ///
    /// # Errors
    /// [`Missing`] without the module.
    pub fn token_arguments(&self, name: &str, spec: KeySpec) -> Result<Vec<String>> {
        let token = self.token(name)?;
        let bundle = format!("ca_certs={}", token.root.display());
        Ok(["--plugin", "pkcs11", "--id", &token.key_uri(spec), "--plugin-config", &bundle]
            .map(str::to_owned)
            .to_vec())
    }
}

/// A part that is started once; every later caller gets the part or the same reason why there is none.
struct Shared<T>(OnceLock<Result<T, Reason>>);

enum Reason {
    Missing(Missing),
    Failed(String),
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Shared<T> {
    fn get(&self, start: impl FnOnce() -> Result<T>) -> Result<&T> {
        let started = self.0.get_or_init(|| {
            start().map_err(|error| match error.downcast_ref::<Missing>() {
                Some(missing) => Reason::Missing(missing.clone()),
                None => Reason::Failed(format!("{error:#}")),
            })
        });
        match started {
            Ok(part) => Ok(part),
            Err(Reason::Missing(missing)) => Err(missing.clone().into()),
            Err(Reason::Failed(reason)) => Err(anyhow!("{reason}")),
        }
    }
}

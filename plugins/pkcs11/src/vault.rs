//! What one process keeps: each module loaded once, each token logged in once.

pub mod login;
pub mod module;
pub mod token;
pub mod turn;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::slot::Slot;
use prokura_plugin::pin::Surroundings;
use prokura_plugin::{Error, KeyRequest, OpenKey, SigningKey};

use crate::config::locator::Locator;
use crate::config::uri::TokenFilter;
use crate::key::TokenKey;
use crate::limits::MODULES_MAX;
use crate::vault::module::{Identity, Module};
use crate::vault::token::Token;
use crate::vault::turn::Turn;

/// All tokens this process uses. Opens keys in them.
pub struct Vault {
    surroundings: Arc<Surroundings>,
    // Before the modules, so that sessions are closed before their module is finalised.
    tokens: Mutex<HashMap<(PathBuf, Slot, Identity), Arc<Token>>>,
    modules: Mutex<HashMap<PathBuf, Arc<Module>>>,
}

impl Vault {
    /// Loads nothing yet.
    pub fn new(surroundings: Surroundings) -> Self {
        Self { surroundings: Arc::new(surroundings), tokens: Mutex::default(), modules: Mutex::default() }
    }

    fn module(&self, path: &Path) -> Result<Arc<Module>, Error> {
        // Two names of one file are one module: it can be initialised only once.
        let real = std::fs::canonicalize(path)
            .map_err(|e| Error::validation(format!("PKCS#11 module {}: {e}", path.display())))?;
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(&real) {
            return Ok(Arc::clone(module));
        }
        if modules.len() >= MODULES_MAX {
            return Err(Error::validation(format!(
                "this process has loaded {MODULES_MAX} PKCS#11 modules already, which is the most it may"
            )));
        }
        let module = Arc::new(Module::load(&real)?);
        modules.insert(real, Arc::clone(&module));
        Ok(module)
    }

    fn token(&self, module: Arc<Module>, filter: &TokenFilter) -> Result<Arc<Token>, Error> {
        let present = module.find_token(filter)?;
        let name = (module.path().to_owned(), present.slot, present.identity.clone());
        let mut tokens = lock(&self.tokens);
        if let Some(token) = tokens.get(&name) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(Token::new(module, present)?);
        tokens.insert(name, Arc::clone(&token));
        Ok(token)
    }
}

impl OpenKey for Vault {
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        let locator = Locator::from_request(request)?;
        locator.pin.warn(&self.surroundings);
        let _turn = Turn::wait(&locator.module, request.deadline());
        let token = self.token(self.module(&locator.module)?, &locator.token)?;
        let surroundings = Arc::clone(&self.surroundings);
        let key = TokenKey::open(token, &locator.object, locator.pin, surroundings, request.deadline())?;
        Ok(Box::new(key))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

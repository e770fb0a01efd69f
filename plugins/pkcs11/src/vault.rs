//! What one process keeps: each module loaded once, each token logged in once.

pub mod creation;
pub mod listing;
pub mod login;
pub mod module;
pub mod pulse;
pub mod quirks;
pub mod raw;
pub mod search;
pub mod sessions;
pub mod token;
pub mod token_info;
pub mod turn;
pub mod watch;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::slot::Slot;
use prokura_plugin::pin::{PinSource, Surroundings};
use prokura_plugin::{
    CertificateChain, CreateKey, CreateRequest, Deadline, Error, InstallCertificate, KeyDescription,
    KeyRequest, ListKeys, Listed, OpenKey, Person, SigningKey, VaultRequest,
};

use crate::certificate::installation;
use crate::config::MODULES_DIR;
use crate::config::locator::Locator;
use crate::config::modules::{Directories, ModuleSpec};
use crate::config::pin::PinReader;
use crate::config::settings::Settings;
use crate::config::uri::ObjectFilter;
use crate::error::{Failure, Recovery};
use crate::key::TokenKey;
use crate::key::description::Origin;
use crate::limits::MODULES_MAX;

use module::Module;
use pulse::Pulse;
use search::{Candidate, Search};
use token::{Access, Token};
use token_info::Identity;
use turn::Turn;
use watch::{Loss, Watch};

/// All tokens this process uses. Opens keys in them.
pub struct Vault {
    surroundings: Arc<Surroundings>,
    // In this order: nothing beats when sessions are closed, and they are closed before their module is finalised.
    pulse: Pulse,
    tokens: Mutex<HashMap<TokenName, Arc<Token>>>,
    modules: Mutex<HashMap<PathBuf, Arc<Module>>>,
    watch: Arc<Watch>,
}

/// The slot counts only among tokens that say the same of themselves.
type TokenName = (PathBuf, Identity, Option<Slot>);

impl Vault {
    /// Loads nothing yet. `on_loss` is told once, in a sentence, when a module hangs or cannot be started anew, so
    /// that this process must end.
    pub fn new(surroundings: Surroundings, on_loss: impl Fn(&Loss) + Send + Sync + 'static) -> Self {
        Self {
            surroundings: Arc::new(surroundings),
            pulse: Pulse::default(),
            tokens: Mutex::default(),
            modules: Mutex::default(),
            watch: Arc::new(Watch::new(on_loss)),
        }
    }

    /// How many sessions are open with all tokens together, and how many of them are idle.
    pub fn session_counts(&self) -> (usize, usize) {
        let tokens = lock(&self.tokens);
        tokens.values().map(|token| token.session_counts()).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    /// Finds the one token that is meant.
    fn enter(&self, locator: Locator, request: &VaultRequest) -> Result<Entered, Error> {
        let search = self.search(&locator, request)?;
        let candidate = search.one(&locator.token)?;
        let (token, origin) = (self.token(candidate, &locator.settings), candidate.origin(&locator));
        let pin = self.pin(locator.pin, request.person());
        let Locator { object, settings, .. } = locator;
        Ok(Entered { token, origin, pin, settings, object, _turns: search.turns })
    }

    fn search(&self, locator: &Locator, request: &VaultRequest) -> Result<Search, Error> {
        let directories = Directories::new(request.config_optional(MODULES_DIR), &self.surroundings)?;
        let specs = locator.modules.resolve(&directories)?;
        let mut search = Search::default();
        search.turns = specs.iter().map(|spec| Turn::wait(&spec.path, request.deadline())).collect();
        for spec in specs {
            let _call = self.watch.begin("start and list its tokens", locator.settings.call);
            match self.module(&spec) {
                Ok(module) => {
                    let may_restart = !self.is_used(&module);
                    let added = search.add(&module, &spec, &locator.token, may_restart);
                    added.map_err(|failed| self.given_up(failed))?;
                }
                Err(error) if spec.is_needed => return Err(error),
                Err(error) => search.pass_over(&error),
            }
        }
        Ok(search)
    }

    /// A module that cannot be had again in this process.
    fn given_up(&self, failed: Failure) -> Error {
        if failed.recovery == Recovery::Restart {
            self.watch.module_is_lost();
        }
        failed.into()
    }

    fn module(&self, spec: &ModuleSpec) -> Result<Arc<Module>, Error> {
        let path = spec.path.display();
        // Two names of one file are one module: it can be initialised only once.
        let real = std::fs::canonicalize(&spec.path)
            .map_err(|e| Error::validation(format!("PKCS#11 module {path}: {e}")))?;
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(&real) {
            if !module.is_initialised_with(spec.init_args.as_deref()) {
                return Err(Error::validation(format!(
                    "PKCS#11 module {path} is initialised with other init-args already, and a process can do that only \
                     once; use the same for all keys of this module, or name the other with another plugin process"
                )));
            }
            return Ok(Arc::clone(module));
        }
        if modules.len() >= MODULES_MAX {
            return Err(Error::validation(format!(
                "this process has loaded {MODULES_MAX} PKCS#11 modules already, which is the most it may"
            )));
        }
        let module = Arc::new(Module::load(spec, &real)?);
        modules.insert(real, Arc::clone(&module));
        Ok(module)
    }

    /// Whether sessions are open with a token of this module.
    fn is_used(&self, module: &Arc<Module>) -> bool {
        let tokens = lock(&self.tokens);
        let mut of_module = tokens.values().filter(|token| std::ptr::eq(token.module(), Arc::as_ptr(module)));
        of_module.any(|token| token.session_counts().0 > 0)
    }

    fn token(&self, candidate: &Candidate, settings: &Settings) -> Arc<Token> {
        let Candidate { module, present, is_unique, .. } = candidate;
        let slot = (!is_unique).then_some(present.slot);
        let name = (module.path().to_owned(), present.info.identity.clone(), slot);
        let mut tokens = lock(&self.tokens);
        let token = tokens.entry(name).or_insert_with(|| {
            Arc::new(Token::new(Arc::clone(module), present, settings, Arc::clone(&self.watch)))
        });
        let token = Arc::clone(token);
        drop(tokens);
        let every = settings.keep_alive.or_else(|| module.quirks().keep_alive());
        if let Some(every) = every.filter(|every| !every.is_zero()) {
            self.pulse.enter(&token, every, settings.call);
        }
        token
    }

    fn pin(&self, source: PinSource, person: &Person) -> PinReader {
        PinReader::new(source, Arc::clone(&self.surroundings), person.clone())
    }
}

/// A token that was found, and everything to use it with.
struct Entered {
    token: Arc<Token>,
    origin: Origin,
    pin: PinReader,
    settings: Settings,
    object: ObjectFilter,
    /// Until what is done with the token first is done.
    _turns: Vec<Turn>,
}

impl Entered {
    const fn access(&self, deadline: Deadline) -> Access<'_> {
        Access { deadline, pin: &self.pin, settings: &self.settings, in_turn: true }
    }
}

impl OpenKey for Vault {
    fn open_key(&self, request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
        let entered = self.enter(Locator::from_request(request)?, request.vault())?;
        let Entered { token, origin, pin, settings, object, _turns } = entered;
        Ok(Box::new(TokenKey::open(token, &object, pin, settings, &origin, request.deadline())?))
    }
}

impl ListKeys for Vault {
    fn list_keys(
        &self,
        request: &VaultRequest,
        found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let locator = Locator::of_vault(request)?;
        let search = self.search(&locator, request)?;
        let candidates: Vec<&Candidate> = search.matching().collect();
        if candidates.is_empty() {
            search.one(&locator.token)?;
        }
        let origins: Vec<Origin> = candidates.iter().map(|candidate| candidate.origin(&locator)).collect();
        let tokens: Vec<Arc<Token>> = candidates.iter().map(|c| self.token(c, &locator.settings)).collect();
        let pin = self.pin(locator.pin, request.person());
        let access =
            Access { deadline: request.deadline(), pin: &pin, settings: &locator.settings, in_turn: true };
        for (token, origin) in tokens.iter().zip(&origins) {
            if listing::list(token, origin, access, tokens.len() == 1, found).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl CreateKey for Vault {
    fn create_key(&self, request: &CreateRequest) -> Result<KeyDescription, Error> {
        let vault = request.vault();
        let entered = self.enter(Locator::of_key(request.name().as_str(), vault)?, vault)?;
        creation::create(
            &entered.token,
            &entered.object,
            request.spec(),
            &entered.origin,
            entered.access(vault.deadline()),
        )
    }
}

impl InstallCertificate for Vault {
    fn install_certificate(&self, request: &KeyRequest, chain: &CertificateChain) -> Result<(), Error> {
        let entered = self.enter(Locator::from_request(request)?, request.vault())?;
        installation::install(&entered.token, &entered.object, chain, entered.access(request.deadline()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

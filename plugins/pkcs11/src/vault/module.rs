//! A PKCS#11 library, loaded and initialised once per process, and initialised anew when it has lost its way.

use std::ffi::{CStr, CString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{Info, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::{Slot, SlotInfo};
use prokura_plugin::Error;

use super::quirks::Quirks;
use super::raw::{self, Raw};
use super::token_info::{Identity, TokenInfo};
use crate::config::modules::ModuleSpec;
use crate::config::uri::TokenFilter;
use crate::error::{Failure, Recovery, Refusal, failure, refused};
use crate::limits::{REINITIALISE_FAILURES_MAX, REINITIALISE_SECONDS_MIN, SLOTS_MAX};

/// A loaded library. Finalised when dropped: by then no session with it is left.
pub struct Module {
    context: Pkcs11,
    raw: Raw,
    path: PathBuf,
    /// Becomes `pReserved`; kept because nobody says how long a library looks at it.
    reserved: Option<CString>,
    quirks: Quirks,
    /// Whether this process had it initialised before us; then it is not ours to finalise.
    borrowed: bool,
    /// How often it was initialised. Read-locked by everybody who is inside.
    epoch: RwLock<u64>,
    again: Mutex<Again>,
}

/// Initialising anew: when last, and how often in vain since and why.
#[derive(Default)]
struct Again {
    last: Option<Instant>,
    failures: u32,
    failed: Option<Error>,
}

/// Keeps a module initialised as it is.
pub struct InUse<'a>(RwLockReadGuard<'a, u64>);

/// A token in its slot.
#[derive(Clone, Debug)]
pub struct Present {
    /// The slot it is in.
    pub slot: Slot,
    /// What it says of itself.
    pub info: TokenInfo,
}

/// The tokens a module shows.
#[derive(Default)]
pub struct Shown {
    /// Initialised tokens.
    pub tokens: Vec<Present>,
    /// A line for each that could not be read.
    pub unreadable: Vec<String>,
}

impl InUse<'_> {
    /// Under which initialisation the caller works.
    pub fn epoch(&self) -> u64 {
        *self.0
    }
}

impl Module {
    /// Loads the library at `path`, all links resolved, and initialises it for use by several threads, with the locks of the operating system.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` if there is no such library, `ERROR` if it does not start.
    pub fn load(spec: &ModuleSpec, path: &Path) -> Result<Self, Error> {
        let missing = |why: String| Error::validation(format!("PKCS#11 module {}: {why}", path.display()));
        let found = std::fs::metadata(path).map_err(|e| missing(e.to_string()))?;
        if !found.is_file() {
            return Err(missing("expected a file".to_owned()));
        }
        check_writers(path, &found).map_err(missing)?;
        let unloadable = |e: CryptokiError| match e {
            CryptokiError::LibraryLoading(_) | CryptokiError::MissingSymbol(_) => {
                missing(format!("not a PKCS#11 library: {e}"))
            }
            other => refused(&format!("load {}", path.display()), &other),
        };
        let context = Pkcs11::new(path).map_err(unloadable)?;
        let raw = Raw::of(path).map_err(unloadable)?;
        let reserved = spec.init_args.as_deref().map(CString::new).transpose();
        let reserved =
            reserved.map_err(|_| missing("its initialisation string holds a zero byte".to_owned()))?;
        let borrowed = match raw::initialise(&context, reserved.as_ref()) {
            Ok(()) => false,
            Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => true,
            Err(e) => {
                let mut error = refused(&format!("initialise {}", path.display()), &e);
                error.message.push_str(&configuration_hint(&Quirks::of_file(path)));
                return Err(error);
            }
        };
        let manufacturer = context.get_library_info().map(|info| info.manufacturer_id().to_owned());
        let quirks = Quirks::of(path, &manufacturer.unwrap_or_default());
        let epoch = RwLock::new(0);
        Ok(Self {
            context,
            raw,
            path: path.to_owned(),
            reserved,
            quirks,
            borrowed,
            epoch,
            again: Mutex::default(),
        })
    }

    /// Whether it was initialised with this string; a library that was initialised by others counts as such.
    pub fn is_initialised_with(&self, init_args: Option<&str>) -> bool {
        self.borrowed || self.reserved.as_deref().map(CStr::to_bytes) == init_args.map(str::as_bytes)
    }

    /// The library's functions.
    pub const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// File name of the library.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of this library's peculiarities.
    pub const fn quirks(&self) -> &Quirks {
        &self.quirks
    }

    /// Enters the module: it is not initialised anew meanwhile. Must not be called by who is inside already.
    pub fn enter(&self) -> InUse<'_> {
        InUse(self.epoch.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finalises the module and initialises it again, once everybody has left it, unless another thread has done so
    /// since `epoch`. All sessions, logins and handles with all its tokens are void afterwards.
    ///
    /// Not sooner than [`REINITIALISE_SECONDS_MIN`] after the last time, so that an unplugged token does not disturb
    /// the others with every request; sooner if the module `must` be, unless the last time was in vain: many requests
    /// at once are not many new beginnings.
    ///
    /// # Errors
    /// Why it cannot be had again. [`Recovery::Restart`] if only a new process can help.
    pub fn reinitialise(&self, epoch: u64, must: bool) -> Result<(), Failure> {
        let mut again = lock(&self.again);
        let mut current = self.epoch.write().unwrap_or_else(PoisonError::into_inner);
        let pause = Duration::from_secs(REINITIALISE_SECONDS_MIN);
        let is_soon = again.last.is_some_and(|last| last.elapsed() < pause);
        if *current != epoch || (is_soon && (!must || again.failed.is_some())) {
            // Where that was in vain, every call would only say that the module is not initialised.
            return again.failed.clone().map_or(Ok(()), |failed| Err(failed.into()));
        }
        again.last = Some(Instant::now());
        if !self.borrowed {
            // A module that says it is not initialised refuses this, and that is fine.
            let _ = self.context.clone().finalize();
        }
        *current += 1;
        match raw::initialise(&self.context, self.reserved.as_ref()) {
            Ok(()) | Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                (again.failures, again.failed) = (0, None);
                Ok(())
            }
            Err(error) => {
                again.failures += 1;
                let failed = refused(&format!("initialise {} anew", self.path.display()), &error);
                again.failed = Some(failed.clone());
                let most = if self.quirks.leaks_in_vain { 1 } else { REINITIALISE_FAILURES_MAX };
                let in_vain = again.failures >= most;
                Err(Failure::new(failed, if in_vain { Recovery::Restart } else { Recovery::GiveUp }))
            }
        }
    }

    /// The slot that holds this token now, unless there is none or two that cannot be told apart.
    ///
    /// # Errors
    /// The module's refusal.
    pub fn slot_of(&self, identity: &Identity) -> Result<Option<Slot>, Failure> {
        let shown = self.tokens()?;
        let mut same = shown.tokens.into_iter().filter(|t| t.info.identity == *identity);
        let first = same.next();
        Ok(if same.next().is_none() { first.map(|t| t.slot) } else { None })
    }

    /// What the token in a slot says of itself now.
    ///
    /// # Errors
    /// The module's refusal.
    pub fn token_info(&self, slot: Slot) -> Result<TokenInfo, CryptokiError> {
        if self.raw.is_shared() {
            return self.raw.token_info(slot).map(|info| TokenInfo::from(&info));
        }
        self.context.get_token_info(slot).map(|info| TokenInfo::from(&info))
    }

    /// Signs with a key; `confirm` is called in between for a key that takes a login for each signature. `room` is the
    /// longest signature expected, in bytes.
    ///
    /// One call of C_Sign where that can be had. Otherwise two, the first of which asks for the length; or, with a login
    /// in between, C_SignUpdate and C_SignFinal.
    ///
    /// # Errors
    /// The token's refusal, or that of `confirm`.
    pub fn sign(
        &self,
        session: &Session,
        (mechanism, key): (&Mechanism<'_>, ObjectHandle),
        input: &[u8],
        room: usize,
        confirm: Option<&dyn Fn() -> Result<(), Refusal>>,
    ) -> Result<Vec<u8>, Refusal> {
        let refused = |error| Refusal::of("sign")(error);
        if !self.raw.is_shared() && confirm.is_none() {
            return session.sign(mechanism, key, input).map_err(refused);
        }
        session.sign_init(mechanism, key).map_err(refused)?;
        if let Some(confirm) = confirm {
            confirm()?;
        }
        if self.raw.is_shared() {
            return self.raw.sign(session, input, room).map_err(refused);
        }
        session.sign_update(input).map_err(refused)?;
        session.sign_final().map_err(refused)
    }

    /// Initialised tokens, and a line for each that could not be read.
    ///
    /// # Errors
    /// The module's refusal.
    pub fn tokens(&self) -> Result<Shown, Failure> {
        let slots = self.context.get_slots_with_token();
        let slots = slots.map_err(|e| failure(&format!("list the tokens of {}", self.path.display()), &e))?;
        let mut shown = Shown::default();
        for slot in slots.into_iter().take(SLOTS_MAX) {
            match self.token_info(slot) {
                Ok(info) if info.is_initialised() => shown.tokens.push(Present { slot, info }),
                Ok(_) => {}
                Err(e) => shown.unreadable.push(format!("slot {slot} cannot be read ({e})")),
            }
        }
        Ok(shown)
    }

    /// Whether a token is one of those that are meant.
    ///
    /// # Errors
    /// `ERROR` if slot or library do not answer.
    pub fn matches(&self, token: &Present, filter: &TokenFilter) -> Result<bool, Error> {
        let equal = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        let id = &token.info.identity;
        let matches = equal(&filter.label, &id.label)
            && equal(&filter.serial, &id.serial)
            && equal(&filter.manufacturer, &id.manufacturer)
            && equal(&filter.model, &id.model)
            && filter.slot_id.is_none_or(|s| s == token.slot.id());
        Ok(matches && self.slot_matches(token.slot, filter)? && self.library_matches(filter)?)
    }

    fn slot_matches(&self, slot: Slot, filter: &TokenFilter) -> Result<bool, Error> {
        if filter.slot_manufacturer.is_none() && filter.slot_description.is_none() {
            return Ok(true);
        }
        let info: SlotInfo = self.context.get_slot_info(slot).map_err(|e| refused("read the slot", &e))?;
        Ok(filter.slot_manufacturer.as_deref().is_none_or(|w| w == info.manufacturer_id())
            && filter.slot_description.as_deref().is_none_or(|w| w == info.slot_description()))
    }

    fn library_matches(&self, filter: &TokenFilter) -> Result<bool, Error> {
        let TokenFilter { library_manufacturer, library_description, library_version, .. } = filter;
        if library_manufacturer.is_none() && library_description.is_none() && library_version.is_none() {
            return Ok(true);
        }
        let info: Info =
            self.context.get_library_info().map_err(|e| refused("read the library's version", &e))?;
        let version = (info.library_version().major(), info.library_version().minor());
        Ok(library_manufacturer.as_deref().is_none_or(|w| w == info.manufacturer_id())
            && library_description.as_deref().is_none_or(|w| w == info.library_description())
            && library_version.is_none_or(|w| w == version))
    }
}

/// The usual reason why a module does not start or shows nothing.
pub fn configuration_hint(quirks: &Quirks) -> String {
    let particular = quirks.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    format!(
        "; check that the module finds its configuration{particular}: the environment variables it reads must reach this \
         plugin"
    )
}

impl Drop for Module {
    fn drop(&mut self) {
        if !self.borrowed {
            // Nobody is left who could act on a failure.
            let _ = self.context.clone().finalize();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A module runs in this process and is given the PIN: whoever may write to it, or replace it, has both.
fn check_writers(path: &Path, file: &Metadata) -> Result<(), String> {
    const OTHERS: u32 = 0o002;
    const GROUP_OR_OTHERS: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let mode = file.mode() & 0o7777;
    if mode & GROUP_OR_OTHERS != 0 {
        let who = if mode & OTHERS == 0 { "its group" } else { "others" };
        return Err(format!(
            "its mode is {mode:04o}, so that {who} may write to it, and it would be given the PIN; make sure that it is the \
             vendor's, then chmod go-w {}",
            path.display()
        ));
    }
    let Some(directory) = path.parent() else { return Ok(()) };
    let mode = std::fs::metadata(directory).map_err(|e| e.to_string())?.mode() & 0o7777;
    if mode & OTHERS != 0 && mode & STICKY == 0 {
        return Err(format!(
            "its directory has mode {mode:04o}, so that others may replace it, and it would be given the PIN; make sure \
             that it is the vendor's, then chmod o-w {}",
            directory.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_module_that_others_may_write_is_not_loaded() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("modules");
        create_dir(&directory).unwrap();
        let path = directory.join("module.so");
        write(&path, "no library").unwrap();
        let spec = ModuleSpec { path: path.clone(), init_args: None, name: None, is_needed: true };
        for (file, of_directory, words) in [
            (0o644, 0o755, "not a PKCS#11 library"),
            (0o755, 0o1777, "not a PKCS#11 library"),
            (0o664, 0o755, "its mode is 0664, so that its group may write"),
            (0o646, 0o755, "its mode is 0646, so that others may write"),
            (0o644, 0o777, "its directory has mode 0777"),
        ] {
            set_permissions(&path, Permissions::from_mode(file)).unwrap();
            set_permissions(&directory, Permissions::from_mode(of_directory)).unwrap();
            let error = Module::load(&spec, &path).err().unwrap();
            assert!(error.message.contains(words), "{file:o} {of_directory:o}: {error}");
        }
    }
}

//! A plugin that asks the person in front of the host before it signs, as its key id says. See `tests/interact.rs`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use prokura_plugin::{
    CertificateChain, Deadline, Digest, Error, KeyRequest, KeySpec, Notice, Person, PinPrompt, PublicKey,
    RawSignature, Service, SigningKey, metadata,
};

fn main() -> ExitCode {
    Service::new(metadata!("asking", "Asks before it signs. For tests"), open_key).run()
}

fn open_key(request: &KeyRequest) -> Result<Box<dyn SigningKey>, Error> {
    let point = [4; 65]; // uncompressed, and of the right length; nothing is ever verified with it
    let public = PublicKey::from_ec_point(KeySpec::Ec256, &point).map_err(Error::internal)?;
    Ok(Box::new(Key {
        public,
        asks: request.key_id().to_string(),
        person: request.person().clone(),
        seen: Mutex::default(),
        mark: request.config_optional("mark").map(PathBuf::from),
    }))
}

struct Key {
    public: PublicKey,
    asks: String,
    person: Person,
    seen: Mutex<HashSet<Vec<u8>>>,
    mark: Option<PathBuf>,
}

impl SigningKey for Key {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn certificate_chain(&self) -> Result<CertificateChain, Error> {
        Ok(CertificateChain::default())
    }

    /// A signature that tells which digest it is of.
    fn sign_digest(&self, digest: &Digest, deadline: Deadline) -> Result<RawSignature, Error> {
        self.ask(digest, deadline)?;
        Ok(RawSignature::from_fixed_width(KeySpec::Ec256, digest.bytes().repeat(2))?)
    }
}

impl Key {
    fn ask(&self, digest: &Digest, deadline: Deadline) -> Result<(), Error> {
        match self.asks.as_str() {
            "nobody" => Ok(()),
            "picky" if digest.bytes().first().is_some_and(|byte| byte % 3 == 0) => {
                Err(Error::validation("this digest is not to its taste"))
            }
            "picky" => Ok(()),
            "busy" if self.is_first(digest) => Err(Error::throttled("too many at once")),
            "busy" => Ok(()),
            // Once: the next process finds the mark of this one.
            "frail" if digest.bytes().first().is_some_and(|byte| byte % 5 == 0) => match &self.mark {
                Some(mark) if std::fs::File::create_new(mark).is_ok() => std::process::abort(),
                _ => Ok(()),
            },
            "frail" => Ok(()),
            "pin" => self.pin("token \u{1b}[31mone\u{1b}[0m\n", deadline),
            "impatient" => {
                let soon = Deadline::at(Instant::now() + Duration::from_millis(200));
                self.pin("token one", soon).map_err(|error| error.retryable(false))
            }
            "confirm" => match self.person.confirm("sign it?", deadline)? {
                Some(true) => Ok(()),
                answer => Err(Error::access_denied(format!("the person said {answer:?}"))),
            },
            "touch" => {
                let _shown = self.person.show(Notice::Touch, "touch the key");
                std::thread::sleep(Duration::from_millis(100)); // a person touches it
                Ok(())
            }
            "chatter" => {
                (0..40).for_each(|n| drop(self.person.show(Notice::Message, &format!("message {n}"))));
                Ok(())
            }
            "abort" => std::process::abort(),
            other => Err(Error::validation(format!("there is no key {other}"))),
        }
    }

    fn is_first(&self, digest: &Digest) -> bool {
        self.seen.lock().is_ok_and(|mut seen| seen.insert(digest.bytes().to_vec()))
    }

    fn pin(&self, text: &str, deadline: Deadline) -> Result<(), Error> {
        let prompt = PinPrompt { text: text.to_owned(), tries_left: Some(2) };
        match self.person.pin(&prompt, deadline)? {
            Some(pin) if pin.expose() == "1234" => Ok(()),
            Some(_) => Err(Error::access_denied("the PIN is wrong")),
            None => Err(Error::access_denied("nobody gave the PIN")),
        }
    }
}

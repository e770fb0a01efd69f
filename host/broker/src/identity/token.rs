//! OIDC bearer tokens (RFC 7519, RFC 8725; OpenID Connect Core 1.0, section 3.1.3.7): which are accepted, and the peer
//! they name.
//!
//! In order: size; form; header (`alg` allowed, `crit` absent, `typ` of a JWT); `iss` configured; `aud`, `exp`, `nbf`,
//! `iat`, lifetime, required claims; then the key by `kid`, its type, and the signature. What costs a request to the
//! issuer comes after all that a token must have anyway. Nothing of a token is believed before its signature verified.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tonic::metadata::MetadataMap;
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::issuer::{IssuerConfig, IssuerError};
use super::jwks::{Keys, NoKey};
use super::refusal::{Refusal, RefusalKind, quoted};
use super::{claims, strict_json};
use crate::limits::{ISSUERS_MAX, KID_BYTES_MAX, TOKEN_BYTES_MAX};

/// A token as it was sent. Wiped when dropped; never shown.
pub struct BearerToken(Zeroizing<String>);

impl BearerToken {
    /// The token of a call's `authorization` metadata, if there is one (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// [`Refusal`] if there are several, of another scheme, or larger than a token may be.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Option<Self>, Refusal> {
        let mut values = metadata.get_all("authorization").iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(refused("several values of `authorization`", "one", "send one token"));
        }
        let scheme = "`authorization: Bearer <token>`";
        let act = "correct how the client sends its token";
        let text = value.to_str().map_err(|_| refused("an `authorization` that is no text", scheme, act))?;
        let (kind, token) = text.split_once(' ').unwrap_or((text, ""));
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err(refused("an `authorization` of another scheme", scheme, act));
        }
        Self::new(token).map(Some)
    }

    /// Takes the token alone.
    ///
    /// # Errors
    /// [`Refusal`] if it is empty or too large.
    pub fn new(token: &str) -> Result<Self, Refusal> {
        if (1..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Ok(Self(Zeroizing::new(token.to_owned())));
        }
        let found = format!("a token of {} bytes", token.len());
        Err(refused(
            found,
            format!("1 to {TOKEN_BYTES_MAX}"),
            "send the token that the issuer gave for this broker",
        ))
    }
}

/// The issuers that are trusted, with their keys.
#[derive(Default)]
pub struct Issuers(BTreeMap<String, Issuer>);

struct Issuer {
    config: IssuerConfig,
    keys: Keys,
}

/// What a token proved.
pub(crate) struct Verified {
    pub(crate) id: String,
    pub(crate) claims: BTreeMap<String, Value>,
    pub(crate) evidence: String,
    pub(crate) expires_at: Timestamp,
}

impl Issuers {
    /// Trusts `configs` alone. Keys that `before` has of an issuer which is fetched alike are taken over.
    ///
    /// # Errors
    /// [`IssuerError`] if one is unusable, configured twice, or there are too many.
    pub fn new(configs: Vec<IssuerConfig>, before: &Self) -> Result<Self, IssuerError> {
        let mut issuers = BTreeMap::new();
        let count = configs.len();
        for config in configs {
            let issuer = config.issuer.clone();
            let error = |found: String, expected: &str| {
                Err(IssuerError { issuer: quoted(&issuer), found, expected: expected.to_owned() })
            };
            if count > ISSUERS_MAX {
                return error(format!("{count} issuers"), &format!("at most {ISSUERS_MAX}"));
            }
            config.check()?;
            let keys = match before.0.get(&issuer).filter(|old| fetched_alike(&old.config, &config)) {
                Some(old) => old.keys.share(),
                None => Keys::new(config.clone())?,
            };
            if issuers.insert(issuer.clone(), Issuer { config, keys }).is_some() {
                return error("it twice".to_owned(), "each issuer once");
            }
        }
        Ok(Self(issuers))
    }

    /// Whether no token is accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a token at `now`. May ask the issuer for its keys, bounded in time.
    ///
    /// # Errors
    /// [`Refusal`]; [`RefusalKind::IssuerUnavailable`] if only the keys were missing.
    pub(crate) async fn verify(&self, token: &BearerToken, now: Timestamp) -> Result<Verified, Refusal> {
        let token = Parsed::new(&token.0)?;
        let issuer = self.issuer_of(&token)?;
        let header = token.header(&issuer.config)?;
        let expires_at = claims::check(&token.claims, &issuer.config, now)?;
        let subject = claims::subject(&token.claims)?;
        let key = issuer
            .keys
            .find(header.kid.as_deref(), header.algorithm)
            .await
            .map_err(|e| no_key(&e, &header, &issuer.config))?;
        if !key.verifies(header.algorithm, token.signed.as_bytes(), &token.signature) {
            let act = "fetch a new token; if that fails too, somebody changes or forges tokens";
            return Err(refused("a token whose signature does not verify", "one signed by its issuer", act));
        }
        let evidence =
            format!("token {} of {}, {}", claims::jti(&token.claims), issuer.config.issuer, header.name());
        let id = format!("{}|{subject}", issuer.config.issuer);
        Ok(Verified { id, claims: token.claims.into_iter().collect(), evidence, expires_at })
    }

    fn issuer_of(&self, token: &Parsed<'_>) -> Result<&Issuer, Refusal> {
        let text = token.claims.get("iss").and_then(Value::as_str);
        let known = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        text.and_then(|iss| self.0.get(iss)).ok_or_else(|| {
            let found = match text {
                Some(iss) => format!("a token of issuer {:?}", quoted(iss)),
                None => "a token without `iss`".to_owned(),
            };
            let expected = if self.0.is_empty() { "no token at all".to_owned() } else { quoted(&known()) };
            refused(
                found,
                expected,
                "let the broker's operator add the issuer, or send a token of a trusted one",
            )
        })
    }
}

/// Nothing in the configuration that decides where keys come from has changed.
fn fetched_alike(old: &IssuerConfig, new: &IssuerConfig) -> bool {
    old.authorities == new.authorities && old.plain_http_on_loopback == new.plain_http_on_loopback
}

/// A compact JWS (RFC 7515, section 7.1), taken apart and not yet believed.
struct Parsed<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    fn name(&self) -> String {
        let kid =
            self.kid.as_deref().map_or_else(|| "no kid".to_owned(), |kid| format!("kid {:?}", quoted(kid)));
        format!("{} {kid}", self.algorithm.as_str())
    }
}

impl<'a> Parsed<'a> {
    fn new(token: &'a str) -> Result<Self, Refusal> {
        let malformed = |part: &str, reason: &str| {
            refused(
                format!("a token whose {part} is malformed ({reason})"),
                "a JWT: header.claims.signature in Base64url without padding",
                "send the token exactly as the issuer gave it",
            )
        };
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed("form", "no two dots"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| malformed("form", "no two dots"))?;
        let decoded = |part: &str, text: &str| {
            // The decoder's own error quotes a byte of the token.
            URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).map_err(|_| malformed(part, "no Base64url"))
        };
        let object = |part: &str, text: &str| {
            strict_json::parse_object(&decoded(part, text)?).map_err(|e| malformed(part, &quoted(&e)))
        };
        Ok(Self {
            header: object("header", header)?,
            claims: object("claims", claims)?,
            signed,
            signature: decoded("signature", signature)?.to_vec(),
        })
    }

    fn header(&self, config: &IssuerConfig) -> Result<Header, Refusal> {
        let act =
            "let the issuer be configured to sign tokens that way, or let the broker's operator allow it";
        if self.header.contains_key("crit") {
            return Err(refused("a token with `crit`", "one without critical extensions", act));
        }
        self.check_type()?;
        let alg = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let allowed = Algorithm::parse(alg).filter(|algorithm| config.algorithms.contains(algorithm));
        let algorithm = allowed.ok_or_else(|| {
            let names: Vec<_> = config.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
            refused(format!("a token with `alg` {:?}", quoted(alg)), names.join(" or "), act)
        })?;
        match self.header.get("kid") {
            None => Ok(Header { algorithm, kid: None }),
            Some(Value::String(kid)) if kid.len() <= KID_BYTES_MAX => {
                Ok(Header { algorithm, kid: Some(kid.clone()) })
            }
            Some(_) => {
                let expected = format!("a text of at most {KID_BYTES_MAX} bytes");
                Err(refused("a token with another `kid`", expected, act))
            }
        }
    }

    /// RFC 7519, section 5.1; RFC 9068, section 2.1. Other types mean something else (RFC 8725, section 3.11).
    fn check_type(&self) -> Result<(), Refusal> {
        let Some(typ) = self.header.get("typ") else { return Ok(()) };
        let text = typ.as_str().unwrap_or_default().to_ascii_lowercase();
        match text.strip_prefix("application/").unwrap_or(&text) {
            "jwt" | "at+jwt" => Ok(()),
            other => {
                let found = format!("a token with `typ` {:?}", quoted(other));
                Err(refused(
                    found,
                    "JWT or at+jwt",
                    "send an ID or access token, not one made for something else",
                ))
            }
        }
    }
}

fn no_key(reason: &NoKey, header: &Header, config: &IssuerConfig) -> Refusal {
    let token = format!("a token signed with {}", header.name());
    let issuer = &config.issuer;
    match reason {
        NoKey::Unknown { keys } => refused(
            token,
            format!("one of the {keys} keys that {issuer} publishes"),
            "fetch a new token; if that fails too, the issuer signs with a key that it does not publish",
        ),
        NoKey::Later(pause) => Refusal::new(
            RefusalKind::IssuerUnavailable,
            token,
            format!("a key that {issuer} published when it was last asked"),
            format!("try again in {} s, when it may be asked again", pause.as_secs() + 1),
        ),
        NoKey::Unavailable(reason) => Refusal::new(
            RefusalKind::IssuerUnavailable,
            format!("{token}, and no key to check it ({reason})"),
            format!("the keys of {issuer}"),
            "the broker's operator must let the broker reach the issuer, or wait until it answers",
        ),
    }
}

/// A refused token.
pub(crate) fn refused(found: impl Into<String>, expected: impl Into<String>, act: &str) -> Refusal {
    Refusal::new(RefusalKind::Token, found, expected, act)
}

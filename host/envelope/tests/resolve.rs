//! The chain resolver on the heaps of certificates that users of Azure's plugin bring, and on worse ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use jiff::Timestamp;
use prokura_envelope::certificate::{Certificate, NoChain, resolve};
use prokura_envelope::limits::{CERTIFICATES_MAX, ISSUER_URLS_MAX, RESOLVE_STEPS_MAX};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};

/// A key and its certificate.
struct Holder {
    key: KeyPair,
    params: CertificateParams,
    certificate: Certificate,
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
    params
}

fn root(name: &str) -> Holder {
    let (key, params) = (KeyPair::generate().unwrap(), params(name, true));
    let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    Holder { key, params, certificate }
}

fn issued(name: &str, by: &Holder, is_ca: bool) -> Holder {
    let key = KeyPair::generate().unwrap();
    let params = params(name, is_ca);
    let issuer = Issuer::from_params(&by.params, &by.key);
    let certificate = Certificate::from_der(params.signed_by(&key, &issuer).unwrap().der()).unwrap();
    Holder { key, params, certificate }
}

struct World {
    root: Holder,
    inter1: Holder,
    inter2: Holder,
    leaf: Holder,
    /// Issued by `inter1`.
    short: Holder,
    /// Issued by the root.
    flat: Holder,
    other_root: Holder,
    other_inter: Holder,
    other_leaf: Holder,
    self_signed: Holder,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (root_, other_root) = (root("root"), root("other root"));
    let inter1 = issued("inter 1", &root_, true);
    let inter2 = issued("inter 2", &inter1, true);
    World {
        leaf: issued("leaf", &inter2, false),
        short: issued("short", &inter1, false),
        flat: issued("flat", &root_, false),
        other_inter: issued("other inter", &other_root, true),
        other_leaf: issued("other leaf", &other_root, false),
        self_signed: root("self-signed leaf"),
        root: root_,
        inter1,
        inter2,
        other_root,
    }
});

/// The same key under another certificate, by another issuer and until another year.
fn again(holder: &Holder, by: &Holder, until: i32) -> Holder {
    let mut params = holder.params.clone();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&holder.key, &Issuer::from_params(&by.params, &by.key)).unwrap();
    let key = KeyPair::try_from(holder.key.serialize_der()).unwrap();
    Holder { key, params, certificate: Certificate::from_der(certificate.der()).unwrap() }
}

/// Certificates by the name of `holder`, each another one, of a key that issued nothing; valid longer.
fn namesakes(holder: &Holder, count: usize) -> Vec<Holder> {
    let key = KeyPair::generate().unwrap();
    let one = |number: usize| {
        let mut params = holder.params.clone();
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.serial_number = Some(rcgen::SerialNumber::from(number as u64 + 1));
        let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        Holder { key: KeyPair::try_from(key.serialize_der()).unwrap(), params, certificate }
    };
    (0..count).map(one).collect()
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// The names of the chain, or what is missing behind it.
fn ordered(leaf: &Holder, heap: &[&Holder]) -> Result<String, String> {
    let key = leaf.certificate.public_key().unwrap();
    let heap: Vec<Certificate> = heap.iter().map(|h| h.certificate.clone()).collect();
    let resolved = resolve(&key, &heap, now()).map_err(|error| error.to_string())?;
    let name = |c: &Certificate| c.subject().trim_start_matches("CN=").to_owned();
    let names = resolved.chain.iter().map(name).collect::<Vec<_>>().join(" < ");
    match resolved.missing {
        None => Ok(names),
        Some(missing) => Err(format!("{names} misses {}", missing.subject)),
    }
}

/// The twenty heaps in the test data of notation-azure-kv v1.2.1, by their file names there. That plugin refuses those
/// with strangers in them; here strangers are left out.
#[test]
fn the_twenty_permutations_of_azure_kv() {
    let w = &*WORLD;
    const WHOLE: Result<&str, &str> = Ok("leaf < inter 2 < inter 1 < root");
    const SHORT: Result<&str, &str> = Ok("short < inter 1 < root");
    const FLAT: Result<&str, &str> = Ok("flat < root");
    type Case<'a> = (&'a str, &'a Holder, Vec<&'a Holder>, Result<&'a str, &'a str>);
    let cases: [Case<'_>; 20] = [
        ("2root_leaf", &w.flat, vec![&w.root, &w.root, &w.flat], FLAT),
        ("2self_signed_leaf", &w.self_signed, vec![&w.self_signed, &w.self_signed], Ok("self-signed leaf")),
        (
            "DN_loop",
            &LOOP.leaf,
            vec![&LOOP.leaf, &LOOP.a, &LOOP.b],
            Err("leaf < loop a < loop b misses CN=loop a"),
        ),
        ("inter2_inter1_root_leaf", &w.leaf, vec![&w.inter2, &w.inter1, &w.root, &w.leaf], WHOLE),
        ("inter_root_leaf", &w.short, vec![&w.inter1, &w.root, &w.short], SHORT),
        ("leaf", &w.flat, vec![&w.flat], Err("flat misses CN=root")),
        ("leaf_inter", &w.short, vec![&w.short, &w.inter1], Err("short < inter 1 misses CN=root")),
        ("leaf_inter2_inter1_root", &w.leaf, vec![&w.leaf, &w.inter2, &w.inter1, &w.root], WHOLE),
        (
            "leaf_inter2_inter1_unknown",
            &w.leaf,
            vec![&w.leaf, &w.inter2, &w.inter1, &w.other_inter],
            Err("leaf < inter 2 < inter 1 misses CN=root"),
        ),
        ("leaf_inter_root", &w.short, vec![&w.short, &w.inter1, &w.root], SHORT),
        (
            "leaf_inter_root_leaf2_root2",
            &w.short,
            vec![&w.short, &w.inter1, &w.root, &w.other_leaf, &w.other_root],
            SHORT,
        ),
        ("leaf_inter_root_otherinter", &w.short, vec![&w.short, &w.inter1, &w.root, &w.inter2], SHORT),
        ("leaf_inter_root_unknown", &w.short, vec![&w.short, &w.inter1, &w.root, &w.other_leaf], SHORT),
        ("leaf_root_unknown", &w.flat, vec![&w.flat, &w.root, &w.other_leaf], FLAT),
        ("leaf_root_without_inter", &w.short, vec![&w.short, &w.root], Err("short misses CN=inter 1")),
        ("leaf_unknown", &w.flat, vec![&w.flat, &w.other_inter], Err("flat misses CN=root")),
        ("root1_leaf_root2", &w.flat, vec![&w.root, &w.flat, &w.other_root], FLAT),
        ("root_leaf", &w.flat, vec![&w.root, &w.flat], FLAT),
        ("root_leaf1_leaf2", &w.flat, vec![&w.root, &w.flat, &w.short], FLAT),
        ("self_signed_leaf", &w.self_signed, vec![&w.self_signed], Ok("self-signed leaf")),
    ];
    for (name, leaf, heap, expected) in cases {
        let found = ordered(leaf, &heap);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}");
    }
}

struct Loop {
    a: Holder,
    b: Holder,
    leaf: Holder,
}

/// `a` was issued by `b` and `b` by a namesake of `a`: the names go round, the signatures do not.
static LOOP: LazyLock<Loop> = LazyLock::new(|| {
    let namesake = root("loop a");
    let b = issued("loop b", &namesake, true);
    let a = issued("loop a", &b, true);
    Loop { leaf: issued("leaf", &a, false), a, b }
});

#[test]
fn a_namesake_is_not_the_issuer() {
    let w = &*WORLD;
    let impostor = root("root");
    let key = w.flat.certificate.public_key().unwrap();
    let heap = [w.flat.certificate.clone(), impostor.certificate.clone()];
    let missing = resolve(&key, &heap, now()).map(|r| r.missing.unwrap()).ok().unwrap();
    assert!(missing.namesake && missing.subject == "CN=root" && missing.issued == "CN=flat", "{missing:?}");
    assert_eq!(ordered(&w.flat, &[&w.flat, &impostor, &w.root]).unwrap(), "flat < root");
}

#[test]
fn a_name_that_nobody_else_has_is_no_namesake() {
    let w = &*WORLD;
    let missing = |heap: &[&Holder]| {
        let key = heap[0].certificate.public_key().unwrap();
        let heap: Vec<Certificate> = heap.iter().map(|h| h.certificate.clone()).collect();
        resolve(&key, &heap, now()).ok().unwrap().missing.unwrap()
    };
    assert!(!missing(&[&w.flat, &w.other_root]).namesake);
    // It bears the name of its own issuer.
    let same = root("same");
    assert!(!missing(&[&issued("same", &same, false), &w.root]).namesake);
}

#[test]
fn authorities_that_certified_each_other_end_no_chain() {
    let (a, b) = (root("round a"), root("round b"));
    let (a_by_b, b_by_a) = (again(&a, &b, 2031), again(&b, &a, 2031));
    let leaf = issued("leaf", &a, false);
    let round = ordered(&leaf, &[&leaf, &a_by_b, &b_by_a]);
    assert_eq!(round.unwrap_err(), "leaf < round a < round b misses CN=round a");
    assert_eq!(ordered(&leaf, &[&leaf, &a_by_b, &b_by_a, &a]).unwrap(), "leaf < round a < round b < round a");
}

#[test]
fn the_longest_piece_is_told_whatever_was_tried_last() {
    let (absent, other, top) = (root("absent"), root("other absent"), root("top"));
    let mid = issued("mid", &absent, true);
    let inter = issued("inter", &top, true);
    // Tried first, and longer than the other.
    let (long, short) = (again(&inter, &mid, 2041), again(&inter, &other, 2031));
    let leaf = issued("leaf", &inter, false);
    let found = ordered(&leaf, &[&leaf, &short, &long, &mid]).unwrap_err();
    assert_eq!(found, "leaf < inter < mid misses CN=absent");
}

#[test]
fn a_chain_has_an_end() {
    let mut holders = vec![root("ca 0")];
    for number in 1..CERTIFICATES_MAX {
        let next = issued(&format!("ca {number}"), &holders[number - 1], true);
        holders.push(next);
    }
    let (last, before) = (&holders[CERTIFICATES_MAX - 1], &holders[CERTIFICATES_MAX - 2]);
    let (fits, too_deep) = (issued("leaf", before, false), issued("leaf", last, false));
    let length = |leaf: &Holder| {
        let mut heap: Vec<Certificate> = holders.iter().map(|h| h.certificate.clone()).collect();
        heap.push(leaf.certificate.clone());
        let resolved = resolve(&leaf.certificate.public_key().unwrap(), &heap, now()).ok().unwrap();
        (resolved.chain.len(), resolved.missing.map(|missing| missing.subject))
    };
    assert_eq!(length(&fits), (CERTIFICATES_MAX, None));
    assert_eq!(length(&too_deep), (CERTIFICATES_MAX, Some("CN=ca 0".to_owned())));
}

#[test]
fn a_search_has_an_end() {
    let w = &*WORLD;
    let tried = |count: usize| {
        let namesakes = namesakes(&w.root, count);
        let heap: Vec<&Holder> = [&w.flat, &w.root].into_iter().chain(&namesakes).collect();
        ordered(&w.flat, &heap)
    };
    assert_eq!(tried(RESOLVE_STEPS_MAX - 1).unwrap(), "flat < root");
    assert_eq!(tried(RESOLVE_STEPS_MAX).unwrap_err(), "flat misses CN=root");
}

#[test]
fn the_same_certificate_many_times_is_tried_once() {
    let w = &*WORLD;
    let namesake = &namesakes(&w.root, 1)[0];
    let mut heap = vec![namesake; RESOLVE_STEPS_MAX + 1];
    heap.extend([&w.flat, &w.root]);
    assert_eq!(ordered(&w.flat, &heap).unwrap(), "flat < root");
}

#[test]
fn a_cross_signed_authority_is_followed_to_a_root() {
    let w = &*WORLD;
    // The same authority, certified by a root nobody has: longer valid, so it is tried first.
    let absent = root("absent");
    let mut params = params("inter 1", true);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let cross = params.signed_by(&w.inter1.key, &Issuer::from_params(&absent.params, &absent.key)).unwrap();
    let cross = Certificate::from_der(cross.der()).unwrap();
    let key = w.short.certificate.public_key().unwrap();
    let heap = [w.short.certificate.clone(), cross, w.inter1.certificate.clone(), w.root.certificate.clone()];
    let resolved = resolve(&key, &heap, now()).ok().unwrap();
    assert!(resolved.missing.is_none());
    assert_eq!(resolved.chain.len(), 3);
}

#[test]
fn of_two_leaves_the_valid_one_is_taken() {
    let w = &*WORLD;
    let mut params = params("flat", false);
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2031, 1, 1), rcgen::date_time_ymd(2039, 1, 1));
    let next = params.signed_by(&w.flat.key, &Issuer::from_params(&w.root.params, &w.root.key)).unwrap();
    let next = Certificate::from_der(next.der()).unwrap();
    let key = w.flat.certificate.public_key().unwrap();
    let heap = [next.clone(), w.flat.certificate.clone(), w.root.certificate.clone()];
    let leaf_at = |at: &str| resolve(&key, &heap, at.parse().unwrap()).ok().unwrap().chain[0].der().to_vec();
    assert_eq!(leaf_at("2026-06-01T00:00:00Z"), w.flat.certificate.der());
    assert_eq!(leaf_at("2032-06-01T00:00:00Z"), next.der());
}

#[test]
fn of_two_valid_leaves_the_one_that_lasts_is_taken_and_of_these_one_with_a_chain() {
    let w = &*WORLD;
    let longer = again(&w.flat, &w.root, 2036);
    let key = w.flat.certificate.public_key().unwrap();
    for heap in [[&w.flat, &longer, &w.root], [&longer, &w.flat, &w.root]] {
        let heap = heap.map(|h| h.certificate.clone());
        assert_eq!(resolve(&key, &heap, now()).ok().unwrap().chain[0], longer.certificate);
    }
    let without_chain = again(&w.flat, &w.other_inter, 2036);
    assert_eq!(ordered(&w.flat, &[&without_chain, &w.flat, &w.root]).unwrap(), "flat < root");
}

/// Authority information access with these methods and addresses.
fn access(entries: &[(u8, &str)]) -> CustomExtension {
    let tlv = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()][..], value].concat();
    let one = |(method, url): &(u8, &str)| {
        let method = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, *method];
        tlv(0x30, &[tlv(0x06, &method), tlv(0x86, url.as_bytes())].concat())
    };
    let all: Vec<u8> = entries.iter().flat_map(one).collect();
    let length = match u8::try_from(all.len()) {
        Ok(short @ ..0x80) => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => [&[0x82][..], &u16::try_from(all.len()).unwrap().to_be_bytes()].concat(),
    };
    let content = [&[0x30][..], &length, &all].concat();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content)
}

#[test]
fn urls_of_the_issuer_are_those_that_can_be_fetched() {
    const OCSP: u8 = 1;
    const CA_ISSUERS: u8 = 2;
    let w = &*WORLD;
    let urls = |entries: &[(u8, &str)]| {
        let mut params = params("leaf with urls", false);
        params.custom_extensions.push(access(entries));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&w.root.params, &w.root.key)).unwrap();
        let certificate = Certificate::from_der(certificate.der()).unwrap();
        let key = certificate.public_key().unwrap();
        resolve(&key, &[certificate], now()).ok().unwrap().missing.unwrap().urls
    };
    let mixed = [
        (OCSP, "http://ocsp.example"),
        (CA_ISSUERS, "ldap://pki.example/root"),
        (CA_ISSUERS, "file:///etc/shadow"),
        (CA_ISSUERS, "https://pki.example/root.cer"),
        (CA_ISSUERS, "http://pki.example/root.cer"),
    ];
    assert_eq!(urls(&mixed), ["https://pki.example/root.cer", "http://pki.example/root.cer"]);
    assert_eq!(urls(&[(CA_ISSUERS, "http://pki.example"); ISSUER_URLS_MAX + 2]).len(), ISSUER_URLS_MAX);
}

#[test]
fn without_the_leaf_what_is_there_is_named() {
    let w = &*WORLD;
    let key = w.leaf.certificate.public_key().unwrap();
    assert_eq!(resolve(&key, &[], now()).err(), Some(NoChain::NoCertificates));
    let refused = ordered(&w.leaf, &[&w.root, &w.flat]).unwrap_err();
    assert_eq!(refused, "none of the 2 certificates is for this key; found CN=root; CN=flat");
    let strangers = vec![WORLD.root.certificate.clone(); CERTIFICATES_MAX + 1];
    let refused = resolve(&key, &strangers, now()).err().unwrap().to_string();
    assert!(refused.starts_with(&format!("none of the {} certificates", strangers.len())), "{refused}");
    assert_eq!(refused.matches("CN=root").count(), CERTIFICATES_MAX, "{refused}");
}

//! The chain resolver on the heaps of certificates that users of Azure's plugin bring, and on worse ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use jiff::Timestamp;
use prokura_envelope::certificate::{Certificate, NoChain, resolve};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

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
fn without_the_leaf_what_is_there_is_named() {
    let w = &*WORLD;
    let key = w.leaf.certificate.public_key().unwrap();
    assert_eq!(resolve(&key, &[], now()).err(), Some(NoChain::NoCertificates));
    let refused = ordered(&w.leaf, &[&w.root, &w.flat]).unwrap_err();
    assert_eq!(refused, "none of the 2 certificates is for this key; found CN=root; CN=flat");
}

//! Tests of the room above: vault, bundle and network give one chain, and what is missing is named.

use std::collections::BTreeMap;
use std::sync::Mutex;

use prokura_plugin::limits::CERTIFICATES_MAX;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};

use super::*;

const URL: &str = "http://pki.example/inter.cer";

struct Pki {
    root: Vec<u8>,
    inter: Vec<u8>,
    leaf: Vec<u8>,
    key: PublicKey,
}

/// Authority information access: issuers at these URLs.
fn issuer_urls(urls: &[&str]) -> CustomExtension {
    const CA_ISSUERS: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
    let one = |url: &&str| tlv(0x30, &[&CA_ISSUERS, &tlv(0x86, &[url.as_bytes()])]);
    let all: Vec<u8> = urls.iter().flat_map(one).collect();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], tlv(0x30, &[&all]))
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = match u16::try_from(value.len()).unwrap() {
        short @ ..0x80 => vec![u8::try_from(short).unwrap()],
        long @ ..0x100 => vec![0x81, u8::try_from(long).unwrap()],
        long => [&[0x82][..], &long.to_be_bytes()].concat(),
    };
    [&[tag][..], &length, &value].concat()
}

fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
    params
}

fn pki() -> Pki {
    let (root_key, inter_key, leaf_key) = (key(), key(), key());
    let (root, inter, mut leaf) = (params("root", true), params("inter", true), params("leaf", false));
    leaf.custom_extensions.push(issuer_urls(&[URL]));
    let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
    let by_root = Issuer::from_params(&root, &root_key);
    let inter_der = inter.signed_by(&inter_key, &by_root).unwrap().der().to_vec();
    let leaf_der =
        leaf.signed_by(&leaf_key, &Issuer::from_params(&inter, &inter_key)).unwrap().der().to_vec();
    let key = Certificate::from_der(&leaf_der).unwrap().public_key().unwrap();
    Pki { root: root_der, inter: inter_der, leaf: leaf_der, key }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// Answers with what it was given and counts.
struct Server(Result<Vec<u8>, String>, Mutex<u32>);

impl FetchIssuer for Server {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        *self.1.lock().unwrap() += 1;
        let answer = if url == URL { self.0.clone() } else { Err("404".to_owned()) };
        Box::pin(std::future::ready(answer))
    }
}

fn server(answer: Result<Vec<u8>, String>) -> Arc<dyn FetchIssuer> {
    Arc::new(Server(answer, Mutex::default()))
}

async fn complete(
    pki: &Pki,
    held: &[&Vec<u8>],
    bundle: &[&Vec<u8>],
    fetch: Option<Arc<dyn FetchIssuer>>,
) -> Result<Vec<Vec<u8>>, String> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = BTreeMap::new();
    if !bundle.is_empty() {
        let path = directory.path().join("bundle.pem");
        let pem: String = bundle
            .iter()
            .map(|der| der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap())
            .collect();
        std::fs::write(&path, pem).unwrap();
        config.insert(CA_CERTS.to_owned(), path.to_str().unwrap().to_owned());
    }
    let reference = KeyReference::new("k", prokura_plugin::message::PluginConfig(config)).unwrap();
    let held = CertificateChain::from_der(held.iter().map(|der| (*der).clone()).collect()).unwrap();
    let plugin = "acme".parse().unwrap();
    let advice = Advice { plugin: &plugin, installs: true, own: None };
    let at = "2026-06-01T00:00:00Z".parse().unwrap();
    let chain = completed(&reference, &pki.key, &held, fetch.as_ref(), at, &advice).await;
    chain.map(|chain| chain.certificates().to_vec()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn vault_bundle_and_network_make_one_chain() {
    let pki = pki();
    let Pki { root, inter, leaf, .. } = &pki;
    let whole = vec![leaf.clone(), inter.clone(), root.clone()];
    assert_eq!(complete(&pki, &[leaf, inter, root], &[], None).await.unwrap(), whole);
    assert_eq!(complete(&pki, &[leaf], &[root, inter], None).await.unwrap(), whole);
    assert_eq!(complete(&pki, &[], &[root, inter, leaf], None).await.unwrap(), whole);
    let fetch = server(Ok(inter.clone()));
    assert_eq!(complete(&pki, &[leaf], &[root], Some(fetch)).await.unwrap(), whole);
}

#[tokio::test]
async fn what_a_server_returns_may_be_der_pem_or_pkcs7() {
    let pki = pki();
    let Pki { root, inter, leaf, .. } = &pki;
    let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, inter).unwrap();
    for body in [inter.clone(), pem.into_bytes(), pkcs7(&[inter, root])] {
        assert!(complete(&pki, &[leaf], &[root], Some(server(Ok(body)))).await.is_ok());
    }
}

#[tokio::test]
async fn the_missing_certificate_is_named_and_how_to_add_it() {
    let pki = pki();
    let Pki { root, leaf, .. } = &pki;
    let refused = complete(&pki, &[leaf], &[root], None).await.unwrap_err();
    for words in
        ["\"CN=inter\", which issued \"CN=leaf\", is missing", "ca_certs=FILE", URL, "--fetch-issuers"]
    {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let refused = complete(&pki, &[leaf], &[root], Some(server(Err("404".to_owned())))).await.unwrap_err();
    assert!(refused.contains(&format!("fetching it failed: {URL}: 404")), "{refused}");
    let refused = complete(&pki, &[leaf], &[root], Some(server(Ok(vec![7; 9])))).await.unwrap_err();
    assert!(refused.contains("no certificate in 9 bytes"), "{refused}");
    let refused = complete(&pki, &[], &[], None).await.unwrap_err();
    assert!(refused.contains("there is no certificate; install"), "{refused}");
    let refused = complete(&pki, &[root], &[], None).await.unwrap_err();
    assert!(refused.contains("none of the 1 certificates is for this key; found CN=root"), "{refused}");
}

#[test]
fn who_has_no_certificate_is_advised_by_what_the_plugin_can_and_says() {
    let (key, plugin) = (KeyReference::new("k", Default::default()).unwrap(), "acme".parse().unwrap());
    let advised = |installs: bool, own: Option<&str>| {
        no_chain(&key, &NoChain::NoCertificates, &Advice { plugin: &plugin, installs, own }).to_string()
    };
    let bundle = "a PEM file that holds it with --plugin-config ca_certs=FILE";
    let generic = advised(true, None);
    assert!(
        generic.contains(&format!("(prokura cert install), or name {bundle}, or one of the places")),
        "{generic}"
    );
    assert!(
        generic.contains("the page of plugin acme") && generic.ends_with("prokura cert request"),
        "{generic}"
    );
    let no_place = advised(false, None);
    assert!(
        !no_place.contains("cert install") && no_place.contains(&format!("; name {bundle}")),
        "{no_place}"
    );
    let own = advised(true, Some("set x to \"y\""));
    assert!(own.contains(r#"plugin acme says: "set x to \"y\""; name"#), "{own}");
    assert!(!own.contains("the page of plugin") && !own.contains("cert install"), "{own}");
}

#[tokio::test]
async fn a_server_that_sends_the_same_again_is_asked_once() {
    let pki = pki();
    let server = Arc::new(Server(Ok(pki.leaf.clone()), Mutex::default()));
    let fetch: Arc<dyn FetchIssuer> = Arc::clone(&server) as _;
    assert!(complete(&pki, &[&pki.leaf], &[], Some(fetch)).await.is_err());
    assert_eq!(*server.1.lock().unwrap(), 1);
}

/// A leaf that names `urls`, below `count` issuers of which each names its own, and those; the last is the root.
fn tall(count: usize, urls: &[&str]) -> (Pki, Tower) {
    let name = |number: usize| format!("http://pki.example/{number}");
    let (mut by, mut by_key) = (params("root", true), key());
    let mut ders = vec![(name(count), by.self_signed(&by_key).unwrap().der().to_vec())];
    for number in (1..count).rev() {
        let (mut next, next_key) = (params(&format!("ca {number}"), true), key());
        next.custom_extensions.push(issuer_urls(&[&name(number + 1)]));
        let der = next.signed_by(&next_key, &Issuer::from_params(&by, &by_key)).unwrap().der().to_vec();
        ders.push((name(number), der));
        (by, by_key) = (next, next_key);
    }
    let (mut leaf, leaf_key) = (params("leaf", false), key());
    leaf.custom_extensions.push(issuer_urls(urls));
    let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&by, &by_key)).unwrap().der().to_vec();
    let key = Certificate::from_der(&leaf).unwrap().public_key().unwrap();
    let root = ders[0].1.clone();
    let inter = ders[ders.len() - 1].1.clone();
    (Pki { root, inter, leaf, key }, Tower { ders, asked: Mutex::default(), hangs: false })
}

/// Has each issuer at its URL, and keeps what it was asked for.
struct Tower {
    ders: Vec<(String, Vec<u8>)>,
    asked: Mutex<Vec<String>>,
    hangs: bool,
}

impl FetchIssuer for Tower {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        self.asked.lock().unwrap().push(url.to_owned());
        if self.hangs {
            return Box::pin(std::future::pending());
        }
        let found = self.ders.iter().find(|(known, _)| known == url).map(|(_, der)| der.clone());
        Box::pin(std::future::ready(found.ok_or_else(|| "\u{1b}[2J404\u{7}".to_owned())))
    }
}

#[tokio::test]
async fn as_many_issuers_are_fetched_as_a_chain_has_and_no_more() {
    for (count, is_whole) in [(ISSUERS_FETCHED_MAX, true), (ISSUERS_FETCHED_MAX + 1, false)] {
        let (pki, tower) = tall(count, &["http://pki.example/1"]);
        let tower = Arc::new(tower);
        let told = complete(&pki, &[&pki.leaf], &[], Some(Arc::clone(&tower) as _)).await;
        assert_eq!(tower.asked.lock().unwrap().len(), ISSUERS_FETCHED_MAX);
        match told {
            Ok(chain) => assert!(is_whole && chain.len() == count + 1),
            Err(refused) => assert!(!is_whole && refused.contains("put them into a bundle"), "{refused}"),
        }
    }
}

#[tokio::test]
async fn nothing_is_fetched_that_is_not_missing() {
    let (pki, tower) = tall(1, &[URL]);
    let tower = Arc::new(tower);
    let told = complete(&pki, &[&pki.leaf, &pki.root], &[], Some(Arc::clone(&tower) as _)).await;
    assert!(told.is_ok() && tower.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_url_after_the_other_is_tried_and_what_failed_is_told_without_escapes() {
    let (pki, tower) = tall(1, &["http://pki.example/gone", "http://pki.example/1"]);
    let tower = Arc::new(tower);
    assert!(complete(&pki, &[&pki.leaf], &[], Some(Arc::clone(&tower) as _)).await.is_ok());
    assert_eq!(*tower.asked.lock().unwrap(), ["http://pki.example/gone", "http://pki.example/1"]);

    let (pki, mut tower) = tall(1, &["http://pki.example/empty", "http://pki.example/1"]);
    tower.ders.push(("http://pki.example/empty".to_owned(), pkcs7(&[])));
    assert!(complete(&pki, &[&pki.leaf], &[], Some(Arc::new(tower))).await.is_ok());

    let (pki, tower) = tall(1, &["http://pki.example/\u{1b}[31mred"]);
    let refused = complete(&pki, &[&pki.leaf], &[], Some(Arc::new(tower))).await.unwrap_err();
    assert!(refused.contains("fetching it failed: http://pki.example/red: 404"), "{refused}");
    assert!(!refused.contains(char::is_control), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_hang_are_waited_for_once_and_for_all() {
    let (pki, tower) = tall(1, &["http://pki.example/1"; 4]);
    let tower = Tower { hangs: true, ..tower };
    let began = tokio::time::Instant::now();
    let refused = complete(&pki, &[&pki.leaf], &[], Some(Arc::new(tower))).await.unwrap_err();
    assert!(refused.contains("no answer within the 20 s for all"), "{refused}");
    assert_eq!(began.elapsed().as_secs(), ISSUERS_DEADLINE.as_secs());
}

#[tokio::test]
async fn of_a_message_with_many_certificates_the_first_are_looked_at() {
    let pki = pki();
    let stranger = &params("stranger", true).self_signed(&key()).unwrap().der().to_vec();
    for (strangers, is_found) in [(CERTIFICATES_MAX - 1, true), (CERTIFICATES_MAX, false)] {
        let mut message = vec![stranger; strangers];
        message.push(&pki.inter);
        let told = complete(&pki, &[&pki.leaf], &[&pki.root], Some(server(Ok(pkcs7(&message))))).await;
        assert_eq!(told.is_ok(), is_found, "{told:?}");
    }
    let mut data = pkcs7(&[&pki.inter]);
    let oid = data.windows(9).position(|w| w == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]).unwrap();
    data[oid + 8] = 3; // enveloped-data
    assert!(complete(&pki, &[&pki.leaf], &[&pki.root], Some(server(Ok(data)))).await.is_err());
}

#[tokio::test]
async fn the_bundle_is_read_when_something_is_missing() {
    let pki = pki();
    let Pki { root, inter, leaf, .. } = &pki;
    let reference = KeyReference::new(
        "k",
        [(CA_CERTS.to_owned(), "/nowhere/bundle.pem".to_owned())].into_iter().collect(),
    )
    .unwrap();
    let at = "2026-06-01T00:00:00Z".parse().unwrap();
    let told = async |held: &[&Vec<u8>]| {
        let held = CertificateChain::from_der(held.iter().map(|der| (*der).clone()).collect()).unwrap();
        let plugin = "acme".parse().unwrap();
        let advice = Advice { plugin: &plugin, installs: true, own: None };
        completed(&reference, &pki.key, &held, None, at, &advice).await.map_err(|error| error.to_string())
    };
    assert!(told(&[leaf, inter, root]).await.is_ok());
    assert!(told(&[leaf, inter]).await.unwrap_err().contains("/nowhere/bundle.pem"));
}

#[tokio::test]
async fn a_namesake_and_a_certificate_without_urls_are_told() {
    let pki = pki();
    let namesake = params("root", true).self_signed(&key()).unwrap().der().to_vec();
    let fetch = || Some(server(Err("404".to_owned())));
    let refused = complete(&pki, &[&pki.leaf], &[&pki.inter, &namesake], fetch()).await.unwrap_err();
    assert!(refused.contains("a certificate of that name is there but has another key"), "{refused}");
    assert!(refused.contains("names no URL to fetch it from"), "{refused}");
    let refused = complete(&pki, &[&pki.leaf], &[&pki.inter], None).await.unwrap_err();
    assert!(!refused.contains("of that name") && !refused.contains("no URL"), "{refused}");
}

/// A certs-only message, by hand: ContentInfo, SignedData, version, no digests, id-data, certificates, no signers.
fn pkcs7(certificates: &[&Vec<u8>]) -> Vec<u8> {
    let data = tlv(0x30, &[&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01]]);
    let all: Vec<&[u8]> = certificates.iter().map(|c| c.as_slice()).collect();
    let certificates = tlv(0xa0, &all);
    let signed = tlv(0x30, &[&[0x02, 0x01, 0x01], &[0x31, 0x00], &data, &certificates, &[0x31, 0x00]]);
    let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    tlv(0x30, &[&oid, &tlv(0xa0, &[&signed])])
}

//! Tests of the room above: vault, bundle and network give one chain, and what is missing is named.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};

use super::*;

const URL: &str = "http://pki.example/inter.cer";

struct Pki {
    root: Vec<u8>,
    inter: Vec<u8>,
    leaf: Vec<u8>,
    key: PublicKey,
}

/// `http://pki.example/inter.cer` as an authority information access extension.
fn issuer_url() -> CustomExtension {
    let mut access =
        vec![0x30, 0x28, 0x30, 0x26, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02, 0x86];
    access.push(u8::try_from(URL.len()).unwrap());
    access.extend(URL.as_bytes());
    let length = u8::try_from(access.len() - 2).unwrap();
    (access[1], access[3]) = (length, length - 2);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access)
}

fn pki() -> Pki {
    let params = |name: &str, ca: bool| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params
    };
    let (root_key, inter_key, leaf_key) = (key(), key(), key());
    let (root, inter, mut leaf) = (params("root", true), params("inter", true), params("leaf", false));
    leaf.custom_extensions.push(issuer_url());
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
    let chain =
        completed(&reference, &pki.key, &held, fetch.as_ref(), "2026-06-01T00:00:00Z".parse().unwrap()).await;
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

#[tokio::test]
async fn a_server_that_sends_the_same_again_is_asked_once() {
    let pki = pki();
    let server = Arc::new(Server(Ok(pki.leaf.clone()), Mutex::default()));
    let fetch: Arc<dyn FetchIssuer> = Arc::clone(&server) as _;
    assert!(complete(&pki, &[&pki.leaf], &[], Some(fetch)).await.is_err());
    assert_eq!(*server.1.lock().unwrap(), 1);
}

/// A certs-only message, by hand: ContentInfo, SignedData, version, no digests, id-data, certificates, no signers.
fn pkcs7(certificates: &[&Vec<u8>]) -> Vec<u8> {
    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        match u8::try_from(value.len()).ok().filter(|length| *length < 0x80) {
            Some(short) => [&[tag, short][..], &value].concat(),
            None => {
                let length = u16::try_from(value.len()).unwrap().to_be_bytes();
                [&[tag, 0x82][..], &length, &value].concat()
            }
        }
    }
    let data = tlv(0x30, &[&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01]]);
    let all: Vec<&[u8]> = certificates.iter().map(|c| c.as_slice()).collect();
    let certificates = tlv(0xa0, &all);
    let signed = tlv(0x30, &[&[0x02, 0x01, 0x01], &[0x31, 0x00], &data, &certificates, &[0x31, 0x00]]);
    let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    tlv(0x30, &[&oid, &tlv(0xa0, &[&signed])])
}

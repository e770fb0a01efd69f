"""Drives the fake with Microsoft's SDK, names and challenge verification as in production; prints what it found."""

import hashlib
import json
import sys

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, ManagedIdentityCredential
from azure.keyvault.certificates import CertificateClient, CertificatePolicy
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, SignatureAlgorithm
from azure.keyvault.secrets import SecretClient

URL, TENANT, CLIENT, SECRET = sys.argv[1:5]
ALGORITHMS = {
    "rsa-2048": (SignatureAlgorithm.ps256, hashlib.sha256),
    "rsa-3072": (SignatureAlgorithm.ps384, hashlib.sha384),
    "rsa-4096": (SignatureAlgorithm.ps512, hashlib.sha512),
    "ec-256": (SignatureAlgorithm.es256, hashlib.sha256),
    "ec-384": (SignatureAlgorithm.es384, hashlib.sha384),
    "ec-521": (SignatureAlgorithm.es512, hashlib.sha512),
}
once = {"retry_total": 0}
credential = ClientSecretCredential(TENANT, CLIENT, SECRET)
keys = KeyClient(URL, credential, **once)
found = {"listed": sorted(key.name for key in keys.list_properties_of_keys()), "verified": [], "refused": []}


def refused(what, kind, call):
    try:
        call()
    except kind as error:
        code = getattr(getattr(error, "error", None), "code", None)
        found["refused"].append([what, type(error).__name__, code])


def sign(name, client=credential):
    algorithm, digest = ALGORITHMS[name]
    key = keys.get_key(name)
    value = digest(b"to be signed").digest()
    signature = CryptographyClient(key.id, client, **once).sign(algorithm, value)
    assert signature.key_id == key.id, (signature.key_id, key.id)
    # Verified locally, with the public key the service shows.
    if CryptographyClient.from_jwk(key.key).verify(algorithm, value, signature.signature).is_valid:
        found["verified"].append(name)


for spec in ALGORITHMS:
    sign(spec)

if "managedhsm" not in URL:
    certificates, secrets = CertificateClient(URL, credential, **once), SecretClient(URL, credential, **once)
    certificate = certificates.get_certificate("ec-256")
    found["certificate"] = certificate.key_id == keys.get_key("ec-256").id
    found["chain"] = secrets.get_secret("ec-256").value.count("BEGIN CERTIFICATE")
    policy = CertificatePolicy("Unknown", subject="CN=pending", key_type="EC", key_curve_name="P-256", exportable=False)
    poller = certificates.begin_create_certificate("pending", policy)
    found["csr"] = len(certificates.get_certificate_operation("pending").csr) > 100
    refused("wrong secret", ClientAuthenticationError, lambda: KeyClient(URL, ClientSecretCredential(TENANT, CLIENT, "no"), **once).get_key("ec-256"))

created = keys.create_ec_key("made", curve="P-384")
found["created"] = [created.key_type.value, created.key.crv.value]
keys.update_key_properties("made", enabled=False, version=created.properties.version)
refused("disabled", HttpResponseError, lambda: CryptographyClient(created.id, credential, **once).sign(SignatureAlgorithm.es384, bytes(48)))
refused("missing", ResourceNotFoundError, lambda: keys.get_key("absent"))
refused("wrong length", HttpResponseError, lambda: CryptographyClient(keys.get_key("ec-256").id, credential, **once).sign(SignatureAlgorithm.es256, bytes(48)))
managed = ManagedIdentityCredential()
found["managed identity"] = KeyClient(URL, managed, **once).get_key("ec-256").name
print(json.dumps(found))

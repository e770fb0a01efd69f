"""moto's AWS, with a KMS that signs, refuses and fails the way AWS does.

moto hashes a digest again, salts RSA-PSS to the maximum, lets disabled keys sign and takes a digest of any length. Here
`Sign` and `GetPublicKey` are replaced; errors of its SigV4 and IAM gate come as JSON, as KMS sends them, and name the key.
Beside the AWS API it serves, on 127.0.0.1 and a port the system chose:

    POST   /_test/faults    one fault: {"operation", "match", "kind", "times", ...}; "match" is a part of the request body
    DELETE /_test/faults    forgets them
    GET    /_test/calls     what was called, each as {"operation", "key", "caller", "status", "grant_tokens"}
    POST   /_test/user      {"name", "policy"} makes a user with an access key, {"policy"} alone replaces the policy
    POST   /_test/acm       {"arn", "certificate"} replaces an imported certificate by one whose private key is elsewhere
    POST   /_test/acm-pca   {"authority", "arn", "certificate", "chain"} what a private CA has issued
    POST   /_test/enforce   from now on every call is checked: SigV4, then IAM with the ARN of the key
    /latest/…, /_test/container-credentials, /federation/credentials    IMDSv2, a container's and SSO's credentials

The first line on stdout is `listening PORT`. It ends when its stdin is closed.
"""

import base64
import datetime
import io
import json
import os
import socket
import struct
import sys
import threading
import time
import uuid

os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "false")

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto import settings
from moto.acm.models import acm_backends
from moto.acmpca.models import ACMPCABackend
from moto.core.exceptions import JsonRESTError
from moto.core.responses import BaseResponse
from moto.iam.models import iam_backends
from moto.kms import models as kms_models
from moto.kms.models import kms_backends
from moto.kms.responses import KmsResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
ACCOUNT = "123456789012"
CONTAINER_TOKEN = "container-token"
IMDS_TOKEN = "imds-token"
SSO_TOKEN = "sso-token"


class Refusal(JsonRESTError):
    """An error of KMS by its own name."""

    code = 400

    def __init__(self, name, message):
        super().__init__(name, message)


# --- KMS, corrected -----------------------------------------------------------------------------------------------


def check_usable(key):
    """The key states table of the KMS developer guide, as far as signing and reading the public key go."""
    if key.key_state == "Disabled":
        raise Refusal("DisabledException", f"{key.arn} is disabled.")
    if key.key_state == "PendingDeletion":
        raise Refusal("KMSInvalidStateException", f"{key.arn} is pending deletion.")
    if key.key_state != "Enabled":
        raise Refusal("KMSInvalidStateException", f"{key.arn} is {key.key_state}.")


def signature_of(key, message, message_type, algorithm):
    if key.key_usage != "SIGN_VERIFY":
        raise Refusal("InvalidKeyUsageException", f"{key.arn} key usage is {key.key_usage} which is not valid for Sign.")
    if algorithm not in key.signing_algorithms:
        raise Refusal(
            "InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {key.key_spec}."
        )
    digest = HASHES[algorithm[-3:]]
    if message_type == "DIGEST":
        if len(message) != digest.digest_size:
            raise Refusal("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
        digest = Prehashed(digest)
    elif len(message) > 4096:
        raise Refusal("ValidationException", "Member must have length less than or equal to 4096")
    private = key.private_key.private_key
    if isinstance(private, rsa.RSAPrivateKey):
        bare = HASHES[algorithm[-3:]]
        scheme = padding.PSS(padding.MGF1(bare), bare.digest_size) if "PSS" in algorithm else padding.PKCS1v15()
        return private.sign(message, scheme, digest)
    return private.sign(message, ec.ECDSA(digest))


def find(response):
    """The key that a request names, in the account of its ARN; other regions are refused as KMS does."""
    name = response._get_param("KeyId")
    if name.startswith("arn:"):
        region = name.split(":")[3]
        if region != response.region:
            raise Refusal("NotFoundException", f"Invalid arn {region}")
        response.current_account = name.split(":")[4]
    response._validate_key_id(name)
    return response.kms_backend.describe_key(name)


def sign(response):
    key = find(response)
    check_usable(key)
    algorithm = response._get_param("SigningAlgorithm")
    message_type = response._get_param("MessageType") or "RAW"
    signature = signature_of(key, response._get_param("Message"), message_type, algorithm)
    return json.dumps(
        {"KeyId": key.arn, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": algorithm}
    )


def get_public_key(response):
    key = find(response)
    check_usable(key)
    if key.key_spec == "SYMMETRIC_DEFAULT" or key.key_spec.startswith("HMAC_"):
        raise Refusal(
            "UnsupportedOperationException", f"{key.arn} key spec is {key.key_spec} which is not valid for GetPublicKey."
        )
    body = {
        "KeyId": key.arn,
        "PublicKey": base64.b64encode(key.private_key.public_key()).decode(),
        "KeySpec": key.key_spec,
        "CustomerMasterKeySpec": key.key_spec,
        "KeyUsage": key.key_usage,
    }
    algorithms = key.signing_algorithms if key.key_usage == "SIGN_VERIFY" else key.encryption_algorithms
    body["SigningAlgorithms" if key.key_usage == "SIGN_VERIFY" else "EncryptionAlgorithms"] = algorithms
    return json.dumps(body)


plain_describe_key = KmsResponse.describe_key


def describe_key(response):
    find(response)
    return plain_describe_key(response)


def list_keys(response):
    return paged(response, "Keys", [{"KeyArn": k.arn, "KeyId": k.id} for k in response.kms_backend.list_keys()])


def list_aliases(response):
    aliases = [
        {"AliasName": a.alias_name, "AliasArn": a.alias_arn, "TargetKeyId": a.target_key_id}
        for a in response.kms_backend.list_aliases()
    ]
    return paged(response, "Aliases", aliases)


def paged(response, name, found):
    start, limit = int(response._get_param("Marker") or 0), response._get_param("Limit") or 100
    page = {name: found[start : start + limit], "Truncated": start + limit < len(found)}
    if page["Truncated"]:
        page["NextMarker"] = str(start + limit)
    return json.dumps(page)


def authorize(response, resource="*"):
    """IAM sees the ARN of the key, whatever the request calls it."""
    try:
        name = json.loads(response.body or "{}").get("KeyId")
        account = name.split(":")[4] if name and name.startswith("arn:") else response.current_account
        resource = kms_backends[account][response.region].describe_key(name).arn if name else "*"
    except (ValueError, KeyError, AttributeError, IndexError):
        pass  # the operation itself says what is wrong with the name
    response.seen_resource = resource
    _checked.resource = resource
    BaseResponse._authenticate_and_authorize_normal_action(response, resource)


def validate_id(response, name):
    """moto knows the ids of multi-region keys in a form of its own only."""
    if response.kms_backend.get_key_id(name) not in response.kms_backend.keys:
        raise Refusal("NotFoundException", f"Key '{response._display_arn(name)}' does not exist")


def key_id(multi_region=False):
    return f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())


issued = {}
plain_get_certificate = ACMPCABackend.get_certificate


def get_certificate(backend, certificate_authority_arn, certificate_arn):
    if (certificate_authority_arn, certificate_arn) in issued:
        return issued[certificate_authority_arn, certificate_arn]
    return plain_get_certificate(backend, certificate_authority_arn, certificate_arn)


ACMPCABackend.get_certificate = get_certificate
_checked = threading.local()
kms_models.generate_key_id = key_id
KmsResponse._validate_cmk_id = validate_id
KmsResponse.sign = sign
KmsResponse.get_public_key = get_public_key
KmsResponse.describe_key = describe_key
KmsResponse.list_keys = list_keys
KmsResponse.list_aliases = list_aliases
KmsResponse._authenticate_and_authorize_normal_action = authorize


# --- what a test may do to it ---------------------------------------------------------------------------------------


class Scene:
    def __init__(self):
        self.lock = threading.Lock()
        self.faults = []
        self.calls = []

    def fault(self, operation, body):
        with self.lock:
            for fault in self.faults:
                if fault["operation"] == operation and fault.get("match", "") in body and fault.get("times", 1) > 0:
                    if fault.get("after", 0) > 0:
                        fault["after"] -= 1
                        continue
                    fault["times"] = fault.get("times", 1) - 1
                    return dict(fault)
        return None

    def record(self, **call):
        with self.lock:
            self.calls.append(call)


scene = Scene()


def operation_of(environ):
    """Such as `kms:Sign`; REST of S3 by its method."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition(",")[0].split("/")
    service = scope[3] if len(scope) > 3 else "none"
    caller = scope[0] if scope[0] else None
    if target:
        return f"{service}:{target.rpartition('.')[2]}", caller
    return f"{service}:{environ['REQUEST_METHOD']}", caller


def answer(start, status, body, content_type="application/x-amz-json-1.1"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start(status, headers + [("x-amzn-RequestId", str(uuid.uuid4()))])
    return [body]


def reset(environ):
    """Closes the connection so that the peer gets RST."""
    peer = environ["werkzeug.socket"]
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(peer.detach())  # close() would wait for the files made of the socket
    raise ConnectionResetError("fault: reset")


def tampered(fault, body):
    """The answer of Sign with other bytes as its signature."""
    reply = json.loads(body)
    kind = fault["kind"]
    if kind == "signature":
        reply["Signature"] = fault["value"]
    elif kind == "other-key":
        backend = kms_backends[ACCOUNT][fault["region"]]
        other = backend.describe_key(fault["by"])
        message = base64.b64decode(fault["request"]["Message"])
        signature = signature_of(other, message, "DIGEST", fault["request"]["SigningAlgorithm"])
        reply["Signature"] = base64.b64encode(signature).decode()
        if fault.get("honest"):
            reply["KeyId"] = other.arn
    elif kind == "member":
        reply.update(fault["value"])
    return json.dumps(reply).encode()


class Server:
    """WSGI: faults and counts around moto."""

    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start):
        path = environ["PATH_INFO"]
        if path.startswith(("/_test/", "/latest/", "/federation/")):
            return self.control(environ, start, path)
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size)
        environ["wsgi.input"] = io.BytesIO(body)
        operation, caller = operation_of(environ)
        text = body.decode(errors="replace")
        fault = scene.fault(operation, text)
        status, headers, reply = self.reply(environ, body, operation, fault)
        asked = json.loads(text) if text.startswith("{") else {}
        scene.record(
            operation=operation,
            key=asked.get("KeyId"),
            caller=caller,
            status=int(status[:3]),
            grant_tokens=asked.get("GrantTokens"),
        )
        if fault and fault["kind"] == "reset":
            reset(environ)
        if fault and fault["kind"] == "truncate":
            reply = reply[: len(reply) // 2]
            headers = [h for h in headers if h[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(reply))))
        start(status, headers)
        return [reply]

    def reply(self, environ, body, operation, fault):
        if fault and fault["kind"] == "stall":
            time.sleep(fault["seconds"])
        if fault and fault["kind"] == "move-alias":
            region = environ["HTTP_AUTHORIZATION"].partition("Credential=")[2].split("/")[2]
            kms_backends[ACCOUNT][region].update_alias(fault["to"], fault["alias"])
        if fault and fault["kind"] == "error":
            reply = {"__type": fault["code"], "message": fault.get("message", "injected")}
            status = f"{fault.get('status', 400)} injected"
            headers = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", str(uuid.uuid4()))]
            headers += [tuple(h) for h in fault.get("headers", [])]
            return status, headers, json.dumps(reply).encode()
        seen = {}

        def start(status, headers, *_):
            seen.update(status=status, headers=[h for h in headers if h[0].lower() != "content-length"])

        reply = b"".join(self.moto(environ, start))
        status, headers = seen["status"], seen["headers"]
        if not any(h[0].lower() == "x-amzn-requestid" for h in headers):
            headers.append(("x-amzn-RequestId", str(uuid.uuid4())))
        if status.startswith("403") and not operation.startswith("s3:"):
            status, reply = "400 Bad Request", as_json(reply, operation)
            headers = [h for h in headers if h[0].lower() != "content-type"]
            headers.append(("Content-Type", "application/x-amz-json-1.1"))
        if fault and status.startswith("200") and fault["kind"] in ("signature", "other-key", "member"):
            fault["request"] = json.loads(body)
            reply = tampered(fault, reply)
        headers.append(("Content-Length", str(len(reply))))
        return status, headers, reply

    def control(self, environ, start, path):
        method = environ["REQUEST_METHOD"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path == "/_test/faults":
            with scene.lock:
                scene.faults = [] if method == "DELETE" else [json.loads(body)] + scene.faults
            return answer(start, "200 OK", {})
        if path == "/_test/calls":
            with scene.lock:
                return answer(start, "200 OK", list(scene.calls))
        if path == "/_test/user":
            return answer(start, "200 OK", user(**json.loads(body)))
        if path == "/_test/acm":
            replacement = json.loads(body)
            region = replacement["arn"].split(":")[3]
            bundle = acm_backends[ACCOUNT][region].get_certificate(replacement["arn"])
            bundle.cert = replacement["certificate"].encode()
            return answer(start, "200 OK", {})
        if path == "/_test/acm-pca":
            new = json.loads(body)
            issued[new["authority"], new["arn"]] = new["certificate"].encode(), new["chain"].encode()
            return answer(start, "200 OK", {})
        if path == "/_test/enforce":
            settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
            return answer(start, "200 OK", {})
        return credentials(environ, start, path, method)


def as_json(xml, operation):
    """KMS and its neighbours name these errors otherwise than moto's gate, and send JSON."""
    text = xml.decode(errors="replace")
    message = text.partition("<Message>")[2].partition("</Message>")[0]
    if "InvalidClientTokenId" in text:
        name, message = "UnrecognizedClientException", "The security token included in the request is invalid."
    elif "SignatureDoesNotMatch" in text:
        name = "InvalidSignatureException"
    else:
        name = "AccessDeniedException"
        resource = getattr(_checked, "resource", "*") if operation.startswith("kms:") else "*"
        action = operation.split(":")[1]
        message = message.partition(" on resource")[0].replace("[", "").replace("]", "")
        message += f" on resource: {resource} because no identity-based policy allows the "
        message += f"{operation.split(':')[0]}:{action} action"
    return json.dumps({"__type": name, "message": message}).encode()


def user(policy, name):
    iam = iam_backends[ACCOUNT]["aws"]
    known = [u.name for u in iam.list_users("/", None, None)]
    if name in known:
        iam.put_user_policy(name, "policy", json.dumps(policy))
        return {}
    iam.create_user(region_name="us-east-1", user_name=name)
    iam.put_user_policy(name, "policy", json.dumps(policy))
    key = iam.create_access_key(user_name=name)
    return {"access": key.access_key_id, "secret": key.secret_access_key}


def credentials(environ, start, path, method):
    """Sources of credentials besides the environment, each as its documentation has it."""
    until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def keys(name):
        return {"AccessKeyId": f"ASIA{name:0>16}", "SecretAccessKey": "secret", "Token": "token", "Expiration": until}

    def plain(text):
        return answer(start, "200 OK", text.encode(), "text/plain")

    if path == "/latest/api/token" and method == "PUT":
        seconds = environ["HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS"]
        reply = IMDS_TOKEN.encode()
        start("200 OK", [("Content-Length", str(len(reply))), ("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", seconds)])
        return [reply]
    if path.startswith("/latest/"):
        if environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN") != IMDS_TOKEN:
            return answer(start, "401 Unauthorized", {})
        if path.rstrip("/").endswith(("security-credentials", "security-credentials-extended")):
            return plain("role")
        return answer(start, "200 OK", {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": until, **keys("IMDS")})
    if path == "/_test/container-credentials":
        if environ.get("HTTP_AUTHORIZATION") != CONTAINER_TOKEN:
            return answer(start, "401 Unauthorized", {})
        return answer(start, "200 OK", keys("CONTAINER"))
    if path == "/federation/credentials":
        if environ["sso.token"] != SSO_TOKEN:
            return answer(start, "401 Unauthorized", {"message": "Session token not found or invalid"})
        found = keys("SSO")
        role = {"accessKeyId": found["AccessKeyId"], "secretAccessKey": "secret", "sessionToken": "token"}
        role["expiration"] = int(time.time() * 1000) + 3_600_000
        return answer(start, "200 OK", {"roleCredentials": role}, "application/json")
    return answer(start, "404 Not Found", {})


class Handler(MotoRequestHandler):
    def make_environ(self):
        # WSGI drops headers with an underscore in their name.
        return super().make_environ() | {"sso.token": self.headers.get("x-amz-sso_bearer_token")}

    def log(self, *_):
        pass


def main():
    server = make_server("127.0.0.1", 0, Server(), threaded=True, request_handler=Handler)
    print(f"listening {server.server_port}", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()

"""Tokens signed with an emulator's own keys, for provision.py and mint.py.

No emulator puts `cognito:roles` or `cognito:preferred_role` into an ID token, as Cognito does. So a native token's
claims are taken, changed and signed again with the emulator's private key: the result verifies against its key set.
Only `cryptography` is used, and the JWS is put together here, because some tests want tokens that no library makes.
"""

import base64
import gzip
import hashlib
import hmac
import importlib.util
import json
import pathlib
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def b64(data):
    """Base64url without padding, as JWS has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def header_of(token):
    return json.loads(unb64(token.split(".")[0]))


def claims_of(token):
    """The claims, not verified."""
    return json.loads(unb64(token.split(".")[1]))


def load_key(kind, pool_id, use, state_dir=None):
    """The private key with which an emulator signs a pool's tokens; `use` is `id` or `access`."""
    if kind == "ministack":
        pem = pathlib.Path(state_dir, "cognito-pool-keys", f"{pool_id}-{use}.pem").read_bytes()
        return serialization.load_pem_private_key(pem, password=None)
    return _moto_key()


def _moto_key():
    """moto ships one key pair for every pool and use; read without importing moto, which takes a second."""
    (package,) = importlib.util.find_spec("moto").submodule_search_locations
    packed = pathlib.Path(package, "cognitoidp", "resources", "jwks-private.json.gz").read_bytes()
    jwk = json.loads(gzip.decompress(packed))
    n, e, d = (int.from_bytes(unb64(jwk[name]), "big") for name in ("n", "e", "d"))
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    dp, dq, qi = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()


def fresh_key():
    """A key pair that nobody published."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sign(header, claims, key):
    """A compact JWS. The header's `alg` chooses: RS256, RS384, RS512, `none`, or HS256 keyed with the public key's PEM."""
    signed = f"{b64(compact_json(header))}.{b64(compact_json(claims))}"
    return f"{signed}.{b64(_signature(header.get('alg'), key, signed.encode()))}"


def _signature(algorithm, key, data):
    if algorithm in ("none", None):
        return b""
    if algorithm == "HS256":
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hmac.new(pem, data, hashlib.sha256).digest()
    digest = {"RS256": hashes.SHA256, "RS384": hashes.SHA384, "RS512": hashes.SHA512}[algorithm]
    return key.sign(data, padding.PKCS1v15(), digest())


def lasting(claims, seconds, issued_ago=0):
    """The claims with new times: issued `issued_ago` seconds back, expiring `seconds` from now (negative: expired)."""
    now = int(time.time())
    issued = min(now - issued_ago, now + seconds)
    return {**claims, "iat": issued, "auth_time": issued, "exp": now + seconds}


def with_roles(claims, roles):
    """The claims with what Cognito adds for groups that have roles: the best role first, which is the preferred one."""
    if not roles:
        return dict(claims)
    return {**claims, "cognito:roles": list(roles), "cognito:preferred_role": roles[0]}


def tampered(token, part="signature"):
    """The token with one of its parts changed and everything else left as it was: `signature` or `payload`."""
    header, payload, signature = token.split(".")
    if part == "payload":
        claims = json.loads(unb64(payload))
        claims["cognito:groups"] = ["admin"]
        return f"{header}.{b64(compact_json(claims))}.{signature}"
    raw = bytearray(unb64(signature))
    raw[len(raw) // 2] ^= 1
    return f"{header}.{payload}.{b64(bytes(raw))}"

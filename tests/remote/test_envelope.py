"""model.sig: what a signature covers, and what is no signature."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from anomaly_vae.errors import BundleError
from anomaly_vae.remote.envelope import signed_digests
from anomaly_vae.remote.keys import read_private_key, read_public_key
from anomaly_vae.remote.signing import sign


@pytest.fixture
def signed(copy, keys):
    """The parsed file, the private key, and the public key."""
    sign(copy, keys[0])
    return json.loads((copy / "model.sig").read_bytes()), read_private_key(keys[0]), read_public_key(keys[1])


def statement_of(parsed):
    return json.loads(base64.b64decode(parsed["dsseEnvelope"]["payload"]))


def again(parsed, statement, private):
    """Sign another statement with the same key."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    kind = parsed["dsseEnvelope"]["payloadType"]
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = private.sign(message, ec.ECDSA(hashes.SHA256()))
    parsed["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    parsed["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(parsed).encode()


def test_the_digests_of_all_files_are_in_it(signed, files):
    parsed, private, public = signed
    digests = signed_digests(json.dumps(parsed).encode(), public, "where")
    assert digests.keys() == files.keys()
    assert signed_digests(again(parsed, statement_of(parsed), private), public, "where") == digests


def test_another_key_is_told_apart_from_a_wrong_signature(signed):
    parsed, _, public = signed
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(BundleError, match=r"where: signed with another key, '\w{12}'; the given .* '\w{12}'"):
        signed_digests(json.dumps(parsed).encode(), other.public_key(), "where")
    # The hint is not signed: an attacker may copy it.
    with pytest.raises(BundleError, match="where: the signature is wrong"):
        signed_digests(again(parsed, statement_of(parsed), other), public, "where")


def change(*path, to):
    def changed(tree):
        for key in path[:-1]:
            tree = tree[key]
        if to is None:
            del tree[path[-1]]
        else:
            tree[path[-1]] = to

    return changed


FILES = {
    "another media type": change("mediaType", to="application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "a certificate": change("verificationMaterial", to={"certificate": {"rawBytes": "AA=="}, "tlogEntries": []}),
    "no hint": change("verificationMaterial", "publicKey", to={}),
    "another payload": change("dsseEnvelope", "payloadType", to="text/plain"),
    "no signature": change("dsseEnvelope", "signatures", to=[]),
    "two signatures": change("dsseEnvelope", "signatures", to=[{"sig": ""}, {"sig": ""}]),
    "no base64": change("dsseEnvelope", "payload", to="!"),
    "no envelope": change("dsseEnvelope", to=None),
}


@pytest.mark.parametrize("case", FILES)
def test_other_files_are_no_signatures(signed, case):
    parsed, _, public = signed
    FILES[case](parsed)
    with pytest.raises(BundleError, match=r"where: .*; sign the bundle"):
        signed_digests(json.dumps(parsed).encode(), public, "where")


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"null", b"[" * 10_000, b'{"mediaType": "a", "mediaType": "b"}', b"NaN"]
)
def test_hostile_bytes_are_no_signatures(signed, data):
    with pytest.raises(BundleError, match="where: no signature by a key over sha256 digests of files"):
        signed_digests(data, signed[2], "where")


STATEMENTS = {
    "another type": change("_type", to="https://in-toto.io/Statement/v0.1"),
    "an old format": change("predicateType", to="https://model_signing/Digests/v0.1"),
    "shards": change("predicate", "serialization", "method", to="shards"),
    "another hash": change("predicate", "serialization", "hash_type", to="blake3"),
    "another hash of a file": change("predicate", "resources", 0, "algorithm", to="blake2b"),
    "a short digest": change("predicate", "resources", 0, "digest", to="00"),
    "another digest than in the root": change("predicate", "resources", 0, "digest", to="0" * 64),
    "no subject": change("subject", to=[]),
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_other_statements_are_refused_though_their_signature_is_right(signed, case):
    parsed, private, public = signed
    statement = statement_of(parsed)
    STATEMENTS[case](statement)
    with pytest.raises(BundleError, match=r"where: .*; sign the bundle"):
        signed_digests(again(parsed, statement, private), public, "where")


def test_a_name_may_not_stand_there_twice(signed):
    parsed, private, public = signed
    statement = statement_of(parsed)
    resources = statement["predicate"]["resources"]
    resources[1]["name"] = resources[0]["name"]
    with pytest.raises(BundleError, match="contradict each other"):
        signed_digests(again(parsed, statement, private), public, "where")

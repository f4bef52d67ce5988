"""model.sig: a Sigstore bundle with a DSSE envelope around an in-toto statement, as OpenSSF Model Signing 1.0 writes.

Only what a signature by an EC key over the sha256 of whole files needs is read; anything else is refused. The official
reader is not used here: it imports a client of Sigstore's servers, which takes 0.4 s and 51 MB in every process, and
brings 30 packages that the image of the service would need. The tests compare the two.

References:
    https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
    https://github.com/in-toto/attestation/tree/main/spec/v1
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from anomaly_vae.bundle.strict_json import check_json
from anomaly_vae.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

__all__ = ["signed_digests"]

_T = TypeVar("_T")
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

# Characters of a parser's message that an error shows.
_SHOWN_TEXT = 200


class _PublicKey(Struct):
    hint: str


class _Material(Struct, rename="camel"):
    public_key: _PublicKey


class _Signature(Struct):
    sig: str


class _Envelope(Struct, rename="camel"):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[_Signature], Meta(min_length=1, max_length=1)]


class _SignatureFile(Struct, rename="camel"):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


class _Digest(Struct):
    sha256: _Sha256


class _Subject(Struct):
    digest: _Digest


class _Resource(Struct):
    name: str
    algorithm: Literal["sha256"]
    digest: _Sha256


class _Serialization(Struct):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(Struct):
    serialization: _Serialization
    resources: list[_Resource]


class _Statement(Struct, rename="camel"):
    kind: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    subject: Annotated[list[_Subject], Meta(min_length=1, max_length=1)]
    predicate: _Predicate


def signed_digests(data: bytes, key: EllipticCurvePublicKey, where: str) -> Mapping[str, str]:
    """Return the sha256 of each file that a signature covers, by name.

    Args:
        data: The bytes of model.sig.
        key: Whose signature it must be.
        where: Name of the file in messages.

    Raises:
        BundleError: The file is malformed, of another kind, or has no valid signature by this key.
    """
    found = _decoded(data, _SignatureFile, where)
    envelope = found.dsse_envelope
    try:
        payload = b64decode(envelope.payload, validate=True)
        signature = b64decode(envelope.signatures[0].sig, validate=True)
    except binascii.Error as error:
        raise BundleError(f"{where}: not base64: {error}; sign the bundle again") from error
    _check_signature(payload, signature, found.verification_material.public_key.hint, key, where)
    statement = _decoded(payload, _Statement, where)
    resources = statement.predicate.resources
    digests = {each.name: each.digest for each in resources}
    root = hashlib.sha256(b"".join(bytes.fromhex(each.digest) for each in resources)).hexdigest()
    if len(digests) < len(resources) or root != statement.subject[0].digest.sha256:
        raise BundleError(f"{where}: the digests in it contradict each other; sign the bundle again")
    return digests


def _check_signature(payload: bytes, signature: bytes, hint: str, key: EllipticCurvePublicKey, where: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = hashlib.sha256(pem).hexdigest()
    if hint != own:
        raise BundleError(
            f"{where}: signed with another key, {hint[:12]!r}; the given public key is {own[:12]!r} (sha256 of its PEM)"
        )
    algorithm = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    message = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        key.verify(signature, message, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise BundleError(
            f"{where}: the signature is wrong; the file was changed after the bundle was signed"
        ) from error


def _decoded(data: bytes, kind: type[_T], where: str) -> _T:
    try:
        check_json(data)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: no signature by a key over sha256 digests of files: {str(error)[:_SHOWN_TEXT]}; sign the bundle "
            "with `anomaly-vae sign`"
        ) from error

"""Make certificate authorities and certificates for tests."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY, SECOND = datetime.timedelta(days=1), datetime.timedelta(seconds=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def pem_of(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A certificate authority."""

    def __init__(self, name="authority"):
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(self._name, self._key.public_key(), NOW + 30 * DAY, authority=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        name="server",
        ends=NOW + 20 * DAY,
        key=None,
        hosts=("localhost", "127.0.0.1", "::1"),
        begins=None,
        extensions=(),
    ):
        """Return a key and its certificate in PEM. Hosts may be names or addresses."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), ends, hosts, begins=begins, extensions=extensions)
        return pem_of(key), certificate.public_bytes(serialization.Encoding.PEM)

    def _sign(self, subject, public_key, ends, hosts=(), authority=False, begins=None, extensions=()):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins or min(NOW, ends) - DAY)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([*map(_alternative, hosts)]), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256())


def _alternative(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

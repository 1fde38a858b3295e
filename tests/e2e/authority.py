"""Certificates for tests, made by `cryptography`: an authority and what it signs."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Pair:
    """A certificate and its key, in memory and in two files."""

    def __init__(self, folder, called, *, by=None, begins=-1, ends=90, password=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        self.made = (
            x509.CertificateBuilder()
            .subject_name(name(called)).issuer_name(name(called) if by is None else by.made.subject)
            .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * DAY).not_valid_after(now + ends * DAY)
            .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign((by or self).key, SHA256())
        )  # fmt: skip
        self.cert_path, self.key_path = folder / f"{called}.pem", folder / f"{called}.key"
        self.cert_path.write_bytes(self.made.public_bytes(Encoding.PEM))
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
        self.key_path.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        self.key_path.chmod(0o600)

    @property
    def serial(self):
        return self.made.serial_number

    @property
    def options(self):
        return "--tls-cert", str(self.cert_path), "--tls-key", str(self.key_path)

    def take(self, other):
        """Put another pair into these files, as a renewal does."""
        for ours, theirs in ((self.cert_path, other.cert_path), (self.key_path, other.key_path)):
            ours.write_bytes(theirs.read_bytes())

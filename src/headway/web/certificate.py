"""TLS certificate of a server: read from files, checked before use, and read again on a reload.

A wrong file at a start ends it with a message. A wrong file at a reload changes nothing: the server goes on with the
certificate that it has.
"""

from __future__ import annotations

import datetime as dt
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from headway.clock import SystemClock
from headway.private import exposed

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SOON: Final = dt.timedelta(days=14)
"""Time before a certificate's end from which on there is a warning."""


class CertificateSummary(NamedTuple):
    """Names and end of validity of a certificate, for messages."""

    names: tuple[str, ...]
    ends: dt.datetime

    @property
    def ends_soon(self) -> bool:
        """Whether the certificate ends within `SOON`."""
        return self.ends - _now() < SOON

    def __str__(self) -> str:
        """Return a description."""
        left = self.ends - _now()
        return (
            f"for {', '.join(self.names) or 'no name'}, valid until {self.ends:%Y-%m-%d %H:%M} UTC ({left.days} days)"
        )


class Certificate:
    """A certificate with its key, and the TLS context of new connections."""

    def __init__(self, cert: str, key: str = "") -> None:
        """Read both files; without `key`, the key is in the certificate's file. Raises ValueError with advice."""
        self._cert, self._key = Path(cert), Path(key or cert)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["http/1.1"])
        self.shown = self._load()

    def read_again(self) -> None:
        """Read the files again for new connections; raise ValueError, and change nothing, if they cannot be used."""
        self.shown = self._load()

    def _load(self) -> CertificateSummary:
        shown = check(self._cert, self._key)
        try:
            for context in (
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
                self.context,
            ):  # the first is a trial, lest the second takes a part only
                context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"{self._cert} and {self._key} cannot be used for TLS: {error}") from None
        return shown


def check(cert: Path, key: Path) -> CertificateSummary:
    """Return a certificate's names and end; raise ValueError, with advice, if a server cannot use it with this key."""
    leaf = _certificate(cert)
    now = _now()
    if leaf.not_valid_after_utc < now:
        raise ValueError(
            f"the certificate {cert} has expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it"
        )
    if leaf.not_valid_before_utc > now:
        raise ValueError(
            f"the certificate {cert} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: look at this "
            f"machine's clock"
        )
    if _private_key(key).public_key() != leaf.public_key():
        raise ValueError(
            f"the key in {key} is not that of the first certificate in {cert}: name the two that belong together, the "
            f"server's certificate before those of its authorities"
        )
    return CertificateSummary(_names(leaf), leaf.not_valid_after_utc)


def _now() -> dt.datetime:
    return dt.datetime.fromtimestamp(SystemClock().now_ms() / 1000, dt.UTC)


def _certificate(path: Path) -> x509.Certificate:
    from cryptography import x509  # noqa: PLC0415 - slow to load, and few servers need it

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except OSError as error:
        raise ValueError(f"the certificate {path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ValueError(f"{path} is not a certificate in PEM (-----BEGIN CERTIFICATE-----)") from None


def _private_key(path: Path) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            mode, content = exposed(os.fstat(file.fileno())), file.read()
    except OSError as error:
        raise ValueError(f"the key {path} cannot be read ({error.strerror}): let the server's user read it") from None
    if mode is not None:
        raise ValueError(f"others may read or change the key {path} (mode {mode}): chmod 600 {path}")
    try:
        return load_pem_private_key(content, None)
    except TypeError:
        raise ValueError(
            f"the key {path} is encrypted, and a server that starts by itself cannot ask for its passphrase: "
            f"openssl pkey -in {path} -out FILE, and chmod 600 FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"there is no private key in PEM in {path} (-----BEGIN PRIVATE KEY-----)") from None


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = found.get_values_for_type(x509.DNSName)
    return (*names, *map(str, found.get_values_for_type(x509.IPAddress)))

"""Trust in a server's certificate: it is signed by an authority, or it is exactly the one in a file."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import Final

from headway.config import ClientSettings
from headway.errors import BadParameter
from headway.setting import setting

VARIABLE: Final = setting(ClientSettings, "ca").variable


class Trust:
    """Check of a server's certificate, for connections by https."""

    def __init__(self, ca: str | None = None, *, pinned: str | None = None) -> None:
        """`ca` is a file with certificates of authorities (default: the system's); raise BadParameter if unusable.

        `pinned` is a file whose first certificate is the server's: only that is trusted, for any host name. The file
        is read again if the server presents another, since it may have been renewed.
        """
        self._pinned = None if pinned is None else Path(pinned)
        self._known: set[bytes] = set()
        if self._pinned is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE  # `check` does it
            self._read_pin()
            return
        try:
            self.context = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise BadParameter(
                f"the certificates of authorities cannot be read from {ca}: {error.strerror or error} ({VARIABLE})"
            ) from None

    @property
    def pinned(self) -> bool:
        """Whether one certificate is pinned: then `context` checks nothing, and `check` does."""
        return self._pinned is not None

    def check(self, shown: bytes) -> None:
        """Raise SSLCertVerificationError if a pinned server presents another certificate, in DER."""
        if self._pinned is None or shown in self._known:
            return
        self._read_pin()
        if shown not in self._known:
            raise ssl.SSLCertVerificationError(1, f"the server's certificate is not the one in {self._pinned}")

    def secured(self, open_socket: socket.socket, host: str) -> ssl.SSLSocket:
        """Return the socket after the handshake and the check of the server; on an error it is closed."""
        secured = self.context.wrap_socket(open_socket, server_hostname=host)
        try:
            self.check(secured.getpeercert(binary_form=True) or b"")
        except BaseException:
            secured.close()
            raise
        return secured

    def _read_pin(self) -> None:
        assert self._pinned is not None
        try:
            text = self._pinned.read_text(encoding="ascii", errors="replace")
            begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER)
            self._known.add(ssl.PEM_cert_to_DER_cert(text[begin : end + len(ssl.PEM_FOOTER)]))
        except (OSError, ValueError) as error:
            if not self._known:
                raise BadParameter(f"the server's certificate cannot be read from {self._pinned}: {error}") from None


def trusted(ca: str | None = None) -> Trust:
    """Return the check by the given authorities, else the environment's, else the system's."""
    return Trust(ca or os.environ.get(VARIABLE, "").strip() or None)


def tls_failure(error: Exception, url: str) -> str:
    """Return the reason why a TLS connection failed, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message if getattr(error, "verify_message", "") else error.strerror
        return (
            f"the certificate of {url} is not trusted: {reason}; name the file with the certificate of its authority, or with "
            f"its own if it has none, in {VARIABLE}"
        )
    return (
        f"{url} does not speak TLS as this client does: is it https at all? ({getattr(error, 'reason', None) or error})"
    )

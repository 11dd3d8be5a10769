"""What an application is told of the TLS connection it is reached by: the ASGI TLS extension, version 0.2.

Found out once per connection, when the handshake is over. A connection keeps the context that its handshake ended with, so
after a renewal each one still names the certificate that its own client was shown.
"""

from __future__ import annotations

import re
import ssl
from functools import cached_property
from typing import Any, Final

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII
).search

# The integers of RFC 5246 and RFC 8446.
_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# RFC 4514 §3 gives these attribute types names that are not OpenSSL's.
_TYPES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
# §2.4: what has to be escaped wherever it stands; and a space or a number sign where the value begins, a space at its end.
_SPECIAL: Final = re.compile(r'["+,;<>\\]')

_Names = tuple[tuple[tuple[str, str], ...], ...]


class ServerContext(ssl.SSLContext):
    """A context that knows which certificate it shows, in PEM form, and what its cipher suites are called on the wire."""

    certificate: str | None = None

    def show(self, chain: bytes) -> None:
        """Remember the server's own certificate: the first one of its file."""
        found = _CERTIFICATE(chain)
        self.certificate = None if found is None else found[0].decode("ascii") + "\n"

    @cached_property
    def suites(self) -> dict[str, int]:
        # OpenSSL keeps the protocol's number of a suite in the lower half of its own.
        return {suite["name"]: suite["id"] & 0xFFFF for suite in self.get_ciphers()}


def describe(connection: ssl.SSLObject) -> dict[str, Any]:
    """The value of ``scope["extensions"]["tls"]``; to be copied for each request."""
    context = connection.context if isinstance(connection.context, ServerContext) else None
    cipher = connection.cipher()
    chain = _chain(connection)
    names: Any = (connection.getpeercert() or {}).get("subject", ()) if chain else ()
    return {
        "server_cert": None if context is None else context.certificate,
        "client_cert_chain": chain,
        "client_cert_name": distinguished_name(names) if chain else None,
        # Whoever fails the check does not get as far as a request.
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": None if context is None or cipher is None else context.suites.get(cipher[0]),
    }


def _chain(connection: ssl.SSLObject) -> tuple[str, ...]:
    """The client's certificate and those it sent along, in PEM form; before Python 3.13 only the first can be had."""
    own = connection.getpeercert(binary_form=True)
    if own is None:
        return ()
    everything = getattr(connection, "get_unverified_chain", None)
    chain = [own] if everything is None else everything()
    return tuple(map(ssl.DER_cert_to_PEM_cert, chain))


def distinguished_name(names: _Names) -> str:
    """A name as `ssl.SSLObject.getpeercert` has it, as RFC 4514 writes it: the most specific part first."""
    return ",".join("+".join(_attribute(kind, value) for kind, value in part) for part in reversed(names))


def _attribute(kind: str, value: str) -> str:
    if kind[:1].isdigit():
        # A type without a name goes with the encoding of its value (§2.4); as a UTF8String, which any text can be.
        raw = value.encode("utf-8")
        length = bytes([len(raw)]) if len(raw) < 128 else b"\x82" + len(raw).to_bytes(2, "big")
        encoded = b"\x0c" + length + raw
        return f"{kind}=#{encoded.hex()}"
    escaped = _SPECIAL.sub(r"\\\g<0>", value).replace("\0", "\\00")
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return f"{_TYPES.get(kind, kind)}={escaped}"

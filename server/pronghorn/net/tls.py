"""The TLS context of a server, from files.

OpenSSL's own messages name neither the file nor the option ("[SSL] PEM lib"), and it asks for a missing
password on the terminal, where a service waits for ever. So the files are looked at first, and what is
wrong with them is said in the words of the options.

What is not set here is Python's default, and meant: forward-secret ciphers at OpenSSL's security level 2,
no compression (CRIME), the server's order of ciphers, stateless session tickets.
"""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pronghorn.errors import UsageError

from .tls_extension import ServerContext

# The integers a caller may pass as ``version``: the ssl module's PROTOCOL_* of Uvicorn's --ssl-version, with
# the lowest and highest version each one means, and ssl.TLSVersion's own, as a minimum. The deprecated
# PROTOCOL_* are written as numbers because mentioning them warns.
_VERSIONS: dict[int, tuple[ssl.TLSVersion, ssl.TLSVersion]] = {
    int(ssl.PROTOCOL_TLS_SERVER): (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
    2: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),  # PROTOCOL_TLS
    5: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),  # PROTOCOL_TLSv1_2
    int(ssl.TLSVersion.TLSv1_2): (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
    int(ssl.TLSVersion.TLSv1_3): (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED),
}

_Name = str | os.PathLike[str]


def create_context(
    *,
    certfile: _Name | None,
    keyfile: _Name | None = None,
    password: str | None = None,
    version: int = ssl.PROTOCOL_TLS_SERVER,
    min_version: str | None = None,
    cert_reqs: int = ssl.CERT_NONE,
    ca_certs: _Name | None = None,
    ciphers: str | None = None,
    alpn: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """Make a server-side context: TLS 1.2 or later, the certificate chain of ``certfile``.

    ``min_version`` is "1.2" or "1.3" and goes before the lowest that ``version`` means; None leaves it at that.
    ``keyfile`` may be left out when the certificate's file holds the key too. ``cert_reqs`` is 0, 1 or 2
    (``ssl.VerifyMode``): no client certificate, an optional one, a required one, checked against ``ca_certs``.
    ``ciphers`` is an OpenSSL cipher list and concerns TLS 1.2 alone. ``alpn`` names protocols (RFC 7301), the
    preferred one first; a client that offers none of them is still served.

    Raises ``UsageError`` naming the option.
    """
    if not certfile:
        if keyfile:
            raise UsageError(
                "a key needs its certificate", option="--ssl-keyfile", hint="Give --ssl-certfile too"
            )
        raise UsageError("a context needs a certificate", option="--ssl-certfile")
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    _set_version(context, version, min_version)
    _load_chain(context, certfile, keyfile, password)
    _set_client_check(context, cert_reqs, ca_certs)
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as exc:
            raise UsageError(
                f"{ciphers!r} selects no cipher", option="--ssl-ciphers", hint="See `openssl ciphers -v LIST`"
            ) from exc
    # Nobody needs renegotiation (TLS 1.2 only), and each one costs the server far more than the client.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _set_version(context: ssl.SSLContext, version: int, min_version: str | None) -> None:
    if version not in _VERSIONS:
        raise UsageError(
            f"{version!r} is no version a server can offer today",
            option="--ssl-version",
            hint="TLS 1.0 and 1.1 are gone (RFC 8996); leave the option out for TLS 1.2 and later",
        )
    with warnings.catch_warnings():
        context.minimum_version, context.maximum_version = _VERSIONS[version]
        if min_version == "1.3":
            context.minimum_version = ssl.TLSVersion.TLSv1_3


def _load_chain(context: ServerContext, certfile: _Name, keyfile: _Name | None, password: str | None) -> None:
    chain = _read(certfile, "--ssl-certfile")
    if b"CERTIFICATE-----" not in chain:
        raise UsageError(f"{certfile} holds no certificate in PEM form", option="--ssl-certfile")
    key = chain if keyfile is None else _read(keyfile, "--ssl-keyfile")
    if b"PRIVATE KEY-----" not in key:
        holder = certfile if keyfile is None else keyfile
        raise UsageError(f"{holder} holds no private key in PEM form", option="--ssl-keyfile")

    asked = False

    def answer() -> str:
        nonlocal asked
        asked = True
        if password is None:
            raise UsageError(
                f"the key in {keyfile or certfile} is encrypted",
                option="--ssl-keyfile-password",
                hint="Give its password, or a key without one",
            )
        return password

    try:
        context.load_cert_chain(certfile, keyfile, password=answer)
    except (ssl.SSLError, OSError, ValueError) as exc:
        _chain_failed(exc, certfile, keyfile or certfile, decrypting=asked)
    context.show(chain)


def _chain_failed(exc: Exception, certfile: _Name, keyfile: _Name, *, decrypting: bool) -> NoReturn:
    reason = getattr(exc, "reason", None) or str(exc)
    if reason == "KEY_VALUES_MISMATCH":
        raise UsageError(
            f"the key in {keyfile} does not belong to the certificate in {certfile}",
            option="--ssl-keyfile",
            hint="The server's own certificate comes first in its file, the chain after it",
        ) from exc
    if decrypting:
        raise UsageError(f"the password does not open {keyfile}", option="--ssl-keyfile-password") from exc
    raise UsageError(
        f"OpenSSL cannot use {certfile} with the key in {keyfile}: {reason}", option="--ssl-certfile"
    ) from exc


def _set_client_check(context: ssl.SSLContext, cert_reqs: int, ca_certs: _Name | None) -> None:
    try:
        mode = ssl.VerifyMode(cert_reqs)
    except ValueError as exc:
        raise UsageError(
            f"{cert_reqs!r} is not 0 (none), 1 (optional) or 2 (required)", option="--ssl-cert-reqs"
        ) from exc
    if ca_certs is not None:
        _read(ca_certs, "--ssl-ca-certs")
        try:
            context.load_verify_locations(ca_certs)
        except (ssl.SSLError, OSError) as exc:
            raise UsageError(f"{ca_certs} holds no certificate in PEM form", option="--ssl-ca-certs") from exc
    elif mode is not ssl.CERT_NONE:
        raise UsageError(
            "client certificates are asked for, and nothing says which are good",
            option="--ssl-cert-reqs",
            hint="Give --ssl-ca-certs too",
        )
    context.verify_mode = mode


def _read(path: _Name, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {os.fspath(path)}: {exc.strerror}", option=option) from exc

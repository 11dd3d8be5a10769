"""Names of certificates as RFC 4514 writes them, and what a context knows of itself."""

import ssl

import pytest
import trustme

from pronghorn.net.tls_extension import ServerContext, distinguished_name

Parts = tuple[tuple[tuple[str, str], ...], ...]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ((), ""),
        (
            (
                (("domainComponent", "net"),),
                (("domainComponent", "example"),),
                (("userId", "jsmith"),),
            ),
            "UID=jsmith,DC=example,DC=net",
        ),
        (
            (
                (("domainComponent", "net"),),
                (("organizationalUnitName", "Sales"), ("commonName", "J.  Smith")),
            ),
            "OU=Sales+CN=J.  Smith,DC=net",
        ),
        (((("commonName", 'James "Jim" Smith, III'),),), r"CN=James \"Jim\" Smith\, III"),
        (((("commonName", "Before\rAfter"),),), "CN=Before\rAfter"),
        (((("commonName", "Lu\u010di\u0107"),),), "CN=Lu\u010di\u0107"),
        (((("commonName", " a "),),), r"CN=\ a\ "),
        (((("commonName", " "),),), r"CN=\ "),
        (((("commonName", "#a"),),), r"CN=\#a"),
        (((("commonName", "a\0b<c>;d\\e+f"),),), r"CN=a\00b\<c\>\;d\\e\+f"),
        (((("emailAddress", "a@b"),), (("serialNumber", "7"),)), "serialNumber=7,emailAddress=a@b"),
        (((("1.3.6.1.4.1.1466.0", "Hi"),),), "1.3.6.1.4.1.1466.0=#0c024869"),
        (((("1.3.6.1.4.1.1466.0", "x" * 200),),), "1.3.6.1.4.1.1466.0=#0c8200c8" + "78" * 200),
    ],
)
def test_distinguished_name(name: Parts, written: str) -> None:
    assert distinguished_name(name) == written


@pytest.mark.parametrize("shown", [True, False])
def test_a_context_shows_the_first_certificate_of_its_file(shown: bool) -> None:
    issued = trustme.CA().issue_cert("localhost")
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.show(issued.private_key_and_cert_chain_pem.bytes() if shown else b"nothing")
    assert context.certificate == (issued.cert_chain_pems[0].bytes().decode() if shown else None)


def test_suites_have_the_numbers_of_the_protocol() -> None:
    suites = ServerContext(ssl.PROTOCOL_TLS_SERVER).suites
    assert suites["TLS_AES_128_GCM_SHA256"] == 0x1301
    assert suites["ECDHE-RSA-AES128-GCM-SHA256"] == 0xC02F

"""What the reasons for which requests are refused are counted as: parsers give them as phrases, for people."""

from typing import Final

from pronghorn.wire.ports import RequestError

from .service import Meter

_LIMITS: Final = {
    "request line too long": "request_line",
    "request target too long": "request_line",
    "too many header fields": "header_fields",
    "too many fields": "header_fields",
    "header section too large": "header_bytes",
    "trailer section too large": "header_bytes",
    "request body too large": "body",
    "request head took too long": "timeout_header",
    "request body took too long": "timeout_body",
}
_KINDS: Final = {
    "invalid request line": "request_line",
    "HTTP version not supported": "version",
    "HTTP/0.9 is not spoken here": "version",
    "CONNECT is not supported": "method",
    "protocol of CONNECT not supported": "method",
    "invalid request target": "target",
    "missing Host field": "host",
    "invalid Host field": "host",
    "more than one Host field": "host",
    "invalid header line": "header",
    "invalid line end": "header",
    "bare line feed in a head": "header",
    "invalid Content-Length": "content_length",
    "more than one Content-Length field": "content_length",
    "Content-Length and Transfer-Encoding together": "transfer_encoding",
    "invalid Transfer-Encoding": "transfer_encoding",
    "more than one Transfer-Encoding field": "transfer_encoding",
    "Transfer-Encoding in an HTTP/1.0 request": "transfer_encoding",
    "Transfer-Encoding not supported": "transfer_encoding",
    "invalid chunked body": "chunked",
    "invalid chunk size or extension": "chunked",
    "chunk does not end where it says": "chunked",
    "chunk extensions out of proportion": "chunked",
    "framing field in trailers": "trailers",
    "bare line feed in trailers": "trailers",
    "connection ended inside a request": "incomplete",
    "data after `Connection: close`": "incomplete",
}


def count_refusal(meter: Meter, error: RequestError) -> None:
    """Count a request that is refused: as a limit that it has met, or by what is wrong with it. A parser's own words are `other`."""
    limit = _LIMITS.get(error.reason)
    if limit is None:
        meter.protocol_error(_KINDS.get(error.reason, "other"))
    else:
        meter.limit(limit)

"""What can be wrong with what comes: one stream, or the whole connection (RFC 9113 §5.4)."""


class StreamFault(Exception):
    """What came on one stream is wrong: it is reset."""

    def __init__(self, stream: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.stream = stream
        self.code = code
        self.reason = reason


class ConnectionFault(Exception):
    """Nothing on this connection can be trusted any more."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

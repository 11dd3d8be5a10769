"""Sans-I/O protocol code: bytes in, calls out; bytes out by return value. Knows neither asyncio nor ASGI."""

"""Sockets, TLS and asyncio transports: the shells around the sans-I/O core."""

"""Pieces that stand between the server and an application, usable with any ASGI server."""

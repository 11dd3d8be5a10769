"""A gRPC service: raw ASGI, no framework, no protobuf, no dependency of the server's side.

pronghorn main:app --app-dir examples/grpc --http2

`rpc` speaks gRPC; here is what is served, one method to each of its four shapes. Messages are text in UTF-8, where others have
protobuf: to gRPC they are bytes. `client.py` calls each of them with Google's client.
"""

import asyncio

import rpc


async def echo(call):
    """Unary: what was sent."""
    yield await call.message()


async def countdown(call):
    """A stream of answers: every number from the one that was sent to 1."""
    for number in range(int(await call.message()), 0, -1):
        yield b"%d" % number


async def join(call):
    """A stream of messages: all of them in one, when the last is there."""
    yield b" ".join([message async for message in call.messages()])


async def shout(call):
    """Streams both ways: each message is answered at once."""
    async for message in call.messages():
        yield message.decode().upper().encode()


async def sleep(call):
    """So many seconds, unless the client has enough before."""
    await asyncio.sleep(float(await call.message()))
    yield b"rested"


async def refuse(call):
    """An error, which gRPC tells in trailers."""
    raise rpc.Error(rpc.FAILED_PRECONDITION, f"not today: {(await call.message()).decode()}")
    yield


METHODS = {
    f"/pronghorn.Demo/{method.__name__.capitalize()}": method
    for method in (echo, countdown, join, shout, sleep, refuse)
}
app = rpc.serve(METHODS)

"""Calls every method of the example with Google's client: `pip install grpcio`, then `python client.py 127.0.0.1:8000`."""

import sys

import grpc


def main(address):
    with grpc.insecure_channel(address) as channel:
        call = "/pronghorn.Demo/{}".format
        print(channel.unary_unary(call("Echo"))(b"hello").decode())
        print(*(number.decode() for number in channel.unary_stream(call("Countdown"))(b"3")))
        print(channel.stream_unary(call("Join"))(iter([b"one", b"two", b"three"])).decode())
        print(*(word.decode() for word in channel.stream_stream(call("Shout"))(iter([b"quite", b"loud"]))))
        try:
            channel.unary_unary(call("Sleep"))(b"60", timeout=0.5)
        except grpc.RpcError as error:
            print(error.code().name)
        try:
            channel.unary_unary(call("Refuse"))(b"please")
        except grpc.RpcError as error:
            print(error.code().name, error.details())


if __name__ == "__main__":
    main(*sys.argv[1:])

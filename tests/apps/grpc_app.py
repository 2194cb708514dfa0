# SPDX-License-Identifier: Apache-2.0
"""A gRPC service and a client of it, each a program: grpc_app.py serve ADDRESS, grpc_app.py call ADDRESS."""
import sys
import threading
from concurrent import futures

import grpc

BIG, MANY = 1 << 20, 200


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        kinds = {"/echo/unary": (grpc.unary_unary_rpc_method_handler, lambda one, _: one),
                 "/echo/down": (grpc.unary_stream_rpc_method_handler, lambda one, _: (one for _ in range(MANY))),
                 "/echo/up": (grpc.stream_unary_rpc_method_handler, lambda all_, _: b"%d" % sum(map(len, all_))),
                 "/echo/both": (grpc.stream_stream_rpc_method_handler, lambda all_, _: all_),
                 "/echo/fail": (grpc.unary_unary_rpc_method_handler,
                                lambda one, context: context.abort(grpc.StatusCode.DATA_LOSS, "as asked"))}
        if details.method in kinds:
            make, do = kinds[details.method]
            return make(do)


def serve(address):
    server = grpc.server(futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers([Echo()])
    assert server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def call_all(channel):
    assert channel.unary_unary("/echo/unary")(b"x" * BIG) == b"x" * BIG
    assert sum(map(len, channel.unary_stream("/echo/down")(b"y" * 1000))) == 1000 * MANY
    assert channel.stream_unary("/echo/up")(iter([b"z" * 10_000] * MANY)) == b"%d" % (10_000 * MANY)
    assert list(channel.stream_stream("/echo/both")(b"%d" % i for i in range(MANY))) == [b"%d" % i for i in range(MANY)]
    try:
        channel.unary_unary("/echo/fail")(b"")
        raise AssertionError("no error")
    except grpc.RpcError as error:
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "as asked")


def call(address, num_channels=8, num_rounds=5):
    failures = []

    def work(i):
        try:
            with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                for _ in range(num_rounds):
                    call_all(channel)
        except Exception as error:  # told below: a thread has nobody to tell
            failures.append(f"{i}: {error!r}")
    threads = [threading.Thread(target=work, args=(i,)) for i in range(num_channels)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{num_channels * num_rounds} rounds, {len(failures)} failures", *failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit({"serve": serve, "call": call}[sys.argv[1]](sys.argv[2]))

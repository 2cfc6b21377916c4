"""Calls of gRPC through the mesh, as a program of its own: the Python that runs the check has no grpcio.

load     places orders, each under a key of its own, until the input ends
create   places one order under a key
streams  opens each call that streams, lets it wait, and tells which of them work on

What came of it is printed as JSON. As a client of gRPC should, it tries again once what is UNAVAILABLE.
"""

import functools
import itertools
import json
import queue
import sys
import threading
import time
from typing import Callable, Iterator

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from orders.v1 import orders_pb2 as pb
from orders.v1 import orders_pb2_grpc

AGAIN = {"maxAttempts": 2, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2}
AGAIN["retryableStatusCodes"] = ["UNAVAILABLE"]
CONFIG = {"methodConfig": [{"name": [{"service": "orders.v1.OrderService"}], "retryPolicy": AGAIN}]}
TIMEOUT = 9
# So many clients, each of which waits so long between two orders (s).
CLIENTS, PAUSE = 4, 0.1
# A stream of the client of which nothing comes is ended after 5 s.
PACE = 1.0
REFLECTION = tuple(f"/grpc.reflection.{of}.ServerReflection/ServerReflectionInfo" for of in ("v1", "v1alpha"))


class Client:
    def __init__(self, port: str, token: str) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.service_config", json.dumps(CONFIG))])
        self.orders = orders_pb2_grpc.OrderServiceStub(self.channel)
        self.allowed = [("authorization", f"Bearer {token}")]

    def create(self, key: str) -> pb.CreateOrderResponse:
        asked = pb.CreateOrderRequest(idempotency_key=key, order=basket())
        return self.orders.CreateOrder(asked, metadata=self.allowed, timeout=TIMEOUT)


def basket() -> pb.NewOrder:
    price = pb.UnitPrice(minor="499", currency="EUR")
    return pb.NewOrder(customer_id="c-1", lines=[pb.NewLine(sku="tea", quantity=2, unit_price=price)])


def create(client: Client, key: str) -> dict:
    answer = client.create(key)
    return {"order": answer.order.id, "replayed": answer.replayed}


def load(client: Client, name: str) -> dict:
    lock, turns, ending = threading.Lock(), itertools.count(), threading.Event()
    told = {"created": {}, "failed": [], "replayed": 0}

    def work() -> None:
        while not ending.wait(PAUSE):
            with lock:
                key = f"{name}-{next(turns):012}"
            try:
                answer = client.create(key)
            except grpc.RpcError as error:
                with lock:
                    told["failed"].append(f"{key}: {error.code().name} {error.details()}")
                continue
            with lock:
                told["created"][key] = answer.order.id
                told["replayed"] += answer.replayed

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ending.set()
    for thread in threads:
        thread.join()
    return told


def streams(client: Client, seconds: str, after: str) -> dict:
    """Each call that streams: whether it worked when it was opened, and worked on after so many seconds."""
    watch = client.orders.WatchEvents(pb.WatchEventsRequest(after=int(after)), metadata=client.allowed)
    health = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
    baskets = Sent(lambda: pb.BatchCreateOrdersRequest(order=basket(), batch_key=f"streams-{after:>012}"))
    batch = client.orders.BatchCreateOrders(iter(baskets), metadata=client.allowed)
    works = {"WatchEvents": lambda: hears(client, watch), "BatchCreateOrders": lambda: answers(baskets, batch)}
    asked, answered = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
    for path in REFLECTION:
        listings = Sent(lambda: asked(list_services=""))
        call = client.channel.stream_stream(path, asked.SerializeToString, answered.FromString)
        works[path] = functools.partial(answers, listings, call(iter(listings)))
    told = {name: try_it() for name, try_it in works.items()}
    told["Health/Watch"] = next(health).status == health_pb2.HealthCheckResponse.SERVING
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        time.sleep(PACE)
        for name in ("BatchCreateOrders", *REFLECTION):
            told[name] = told[name] and works[name]()
    for name, try_it in works.items():
        told[name] = told[name] and try_it()
    # It says nothing while nothing changes.
    told["Health/Watch"] &= health.is_active()
    client.channel.close()
    return told


def hears(client: Client, watch: Iterator[pb.WatchEventsResponse]) -> bool:
    """Whether a watch tells of an order that is placed now."""
    order = client.create(f"streams-{time.time_ns()}").order.id
    try:
        return any(message.event.order_id == order for message in watch)
    except grpc.RpcError as error:
        return over(error)


def answers(sent: "Sent", call: Iterator[Message]) -> bool:
    """Whether a call answers what is sent now."""
    sent.turns.put(None)
    try:
        next(call)
    except (grpc.RpcError, StopIteration) as error:
        return over(error)
    return True


def over(error: Exception) -> bool:
    """Tells in the log why a call is over."""
    print(repr(error), file=sys.stderr)
    return False


class Sent:
    """The messages of a call, each sent in its turn."""

    def __init__(self, make: Callable[[], Message]) -> None:
        self.make, self.turns = make, queue.SimpleQueue()

    def __iter__(self) -> Iterator[Message]:
        while True:
            self.turns.get()
            yield self.make()


if __name__ == "__main__":
    what, port, token, *more = sys.argv[1:]
    print(json.dumps({"load": load, "create": create, "streams": streams}[what](Client(port, token), *more)))

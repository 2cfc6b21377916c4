"""An answer is lost after its change was made: it is tried again under its key, and has taken effect once."""

import json
import socket
import struct
import threading

from crashlib.client import ORDER
from crashlib.table import Table
from meshlib import ask
from meshlib.attempts import NOTE
from meshlib.calls import Calls
from meshlib.envoys import Mesh
from meshlib.scene import Scene, fresh

TITLE = "Lost answers: the connection breaks after the change was made, and before Envoy has its answer"
VERSION = "SELECT version FROM orders WHERE id = '{}'"
MADE = "SELECT count(*) FROM orders WHERE create_key = '{}'"
NOTED = 2


def run(table: Table, scene: Scene) -> dict:
    loss = Loss()
    between = [(Between(replica.port, loss).port, replica.admin_port) for replica in scene.replicas]
    mesh = Mesh(scene.stage.work / "losing", between).start()
    try:
        keyed(table, scene, mesh, loss)
        by_grpc(table, scene, mesh, loss)
        unkeyed(table, scene, mesh, loss)
    finally:
        mesh.stop()
    return {"requests": 3}


def keyed(table: Table, scene: Scene, mesh: Mesh, loss: "Loss") -> None:
    key, request = fresh("lost"), fresh("lost")
    loss.due()
    answer = ask.http(mesh.near, "POST", "/v1/orders", scene.headers(idempotency_key=key, x_request_id=request), ORDER)
    table.claim("an order with a key: answers that were lost", 1, len(loss.lost))
    table.claim("… of them 201", 1, sum(lost.startswith(b"HTTP/1.1 201") for lost in loss.lost))
    table.claim("… status in the end", 201, answer.status)
    table.claim("… answered as a second try", 1, int(answer.headers.get("idempotent-replayed") == "true"))
    tries = [line.get("attempt", 1) for line in ask.logged(scene.replicas, request, 2)]
    table.claim("… tries that were logged with their number", 2, len(tries) if tries == [1, 2] else 0)
    order = json.loads(answer.body).get("id", "") if answer.status == 201 else ""
    table.claim("… orders of its key", 1, scene.stage.number(MADE.format(key)))
    table.claim("… of them the one that was answered", 1, scene.stage.number(MADE.format(key) + f" AND id::text = '{order}'"))


def by_grpc(table: Table, scene: Scene, mesh: Mesh, loss: "Loss") -> None:
    """The key is in the message: its client tries again, not Envoy."""
    key = fresh("lost")
    loss.due()
    told = Calls(scene, mesh.near, "create", key).told()
    table.claim("a call of gRPC with a key: answers that were lost", 1, len(loss.lost))
    table.claim("… answered as a second try", 1, int(told["replayed"]))
    table.claim("… orders of its key", 1, scene.stage.number(MADE.format(key)))


def unkeyed(table: Table, scene: Scene, mesh: Mesh, loss: "Loss") -> None:
    """Nobody knows it again, so nobody may try it again."""
    order, request = scene.place(), fresh("lost")
    loss.due()
    answer = ask.http(mesh.near, "POST", f"/v1/orders/{order}/notes", scene.headers(x_request_id=request), NOTE)
    table.claim("a note without a key: answers that were lost", 1, len(loss.lost))
    table.claim("… status, which Envoy says", 503, answer.status if not answer.code() else 0)
    table.claim("… tries", 1, len(ask.logged(scene.replicas, request)))
    table.claim("… version of the order, which was noted on once", NOTED, scene.stage.number(VERSION.format(order)))


class Loss:
    """Whether the next answer is to be lost, whichever replica gives it, and how those that were began."""

    def __init__(self) -> None:
        self.lock, self.is_due = threading.Lock(), False
        self.lost: list[bytes] = []

    def due(self) -> None:
        with self.lock:
            self.is_due, self.lost = True, []

    def takes(self, answer: bytes) -> bool:
        with self.lock:
            taken, self.is_due = self.is_due, False
            self.lost += [answer] * taken
        return taken


class Between:
    """A wire between Envoy and a replica, which can break where an answer begins."""

    def __init__(self, replica: int, loss: Loss) -> None:
        self.replica, self.loss = replica, loss
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            near = self.listener.accept()[0]
            try:
                far = socket.create_connection(("127.0.0.1", self.replica))
            except OSError:
                near.close()
                continue
            threading.Thread(target=carry, args=(near, far), daemon=True).start()
            threading.Thread(target=self.answer, args=(far, near), daemon=True).start()

    def answer(self, far: socket.socket, near: socket.socket) -> None:
        begins, shut = Begins(), socket.SHUT_RDWR
        with near, far:
            while got := received(far):
                if begins.an_answer(got) and self.loss.takes(got):
                    # Closed like this, and not shut for writing, a connection is reset.
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    shut = socket.SHUT_RD
                    break
                if not sent(near, got):
                    break
            # Whoever still reads from it would keep it open.
            end(near, shut)


class Begins:
    """Finds where answers begin: in HTTP/1 with whatever comes, in HTTP/2 with a frame of headers."""

    HEADERS, HEAD = 1, 9

    def __init__(self) -> None:
        self.buffer, self.is_http1 = b"", None

    def an_answer(self, got: bytes) -> bool:
        if self.is_http1 is None:
            self.is_http1 = got.startswith(b"HTTP/1")
        if self.is_http1:
            return True
        self.buffer, found = self.buffer + got, False
        while len(self.buffer) >= self.HEAD:
            found |= self.buffer[3] == self.HEADERS
            length = self.HEAD + int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < length:
                break
            self.buffer = self.buffer[length:]
        return found


def carry(source: socket.socket, target: socket.socket) -> None:
    """Carries what comes until either end is gone."""
    while (got := received(source)) and sent(target, got):
        pass
    end(target, socket.SHUT_WR)


def end(connection: socket.socket, how: int) -> None:
    try:
        connection.shutdown(how)
    except OSError:
        # Gone already.
        return


def received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def sent(target: socket.socket, got: bytes) -> bool:
    try:
        target.sendall(got)
    except OSError:
        return False
    return True

"""Clients that place orders and pay for them, many at a time."""

import json
import threading
import time
from typing import Iterable, NamedTuple

from crashlib.client import ORDER, Client
from crashlib.service import Service

# What says that a request may be made again under its key.
AGAIN = (429, 503, 504)


class Sold(NamedTuple):
    """An order whose pay was accepted, and when."""

    id: str
    at: float


class Till:
    """Places and pays orders over several connections, and remembers each that was accepted."""

    def __init__(self, service: Service, name: str) -> None:
        self.service, self.name = service, name
        self.sold: list[Sold] = []
        self.failed: list[str] = []
        self.again = 0
        self._lock = threading.Lock()

    def sell(self, count: int, hands: int = 8) -> None:
        """So many orders as fast as it goes."""
        self._spread(range(count), hands)

    def sell_steadily(self, rate: float, stopping: threading.Event, hands: int = 8) -> list[threading.Thread]:
        """So many a second until told to stop: begun by the clock, whatever the answers take."""
        began = time.monotonic()

        def numbers(hand: int) -> Iterable[int]:
            number = hand
            while not stopping.wait(max(0.0, began + number / rate - time.monotonic())):
                yield number
                number += hands

        threads = [threading.Thread(target=self._work, args=(numbers(hand),), daemon=True) for hand in range(hands)]
        for thread in threads:
            thread.start()
        return threads

    def _spread(self, numbers: range, hands: int) -> None:
        parts = [numbers[hand::hands] for hand in range(hands)]
        threads = [threading.Thread(target=self._work, args=(part,), daemon=True) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, numbers: Iterable[int]) -> None:
        client = self.service.client()
        for number in numbers:
            key = f"{self.name}-{number:07}"
            placed = self._ask(client, "/v1/orders", f"{key}-place", ORDER)
            if placed is None:
                continue
            order = placed["id"]
            if self._ask(client, f"/v1/orders/{order}/pay", f"{key}-pay", json.dumps({"instrument": "tok_ok"})):
                with self._lock:
                    self.sold.append(Sold(order, time.time()))

    def _ask(self, client: Client, path: str, key: str, body: str) -> dict | None:
        """Asks until there is an answer that counts, three times at most."""
        told = ""
        for _ in range(3):
            try:
                answer = client.ask("POST", path, key, body)
            except OSError as error:
                told = str(error)
                continue
            if answer.status in (201, 202):
                return answer.json()
            told = str(answer)
            if answer.status not in AGAIN:
                break
            with self._lock:
                self.again += 1
            time.sleep(0.05)
        with self._lock:
            self.failed.append(f"{path}: {told}")
        return None


def whole(service: Service, ids: Iterable[str]) -> list[dict]:
    """Orders with their payments, which lists leave out."""
    client, found = service.client(), []
    for order in ids:
        answer = client.ask("GET", f"/v1/orders/{order}")
        if answer.status != 200:
            raise ConnectionError(f"cannot read {order}: {answer}")
        found.append(answer.json())
    return found


def all_orders(service: Service) -> dict[str, dict]:
    """Every order of the API by its id, page by page, without its payments."""
    client, found, token = service.client(), {}, ""
    client.timeout = 30
    while True:
        answer = client.ask("GET", f"/v1/orders?page_size=100{token}")
        if answer.status != 200:
            raise ConnectionError(f"cannot list: {answer}")
        page = answer.json()
        found |= {order["id"]: order for order in page["orders"]}
        if not (following := page.get("next_page_token")):
            return found
        token = f"&page_token={following}"

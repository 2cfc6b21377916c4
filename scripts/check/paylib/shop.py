"""A service that dies now and then, and a client that does not mind."""

import json
import subprocess
import time
from pathlib import Path
from typing import Callable

from crashlib.client import Answer
from crashlib.service import Failed, Service
from paylib.provider import Provider

SETTLE_SECONDS = 40


class Stuck(Exception):
    """What was waited for did not come."""


class Shop:
    """One store behind one provider. A request is sent again under its key until it is answered."""

    def __init__(self, orderly: str, provider: Provider, work: Path, settings: tuple = ()) -> None:
        self.provider = provider
        self.service = Service(orderly, work, settings=[*provider.orderly_settings(), *settings])
        self.usual, self.connection, self.deaths = list(self.service.settings), None, 0

    def start(self, environment: dict | None = None, settings: tuple = ()) -> None:
        """Starts the service, which may die before it is ready."""
        self.service.environment = environment
        self.service.settings = [*self.usual, *settings]
        self.service.start()
        try:
            self.service.until_ready()
        except Failed:
            if environment is None:
                raise
            self.revive()
        self.connection = self.service.client()

    def end(self) -> None:
        self.service.kill()

    def revive(self) -> None:
        """Starts the service again as it usually is, if it has died."""
        try:
            self.service.process.wait(2)
        except subprocess.TimeoutExpired:
            return
        self.deaths += 1
        self.service.kill()
        self.start()

    def ask(self, method: str, path: str, key: str | None = None, body: dict | None = None, headers=()) -> Answer:
        """An answer that says something of the request, however often it takes."""
        text, limit = None if body is None else json.dumps(body), time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < limit:
            try:
                answer = self.connection.ask(method, path, key, text, headers)
            except OSError:
                self.revive()
                continue
            if answer.status not in (503, 504):
                return answer
            time.sleep(0.02)
        raise Stuck(f"{method} {path} is not answered")

    def linger(self, seconds: float) -> None:
        """Waits for the service to die, not longer than this, and starts it again if it did."""
        deaths, limit = self.deaths, time.monotonic() + seconds
        while self.deaths == deaths and time.monotonic() < limit:
            if self.service.process.poll() is not None:
                self.revive()
            time.sleep(0.01)

    def order_of(self, customer: str) -> dict:
        """The only order of a customer, read from the list."""
        orders = self.ask("GET", f"/v1/orders?customer_id={customer}").json()["orders"]
        if len(orders) != 1:
            raise Stuck(f"{customer} has {len(orders)} orders")
        return orders[0]

    def until(self, customer: str, what: str, holds: Callable[[dict], bool]) -> dict:
        """Waits until the order of a customer is as it should be."""
        limit = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < limit:
            if holds(order := self.order_of(customer)):
                return order
            time.sleep(0.01)
        raise Stuck(f"never {what}: the order is {order['state']}, its money {order['payment_state']}")


def open_shop(orderly: str, sim: str, work: Path, *, settings: tuple = (), webhooks: bool = False, faults: tuple = ()) -> Shop:
    """A service that pays through a provider, which sends it webhooks if wanted."""
    provider = Provider(sim, work / "provider", list(faults))
    if webhooks:
        settings = (*settings, f"gateway.webhook_secret_file={provider.webhook_secret_file}")
    shop = Shop(orderly, provider, work / "shop", settings)
    if webhooks:
        provider.settings.append(f"webhooks.url=http://127.0.0.1:{shop.service.port}/webhooks/gateway")
    provider.start()
    shop.start()
    return shop

"""Part 2: sixteen refunds of the same money at once."""

from pathlib import Path

from crashlib.table import Table
from paylib.till import Till
from paylib.shop import open_shop
from stormslib.crowd import agree, ask, at_once, close, total, until

AT_ONCE = 16
TOTAL = 998
# Two of these are all there is; of the whole, one is.
SHARES = {"all": (None, 1), "half": (499, 2)}


def run(table: Table, orderly: str, sim: str, work: Path, *, orders: int) -> dict:
    table.part(f"{AT_ONCE} refunds at once of each of {orders} captured orders: all of it, or the half of it")
    shop = open_shop(orderly, sim, work)
    till = Till(shop.service, "refunds")
    till.sell(orders)
    ids = list(until(shop, "paid", lambda order: order["payment_state"] == "AUTHORIZED"))
    client = shop.service.client()
    for order in ids:
        ask(client, order, "capture", f"capture-{order}", {})
    until(shop, "captured", lambda order: order["payment_state"] == "CAPTURED")
    clients, wrong, refused = [shop.service.client() for _ in range(AT_ONCE)], [], 0
    for number, order in enumerate(ids):
        share, possible = SHARES["half" if number % 2 else "all"]
        body = {"amount": {"amount_minor": str(share), "currency": "EUR"}} if share else {}
        answers = []

        def refund(hand: int) -> None:
            answers.append(ask(clients[hand], order, "refund", f"refund-{hand:02}-{order}", body))

        at_once(lambda hand=hand: refund(hand) for hand in range(AT_ONCE))
        accepted = sum(answer.status == 202 for answer in answers)
        refused += sum(answer.status in (409, 422) for answer in answers)
        if accepted != possible or any(answer.status not in (202, 409, 422) for answer in answers):
            wrong.append(f"{order}: {accepted} of {possible}: {sorted({str(a.status) for a in answers})}")
    until(shop, "refunded", lambda order: order["payment_state"] == "REFUNDED")
    found = agree(table, shop)
    table.none("orders where another number of refunds was accepted", wrong)
    table.claim("refunded = captured (minor units)", total(found, "captured"), total(found, "refunded"))
    table.claim("captured = what was sold", orders * TOTAL, total(found, "captured"))
    table.shown("refunds that were refused", refused)
    close(shop)
    return {"orders": orders, "refunds_asked": orders * AT_ONCE, "refused": refused, "refunded_minor": total(found, "refunded")}

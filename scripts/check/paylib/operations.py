"""What is done to an order while the service dies: how it is begun, done, and how it must end."""

from typing import Callable, NamedTuple

from crashlib.client import Answer
from paylib.shop import Shop, Stuck

EUR = "EUR"
TOTAL = 998
OUT = ("AUTHORIZE", "SUCCEEDED")
TAKEN = ("CAPTURE", "SUCCEEDED")
BACK = ("REFUND", "SUCCEEDED")


class Operation(NamedTuple):
    """One row of the table."""

    # Brings the order to where the operation begins, with a service that does not die.
    begin: list[Callable]
    # What is done while it may die; the answer to the last step is asked for once more at the end.
    steps: list[Callable]
    # The ends that are right: state, money, and what was asked of each payment.
    ends: list[tuple]
    # What strikes the provider's next operations.
    faults: tuple = ()
    settings: tuple = ()
    notes: int = 0
    # Whether the provider tells of what it did.
    webhooks: bool = False


class Hand:
    """A client with one order, which names its keys by what it does."""

    def __init__(self, shop: Shop, name: str) -> None:
        self.shop, self.name, self.id = shop, name, ""

    def act(self, verb: str, body: dict | None = None, *headers: str) -> Answer:
        return self._accepted(verb, f"/v1/orders/{self.id}/{verb}", body, *headers)

    def create(self, **more: dict) -> Answer:
        price = {"amount_minor": "499", "currency": EUR}
        lines = [{"sku": "tea", "quantity": 2, "unit_price": price}]
        answer = self._accepted("create", "/v1/orders", {"customer_id": self.name, "lines": lines} | more)
        self.id = answer.json()["id"]
        return answer

    def pay(self, instrument: str = "tok_ok") -> Answer:
        return self._accepted(instrument, f"/v1/orders/{self.id}/pay", {"instrument": instrument})

    def reach(self, *money: str) -> dict:
        """Waits until the order's money is there."""
        return self.shop.until(self.name, " or ".join(money), lambda order: order["payment_state"] in money)

    def reach_state(self, state: str) -> dict:
        return self.shop.until(self.name, state, lambda order: order["state"] == state)

    def _accepted(self, step: str, path: str, body: dict | None, *headers: str) -> Answer:
        answer = self.shop.ask("POST", path, f"{self.name}-{step}-key", body, headers)
        if answer.status not in (200, 201, 202):
            raise Stuck(f"{step} is answered {answer}")
        return answer


def some(minor: int) -> dict:
    return {"amount": {"amount_minor": str(minor), "currency": EUR}}


def place(hand: Hand) -> Answer:
    return hand.create()


def pay(hand: Hand) -> Answer:
    answer = hand.pay()
    hand.reach("AUTHORIZED", "PARKED")
    return answer


def pay_told(hand: Hand) -> Answer:
    """A pay of which a webhook tells before its answer; a failpoint has the time of that answer to strike."""
    answer = pay(hand)
    hand.shop.linger(1.5)
    return answer


def pay_in_vain(hand: Hand) -> Answer:
    """A pay that cannot be sent for now; a failpoint has the time of two tries to strike."""
    answer = hand.pay()
    hand.shop.linger(2.5)
    return answer


def pay_once(hand: Hand) -> Answer:
    """A pay, whatever becomes of it."""
    return hand.pay()


def pay_declined(hand: Hand) -> Answer:
    answer = hand.pay("tok_decline")
    hand.reach("DECLINED")
    return answer


def capture(hand: Hand) -> Answer:
    answer = hand.act("capture", {})
    hand.reach("CAPTURED")
    return answer


def capture_part(hand: Hand) -> Answer:
    answer = hand.act("capture", some(100))
    hand.reach("PARTIALLY_CAPTURED")
    return answer


def refund(hand: Hand) -> Answer:
    answer = hand.act("refund", {})
    hand.reach("REFUNDED")
    return answer


def refund_part(hand: Hand) -> Answer:
    answer = hand.act("refund", some(100))
    hand.reach("PARTIALLY_REFUNDED")
    return answer


def cancel(hand: Hand) -> Answer:
    answer = hand.act("cancel", {})
    hand.reach_state("CANCELLED")
    return answer


def record(hand: Hand) -> Answer:
    return hand.act("payments", some(TOTAL) | {"reason": "cash"})


def confirm(hand: Hand) -> Answer:
    return hand.act("confirm", {})


def confirm_at_once(hand: Hand) -> Answer:
    """Only while nobody else has touched it; the second time that is no longer so, and the key tells why."""
    return hand.act("confirm", {}, 'if-match: "v1"')


def note(hand: Hand) -> Answer:
    return hand.act("notes", {"text": "by hand"})


def place_paid(hand: Hand) -> Answer:
    """An order that is paid as it is placed."""
    answer = hand.create(payment={"instrument": "tok_ok"})
    hand.reach("AUTHORIZED")
    return answer


def hand_over(hand: Hand) -> Answer:
    answer = hand.act("fulfillments", {})
    hand.reach_state("COMPLETED")
    return answer


def call_off_piece(hand: Hand) -> Answer:
    answer = hand.act("cancel", PIECE)
    hand.reach("PARTIALLY_REFUNDED")
    return answer


def refund_piece(hand: Hand) -> Answer:
    answer = hand.act("refund", PIECE)
    hand.reach("PARTIALLY_REFUNDED")
    return answer


PIECE = {"lines": [{"line_no": 1, "quantity": 1}]}
PAID = [("CONFIRMED", "AUTHORIZED", [[OUT]])]
OPERATIONS = {
    "create": Operation([], [place], [("PENDING", "NONE", [])]),
    "confirm": Operation([place], [confirm], [("CONFIRMED", "NONE", [])]),
    "if-match": Operation([place], [confirm_at_once, confirm_at_once], [("CONFIRMED", "NONE", [])]),
    "note": Operation([place], [note], [("PENDING", "NONE", [])], notes=1),
    "pay": Operation([place], [pay], PAID),
    "pay-again": Operation(
        [place], [pay_declined, pay], [("CONFIRMED", "AUTHORIZED", [[("AUTHORIZE", "DECLINED")], [OUT]])]
    ),
    "capture": Operation([place, pay], [capture], [("CONFIRMED", "CAPTURED", [[OUT, TAKEN]])]),
    "capture-part": Operation([place, pay], [capture_part], [("CONFIRMED", "PARTIALLY_CAPTURED", [[OUT, TAKEN]])]),
    "refund": Operation([place, pay, capture], [refund], [("CONFIRMED", "REFUNDED", [[OUT, TAKEN, BACK]])]),
    "refund-part": Operation(
        [place, pay, capture], [refund_part], [("CONFIRMED", "PARTIALLY_REFUNDED", [[OUT, TAKEN, BACK]])]
    ),
    "cancel": Operation([place], [cancel], [("CANCELLED", "NONE", [])]),
    "cancel-void": Operation([place, pay], [cancel], [("CANCELLED", "VOIDED", [[OUT, ("VOID", "SUCCEEDED")]])]),
    "cancel-refund": Operation([place, pay, capture], [cancel], [("CANCELLED", "REFUNDED", [[OUT, TAKEN, BACK]])]),
    "create-paid": Operation([], [place_paid], PAID),
    "fulfill": Operation([place, pay], [hand_over], [("COMPLETED", "CAPTURED", [[OUT, TAKEN]])]),
    "cancel-piece": Operation(
        [place, pay, capture], [call_off_piece], [("CONFIRMED", "PARTIALLY_REFUNDED", [[OUT, TAKEN, BACK]])]
    ),
    "refund-piece": Operation(
        [place, pay, hand_over], [refund_piece], [("COMPLETED", "PARTIALLY_REFUNDED", [[OUT, TAKEN, BACK]])]
    ),
    "record": Operation([place], [record], [("CONFIRMED", "CAPTURED", [[OUT, TAKEN]])]),
    # The provider did it and the answer is lost: it is asked.
    "unknown": Operation([place], [pay], PAID, faults=("answer-lost",)),
    # It did not: it is asked, knows nothing, and is sent the same again.
    "absent": Operation([place], [pay], PAID, faults=("effect-lost",)),
    # The same, and by then it no longer knows the key: only a person can say. A kill may be quick enough.
    "parked": Operation(
        [place],
        [pay],
        [("PENDING", "PARKED", [[("AUTHORIZE", "PARKED")]]), *PAID],
        faults=("effect-lost",),
        settings=("gateway.key_window=1s",),
    ),
    # The answer does not come in time, and the provider's webhook does.
    "told": Operation([place], [pay_told, pay], PAID, faults=("hang",), webhooks=True),
    # It comes beside the answer.
    "told-too": Operation([place], [pay], PAID, webhooks=True),
    # Nobody listens there until the service is started anew.
    "away": Operation([place], [pay_in_vain, pay_once], PAID, settings=("gateway.client.base_url=http://127.0.0.1:1",)),
}

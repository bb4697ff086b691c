"""What Binance's `exchangeInfo` says of a symbol: rules of orders, and what is traded."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from raysignal.engine.core.listings import ContractKind, ListedSymbol, OrderRules
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.market.venues import answers
from raysignal.engine.market.venues.numbers import amount_in, integer


def filters_of(row: Any) -> dict[str, Mapping[str, object]]:
    """The filters of a row by their types."""
    return {answers.part(each, "filterType"): each for each in answers.part(row, "filters")}


def status_of(row: Any) -> str:
    """`TRADING`, or why not."""
    return str(row.get("contractStatus") or row.get("status") or "TRADING")


def is_inverse(row: Any, *, coin_margined: bool) -> bool:
    """Whether a futures contract is settled in its base asset."""
    base = row.get("baseAsset")
    return coin_margined or (base is not None and row.get("marginAsset") == base)


def contract_size(row: Any, *, coin_margined: bool) -> Decimal:
    """What a size of 1 means."""
    return Decimal(integer(answers.part(row, "contractSize")) if coin_margined else 1)


def listed_symbol(row: Any, *, futures: bool, coin_margined: bool) -> ListedSymbol:
    """A row as it is listed."""
    filters, status = filters_of(row), status_of(row)
    lot = filters.get("LOT_SIZE", {})
    perpetual = "PERPETUAL" in str(row.get("contractType"))  # also TRADIFI_PERPETUAL
    return ListedSymbol(
        symbol=str(answers.part(row, "symbol")),
        kind=ContractKind.SPOT
        if not futures
        else ContractKind.PERPETUAL
        if perpetual
        else ContractKind.FUTURE,
        inverse=futures and is_inverse(row, coin_margined=coin_margined),
        base=str(row.get("baseAsset", "")),
        quote=str(row.get("quoteAsset", "")),
        price_step=amount_in(filters.get("PRICE_FILTER", {}), "tickSize"),
        size_step=amount_in(lot, "stepSize"),
        least_size=amount_in(lot, "minQty"),
        least_value=values(filters, market=False)[0],
        contract_size=contract_size(row, coin_margined=coin_margined),
        status=answers.status_word(status, "TRADING"),
    )


def order_rules(
    instrument: Instrument, lots: Sequence[Mapping[str, object]], least_value: Decimal, most_value: Decimal
) -> OrderRules:
    """What all of these filters of a lot ask for together."""
    smallest = instrument.exact_size(1)
    return OrderRules(
        max(smallest, *(amount_in(lot, "stepSize") for lot in lots)),
        max(smallest, *(amount_in(lot, "minQty") for lot in lots)),
        min((most for lot in lots if (most := amount_in(lot, "maxQty"))), default=None),
        least_value,
        most_value or None,
    )


def values(filters: Mapping[str, Mapping[str, object]], *, market: bool) -> tuple[Decimal, Decimal]:
    """The least and the most that an order is worth: NOTIONAL or MIN_NOTIONAL of spot, MIN_NOTIONAL of futures."""
    least = [Decimal(0)]
    most = Decimal(0)
    old, new = filters.get("MIN_NOTIONAL", {}), filters.get("NOTIONAL", {})
    if not market or old.get("applyToMarket", True) is True:
        least += [amount_in(old, "minNotional"), amount_in(old, "notional")]
    if not market or new.get("applyMinToMarket") is True:
        least.append(amount_in(new, "minNotional"))
    if not market or new.get("applyMaxToMarket") is True:
        most = amount_in(new, "maxNotional")
    return max(least), most

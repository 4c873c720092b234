"""What to prefer, as prices: of calling an operation, moving an element, and the like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Prices in elements moved. Memory traffic counts: an elementwise operation costs little else.

    `call`: of an operation, whatever its size; `move`: of an element read or written; `multiply`:
    of a multiplication inside of a matrix product; `keep`: of an element of an intermediate that
    the forward must keep for the backward; `hold`: of an element that is held when forward and
    backward hold most.
    """

    call: float = 4.0
    move: float = 1.0
    multiply: float = 1.0 / 8
    keep: float = 0.02
    hold: float = 0.0


PREFER = {
    "speed": Prices(),
    "memory": Prices(keep=4.0, hold=8.0),
    "short": Prices(call=64.0),
}

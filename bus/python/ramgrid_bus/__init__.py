"""Message channels in shared memory that outlive the processes at their ends.

    from ramgrid_bus import Bus

    with Bus().bind("0.0.2.1") as channel:
        for message in channel:
            print(message.source, bytes(message))

A message lies in its ring until the next receive, which acknowledges it. `memoryview(message)` (or
`message.payload`) looks at it there, without a copy; while such a view is held, receiving is
refused, so that nobody reads what is being overwritten. `docs/bus.md` has what is promised.
"""

from ._native import (
    Bus,
    BusError,
    Channel,
    Damaged,
    Empty,
    Forked,
    Full,
    InUse,
    Message,
    NoChannel,
    Removed,
    TooLarge,
)
from .reader import Reader

__all__ = [
    "Bus",
    "BusError",
    "Channel",
    "Damaged",
    "Empty",
    "Forked",
    "Full",
    "InUse",
    "Message",
    "NoChannel",
    "Reader",
    "Removed",
    "TooLarge",
]

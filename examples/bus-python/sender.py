"""Sends ten orders from 0.0.1.1 to 0.0.2.1, and prints what comes back."""

import sys

from ramgrid_bus import Bus

with Bus(sys.argv[1] if len(sys.argv) > 1 else "default").bind("0.0.1.1") as channel:
    for nth in range(1, 11):
        channel.send("0.0.2.1", f"order {nth}".encode(), timeout=5)
        print(nth, bytes(channel.receive(timeout=5)).decode())

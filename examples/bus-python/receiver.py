"""Receives orders at 0.0.2.1 in asyncio, looks at each where it lies, and answers its sender."""

import asyncio
import sys

from ramgrid_bus import Bus, Reader


async def main() -> None:
    with Bus(sys.argv[1] if len(sys.argv) > 1 else "default").bind("0.0.2.1") as channel:
        async with Reader(channel) as orders:
            async for order in orders:
                with order.payload as view:
                    again = " (again)" if order.is_redelivered else ""
                    print(f"number {order.seq}{again}: {view.tobytes().decode()}")
                channel.answer(b"taken", timeout=5)
                if order.seq == 10:
                    return


asyncio.run(main())

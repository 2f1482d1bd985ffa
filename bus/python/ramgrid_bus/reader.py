"""Receiving in asyncio: one helper thread that waits, and nothing else.

The thread only waits (`Channel.wait`); messages are received in the loop's own thread, so a
cancelled `receive` loses none. Sending from the same channel goes on meanwhile.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from ._native import Channel, Empty, Message

# Longest wait in one go, in seconds: how long closing may have to wait for the thread.
_SLICE_S = 0.1


class Reader:
    """An asynchronous iterator over the messages of a channel.

    async with Reader(channel) as reader:
        async for message in reader:
            ...
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ramgrid-bus")

    async def receive(self) -> Message:
        """The next message; the one before is acknowledged."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return self._channel.receive(0)
            except Empty:
                await loop.run_in_executor(self._thread, self._channel.wait, _SLICE_S)

    def close(self) -> None:
        """Ends the thread; the channel stays bound."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def __aenter__(self) -> "Reader":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> Message:
        return await self.receive()

"""The load of the machine, once a second, and the last ten minutes of it.

A tick is numbered with its time in seconds. So a number means the same in every process, before and after a restart, and
whoever was away says the last one it got to hear the rest.
"""

import asyncio
import os
import time
from collections import deque


class Ticker:
    """`next` is a future of the tick to come; all who wait for it share it."""

    def __init__(self, keep=600):
        self.ticks = deque(maxlen=keep)
        self.next = asyncio.get_running_loop().create_future()

    async def run(self):
        number = int(time.time())
        while True:
            # Whole seconds, and never the same one twice, even where the clock is set back.
            number = max(number + 1, int(time.time()))
            await asyncio.sleep(number - time.time())
            self.tick(number, os.getloadavg()[0])

    def tick(self, number, load):
        self.ticks.append((number, load))
        self.next.set_result(None)
        self.next = asyncio.get_running_loop().create_future()

    def since(self, number):
        """Ticks behind that one, oldest first; of older times than are kept, what is left."""
        return [tick for tick in self.ticks if tick[0] > number]

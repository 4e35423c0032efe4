"""A few requests each turn of the event loop, so that new ones are looked at in between.

Otherwise a crowd that came at once would be worked off in one go, and whoever came after it, even to be
refused, would wait as long as the whole crowd takes.
"""

import asyncio
from collections import deque

_A_TURN = 64


class Turns:
    """Lets requests begin in the order in which they came."""

    def __init__(self, a_turn: int = _A_TURN) -> None:
        self._a_turn = self._left = a_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def wait(self) -> None:
        """Returns when the caller's turn has come, at once where there is no crowd."""
        loop = asyncio.get_running_loop()
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._next)
        if self._left:
            self._left -= 1
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        self._left = self._a_turn
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever waited may have left
                turn.set_result(None)
                self._left -= 1
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next)

"""A queue that serves clients in turn: one that asks for much does not delay the others. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items of clients; each client's own are in the order they came in."""

    def __init__(self) -> None:
        #: Clients with items, the one whose turn it is first.
        self._clients: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, client: str, item: Item) -> None:
        """Append an item of a client."""
        self._clients.setdefault(client, deque()).append(item)
        self._length += 1

    def take(self, limit: int) -> list[Item]:
        """Remove and return up to `limit` items, one of each client in turn."""
        taken: list[Item] = []
        while self._clients and len(taken) < limit:
            client, items = self._clients.popitem(last=False)
            taken.append(items.popleft())
            if items:
                self._clients[client] = items
        self._length -= len(taken)
        return taken

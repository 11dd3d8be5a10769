"""The room: what was said lately, and who is here.

There is no queue for each member. The history is the buffer of all of them, and a member is a place in it: how far it has been
told. That bounds memory whatever anybody does, and a member who reads slowly gets several messages at once when it
reads again, or hears how many it has missed. One who comes back after a lost connection only has to say where it was.
"""

import asyncio
import secrets
from collections import deque
from datetime import UTC, datetime
from itertools import islice


class Member:
    """Somebody with a page open. `told` is the number of the last message they got."""

    def __init__(self, page, name, told):
        self.page = page
        self.name = name
        self.told = told
        self.present = None
        self.gone = False
        self._news = asyncio.Event()
        self.wake()

    def wake(self):
        self._news.set()

    async def news(self):
        """Returns when there is something to tell."""
        await self._news.wait()
        self._news.clear()


class Room:
    """Numbers messages from 1 on. `id` tells apart the numbers of this process from those of the one before it."""

    def __init__(self, keep=200):
        self.id = secrets.token_hex(8)
        self.said = 0
        self.history = deque(maxlen=keep)
        self.members = {}
        self.present = []

    def join(self, page, name, room, told):
        """A page enters, or is back: then `room` and `told` are what it has seen last."""
        if page in self.members:
            self.leave(self.members[page])
        member = Member(page, name, min(told, self.said) if room == self.id else 0)
        self.members[page] = member
        self._count()
        return member

    def leave(self, member):
        """Once is enough, and a member who was replaced by its own new connection has left already."""
        if not member.gone:
            member.gone = True
            member.wake()
            del self.members[member.page]
            self._count()

    def say(self, member, message_id, text):
        """Whoever lost the connection before they saw their own message sends it again: the second one is not said."""
        if any(message["id"] == message_id for message in self.history):
            return
        self.said += 1
        at = datetime.now(UTC).isoformat(timespec="seconds")
        message = {"number": self.said, "id": message_id, "name": member.name, "text": text, "at": at}
        self.history.append(message)
        self._wake_all()

    def tell(self, member):
        """What is new to this member, as one event; afterwards it is not new any more."""
        wanted = self.said - member.told
        missed = max(0, wanted - len(self.history))
        messages = list(islice(self.history, len(self.history) - (wanted - missed), None))
        event = {"room": self.id, "messages": messages, "missed": missed if member.told else 0}
        if member.present is not self.present:
            event["present"] = member.present = self.present
        member.told = self.said
        return event

    def _count(self):
        self.present = sorted((member.name for member in self.members.values()), key=str.casefold)
        self._wake_all()

    def _wake_all(self):
        for member in self.members.values():
            member.wake()

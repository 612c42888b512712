"""Participants of rooms in tests over sockets, whose media is nobody's. SPDX-License-Identifier: BSD-3-Clause"""
from soriclient import Client, token

MIC = [{"mid": "0", "source": "microphone", "name": "mic"}]
BOTH = MIC + [{"mid": "1", "source": "camera"}]


class Member(Client):
    """A client that takes part in rooms."""

    def __init__(self, url, user, device="dev-1", **perms):
        super().__init__(url, user, device)
        self.perms = perms

    async def raw(self, m):
        if isinstance(m, dict) and m["type"] == "hello":
            m["data"]["capabilities"] = ["video", "rooms"]
            if self.perms:
                m["data"]["token"] = token(self.user, perms=self.perms)
        await super().raw(m)

    async def join(self, room="standup", tracks=None, **more):
        data = {"offer": {"type": "offer", "sdp": f"v=0\r\ns={self.user}\r\n"},
                "tracks": MIC if tracks is None else tracks, **more}
        return await self.request("room.join", data=data, roomId=room)

    async def room(self, kind, data=None, room="standup"):
        return await self.request("room." + kind, data=data, roomId=room)

    async def fresh(self, tracks=None):
        return await self.room("offer", {"offer": {"type": "offer", "sdp": "v=0\r\ns=fresh\r\n"}, "fresh": True,
                                         "tracks": MIC if tracks is None else tracks})

    async def told(self, kind, event=None, timeout=5):
        while True:
            m = await self.until(kind, timeout)
            if event is None or m["data"].get("event") == event:
                return m["data"]


def code(m):
    return m["data"]["code"] if m["type"] == "error" else None

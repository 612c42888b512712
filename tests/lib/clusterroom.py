"""Rooms over several nodes in tests: servers around one Redis, and a scripted SFU that all of them use.
SPDX-License-Identifier: BSD-3-Clause"""
import asyncio

from clusterworld import Cluster
from fakesfu import FakeSfu
from roomscene import BOTH, Member
from soridaemon import free_port, metric

EXTRA = """
[sfu]
nodes = n0=127.0.0.1:{port}
secret_file = @FOLDER@/secret
request_timeout = 2
[room]
joins_per_10s = 0
empty_timeout = 1
node_timeout = 2
"""
LOOP = asyncio.new_event_loop()


class World:
    """Servers, the SFU, and the loop that both it and clients run in."""

    def __init__(self, *names, extra=""):
        port = free_port()
        self.sfu = FakeSfu(port, node="n0")
        self.cluster = Cluster(*names, extra=EXTRA.format(port=port) + extra)
        self.names, self.rooms = names, 0

    async def _up(self):
        while len(self.sfu.peers) < len(self.names):
            await asyncio.sleep(0.01)

    def __enter__(self):
        LOOP.run_until_complete(self.sfu.start())
        self.cluster.__enter__()
        LOOP.run_until_complete(self._up())
        return self

    def __exit__(self, *a):
        self.cluster.__exit__(*a)
        LOOP.run_until_complete(self.sfu.stop())


class Scene:
    """A room of its own, and clients that it makes."""

    def __init__(self, world):
        world.rooms += 1
        world.sfu.log.clear()
        self.world, self.cluster, self.sfu = world, world.cluster, world.sfu
        self.room, self.n, self.made = f"room{world.rooms}", world.rooms, []

    async def come(self, node, user, device="dev-1", **perms):
        """A connected client that is in no room yet."""
        m = Member(self.cluster[node].ws, f"{user}{self.n}", device, **perms)
        m.room_id, m.node = self.room, node
        await m.connect(close_timeout=0.1)
        await self.cluster.seen(node, m.user, device)
        self.made.append(m)
        return m

    async def join(self, node, user, device="dev-1", tracks=None, **perms):
        """One that has joined; .data is what it was told."""
        m = await self.come(node, user, device, **perms)
        r = await m.join(self.room, tracks)
        assert r["type"] == "room.join", r
        m.data, m.id = r["data"], r["data"]["participantId"]
        return m

    def ask(self, m, kind, data=None):
        return m.room(kind, data, self.room)

    def runner(self):
        """The node that runs the room."""
        o = self.cluster.redis.do("HGET", f"sori:room:{{{self.room}}}", "o")
        return o and o.decode().split()[1]

    async def over(self, timeout=5):
        """Waits until nobody runs the room."""
        async def wait():
            while self.runner():
                await asyncio.sleep(0.01)
        await asyncio.wait_for(wait(), timeout)

    def guests(self, node):
        """How many rooms of others that node has people of, and how many people."""
        admin = self.cluster[node].admin
        return metric(admin, "sori_rooms_hosted"), metric(admin, "sori_room_guests")

    async def pair(self):
        """Alice on a, which runs the room, and bob on b."""
        alice = await self.join("a", "alice", tracks=BOTH)
        bob = await self.join("b", "bob")
        await alice.told("room.participant", "connected")
        return alice, bob

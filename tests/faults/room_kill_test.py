"""Rooms over several nodes while nodes are killed and come back, are stopped, stand still or are cut off from Redis, or Redis
pauses, one after another: nobody leaves a room who did not want to, and in the end everybody knows the same.
SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import random
import signal

import pytest
import websockets

from clusterroom import LOOP, World
from faultworld import SEED, elsewhere, figure, frozen, leave, say, sized
from roomscene import Member

NODES = ("a", "b", "c")
ROOMS, PEOPLE = sized(6, 30), sized(4, 8)  # people of each room
ROUNDS = sized(5, 40)
BACK_S = 12


class Person(Member):
    """Stays in its room whatever happens to nodes, and believes what it is told."""

    def __init__(self, world, user, room):
        super().__init__(None, user)
        self.world, self.room, self.here, self.seen = world, room, asyncio.Event(), {}
        self.closed_by, self.rejoined, self.restarts, self.away_s, self.wants = None, 0, 0, 0, {}

    def anywhere(self):
        return self.world.cluster[random.choice(list(self.world.cluster.nodes))].ws

    async def begin(self, node):
        self.url = self.world.cluster[node].ws
        await self.connect(close_timeout=0.1)
        await self.enter()
        self.task = asyncio.ensure_future(self.live())

    async def enter(self):
        r = await self.join(self.room)
        assert r["type"] == "room.join", r
        self.id = r["data"]["participantId"]
        self.seen = {p["participantId"]: p.get("metadata") for p in r["data"]["participants"]}
        self.here.set()

    async def live(self):
        while True:
            try:
                await self.listen()
            except (websockets.ConnectionClosed, OSError):
                self.here.clear()
                began = LOOP.time()
                await self.come_back()
                self.away_s = max(self.away_s, LOOP.time() - began)

    async def listen(self):
        while True:
            self.heard(await self.next(timeout=None))
            if self.last % 8 == 0:
                await self.raw({"type": "ack", "ack": self.last})

    def heard(self, m):
        d = m.get("data", {})
        if m.get("re") in self.wants:
            self.wants.pop(m["re"]).set_result(m)
        if m["type"] == "room.participant":
            p = d["participant"]
            if d["event"] == "left":
                self.seen.pop(p["participantId"], None)
            elif p["participantId"] != self.id:
                self.seen[p["participantId"]] = p.get("metadata")
        elif m["type"] == "room.state":
            if d["full"]:
                self.seen = {}
                self.here.set()
            self.seen.update({p["participantId"]: p.get("metadata") for p in d["participants"]})
        elif m["type"] == "room.closed":
            self.closed_by = d["reason"]
        elif m["type"] == "room.restart":
            self.restarts += 1

    async def come_back(self):
        while True:
            await asyncio.sleep(random.uniform(0.02, 0.2))
            self.url = self.anywhere()
            try:
                if not (await self.connect(self.resume(), close_timeout=0.1))["resumed"]:
                    self.rejoined += 1
                    await self.enter()
                return
            except (websockets.WebSocketException, OSError, AssertionError, asyncio.TimeoutError):
                continue

    async def ask(self, kind, data=None):
        mid = await self.send("room." + kind, data=data, roomId=self.room)
        self.wants[mid] = LOOP.create_future()
        return await self.wants[mid]


async def until(what, timeout_s, text):
    end = LOOP.time() + timeout_s
    while not what():
        assert LOOP.time() < end, text()
        await asyncio.sleep(0.02)


async def kill(cluster):
    victim = random.choice(NODES)
    cluster.kill(victim)
    await asyncio.sleep(random.choice((0, 0.2, 3)))  # before or after others have noticed
    await LOOP.run_in_executor(None, cluster.start, victim)


async def freeze(cluster):
    """For longer than a lease, or not: what others have taken over is theirs."""
    process = cluster[random.choice(NODES)].d.process
    process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(random.choice((1, 4)))
    finally:
        process.send_signal(signal.SIGCONT)
    await asyncio.sleep(2)  # what it decides before it has found out is undone


async def cut_off(cluster):
    """From Redis, for about a lease."""
    with cluster.cut_off(random.choice(NODES)):
        await asyncio.sleep(random.uniform(0.3, 4))
    await asyncio.sleep(2)


async def restart(cluster):
    d = cluster[random.choice(NODES)].d
    await elsewhere(leave, d)
    await elsewhere(d.start)


async def pause_redis(cluster):
    with frozen(cluster.redis):
        await asyncio.sleep(random.uniform(0.3, 4))
    await asyncio.sleep(2)


FAULTS = (kill, freeze, cut_off, restart, pause_redis)


def test_nodes_are_killed_and_everybody_stays():
    random.seed(SEED)

    async def test(w):
        crowd = [Person(w, f"p{r}-{i}", f"room{r}") for r in range(ROOMS) for i in range(PEOPLE)]
        for i, p in enumerate(crowd):
            await p.begin(NODES[i % len(NODES)])

        def of(p):
            return {o.id for o in crowd if o.room == p.room and o is not p}

        def settled():
            return all(p.here.is_set() and set(p.seen) == of(p) for p in crowd)

        def why():
            names = {o.id: o.user for o in crowd}
            off = [p for p in crowd if not p.here.is_set() or set(p.seen) != of(p)]
            return f"{len(off)} in {len({p.room for p in off})} rooms", [
                (p.user, p.url[-6:], p.here.is_set() or "not here", p.closed_by, f"anew {p.rejoined}",
                 f"restarts {p.restarts}", "misses", [names[i] for i in of(p) - set(p.seen)],
                 "too many", [names.get(i, i) for i in set(p.seen) - of(p)]) for p in off[:4]]

        await until(settled, 5, why)
        for n in range(ROUNDS):
            fault = FAULTS[n % len(FAULTS)]
            say(f"round {n}: {fault.__name__}")
            await fault(w.cluster)
            speaker = random.choice(crowd)
            await until(settled, BACK_S, why)
            assert not [p.user for p in crowd if p.restarts]  # the media server lives: nobody's media is interrupted
            await speaker.ask("update", {"metadata": {"round": n}})
            await until(lambda: all(p.seen[speaker.id] == {"round": n} for p in crowd
                                    if p.room == speaker.room and p is not speaker), 5,
                        lambda: f"round {n}: not all hear {speaker.user}")
        say(f"{len(crowd)} people in {ROOMS} rooms, {ROUNDS} faults, longest away {max(p.away_s for p in crowd):.2f} s, "
            f"{sum(p.rejoined for p in crowd)} had to join anew")
        figure("room_kill_away_s", max(p.away_s for p in crowd))
        assert not [p.closed_by for p in crowd if p.closed_by]
        assert not sum(p.rejoined for p in crowd)
        for p in crowd:
            p.task.cancel()
            await p.socket.close()

    with World(*NODES, extra="[limits]\nmessages_per_s = 1000\nlogins_per_s = 1000\n") as w:
        LOOP.run_until_complete(asyncio.wait_for(test(w), sized(90, 900)))


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-s"]))

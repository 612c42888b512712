"""Media servers that register themselves: one that appears gets rooms; rooms of one that is killed, stopped
or frozen are on another, and its people hear each other again. Clients are aiortc's. SPDX-License-Identifier:
BSD-3-Clause
"""
import asyncio
import signal

import pytest

from nodesworld import LEASE_S, Nodes, until
from sfu_data_aiortc_test import Member, Tone, aiortc, within
from soridaemon import metric

BACK_S = 2  # the goal for a media server that is killed


@pytest.fixture(scope="module")
def cluster():
    with Nodes("eu-a", extra="[room]\njoins_per_10s = 0\n") as c:
        yield c


class Mover(Member):
    """Starts its media over when the server says so, as sori.js does."""

    def __init__(self, url, user, room):
        super().__init__(url, user)
        self.room, self.restarts, self.moved = room, [], None

    async def _follow(self):
        loop = asyncio.get_running_loop()
        while True:
            m = await self.next(timeout=None)
            if m["type"] == "room.restart":
                self.restarts.append((loop.time(), m["data"]["reason"]))
                await self._start_over()
            elif m.get("re") and m.get("re") == self.moved:
                assert m["type"] == "room.offer", m
                await self.up.setRemoteDescription(aiortc.RTCSessionDescription(m["data"]["answer"]["sdp"], "answer"))

    async def _start_over(self):
        old = self.up
        self.up = self.down = aiortc.RTCPeerConnection()
        asyncio.ensure_future(old.close())
        self.heard, self.loud = asyncio.Event(), 0
        self.up.on("track", lambda t: self.tasks.append(asyncio.ensure_future(self._listen(t))))
        self.up.addTransceiver(Tone(), direction="sendonly")
        self.up.addTransceiver("audio", direction="recvonly")
        await self.up.setLocalDescription(await self.up.createOffer())
        self.moved = await self.send("room.offer", roomId=self.room, data={
            "fresh": True, "offer": {"type": "offer", "sdp": self.up.localDescription.sdp},
            "tracks": [{"mid": self.up.getTransceivers()[0].mid, "source": "microphone"}]})


def people(sfu):
    return metric(sfu.admin, "sori_sfu_participants")


def connected(cluster, n):
    """Waits until the server has so many usable media servers."""
    def usable():
        return metric(cluster["eu-a"].admin, 'sori_registered_usable{kind="sfu"}') == n
    until(usable)
    # and their control connections
    until(lambda: sum(metric(s.admin, "sori_sfu_control_connections") for s in alive(cluster)) == n)


def alive(cluster):
    return [s for s in cluster.sfus if s.process and s.process.poll() is None]


async def talking(cluster, room):
    members = [Mover(cluster["eu-a"].ws, u, room) for u in ("alice", "bob")]
    for m in members:
        await m.join()
    for m in members:
        await within(m.heard.wait(), f"{m.user} hears")
    return members


async def back(members, began):
    """Seconds until each of them hears again."""
    loop = asyncio.get_running_loop()
    for m in members:
        while not m.restarts:
            await asyncio.sleep(0.005)
        await within(m.heard.wait(), f"{m.user} hears again")
    return loop.time() - began


def scene(test):
    asyncio.run(asyncio.wait_for(test(), 60))


def test_one_that_appears_gets_rooms_and_those_of_a_killed_one_move(cluster):
    cluster.sfus = [cluster.sfu("s1")]
    connected(cluster, 1)

    async def go():
        members = await talking(cluster, "r")
        try:
            first = cluster.sfus[0]
            assert people(first) == 2
            cluster.sfus.append(cluster.sfu("s2"))
            await asyncio.get_running_loop().run_in_executor(None, connected, cluster, 2)
            began = asyncio.get_running_loop().time()
            first.process.kill()
            seconds = await back(members, began)
            print(f"media back after {seconds:.2f} s, told after {members[0].restarts[0][0] - began:.3f} s")
            assert seconds <= BACK_S and people(cluster.sfus[1]) == 2
            assert [r for _, r in members[0].restarts] == ["sfu_lost"]
        finally:
            for m in members:
                await m.leave()
    scene(go)


def test_one_that_drains_gets_no_room_and_leaves_the_list_when_it_ends(cluster):
    s3 = cluster.sfu("s3")
    cluster.sfus.append(s3)
    until(lambda: len(cluster.registered("sfu")) >= 2)
    s3.signal(signal.SIGUSR1)  # without rooms it ends at once
    assert s3.process.wait(10) == 0
    assert "s3" not in cluster.registered("sfu")
    connected(cluster, 1)


def test_one_that_is_frozen_is_dead_when_its_lease_is_over(cluster):
    s4 = cluster.sfu("s4", region="us")  # none but it when s2 is gone
    cluster.sfus.append(s4)
    connected(cluster, 2)

    async def go():
        members = await talking(cluster, "f")
        try:
            frozen = next(s for s in alive(cluster) if people(s))
            assert frozen is cluster.sfus[1]  # the region's own
            began = asyncio.get_running_loop().time()
            frozen.signal(signal.SIGSTOP)
            seconds = await back(members, began)
            print(f"media back after {seconds:.2f} s")
            assert seconds <= LEASE_S + 3 + BACK_S and people(s4) == 2
        finally:
            frozen.signal(signal.SIGKILL)
            for m in members:
                await m.leave()
    scene(go)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-s"]))

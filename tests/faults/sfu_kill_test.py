"""Media servers that register themselves: one that appears gets rooms; rooms of one that is killed, stopped
or frozen are on another, and its people hear each other again. Clients are aiortc's. SPDX-License-Identifier:
BSD-3-Clause
"""
import asyncio
import signal

import pytest

from aiortcworld import Mover, within
from faultworld import figure, say, sized
from nodesworld import LEASE_S, Nodes, until
from soridaemon import metric

BACK_S = 2  # the goal for a media server that is killed


@pytest.fixture(scope="module")
def cluster():
    with Nodes("eu-a", extra="[room]\njoins_per_10s = 0\n") as c:
        yield c


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


def busy(cluster):
    """The one that has people."""
    return next(s for s in alive(cluster) if people(s))


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
    asyncio.run(asyncio.wait_for(test(), sized(60, 240)))


def test_one_that_appears_gets_rooms_and_those_of_a_killed_one_move(cluster):
    cluster.sfus = [cluster.sfu("s1")]
    connected(cluster, 1)

    async def kill(members):
        loop = asyncio.get_running_loop()
        victim = busy(cluster)
        await loop.run_in_executor(None, connected, cluster, 2)
        for m in members:
            m.restarts.clear()
        began = loop.time()
        victim.process.kill()
        seconds = await back(members, began)
        say(f"media back after {seconds:.2f} s, told after {members[0].restarts[0][0] - began:.3f} s")
        assert [r for _, r in members[0].restarts] == ["sfu_lost"] and people(busy(cluster)) == 2
        return victim, seconds

    async def go():
        loop = asyncio.get_running_loop()
        members, took = await talking(cluster, "r"), []
        assert people(cluster.sfus[0]) == 2
        try:
            for _ in range(sized(2, 20)):
                name = "s2" if not took else victim.node
                cluster.sfus.append(await loop.run_in_executor(None, cluster.sfu, name))
                victim, seconds = await kill(members)
                took.append(seconds)
            figure("sfu_kill_media_back_s", max(took))
            assert max(took) <= BACK_S
        finally:
            for m in members:
                await m.leave()
    scene(go)


def test_one_that_drains_gets_no_room_and_leaves_the_list_when_it_ends(cluster):
    s3 = cluster.sfu("s3")
    cluster.sfus.append(s3)
    until(lambda: "s3" in cluster.registered("sfu"))
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
            frozen = busy(cluster)  # not s4: it is in another region
            assert frozen is not s4
            began = asyncio.get_running_loop().time()
            frozen.signal(signal.SIGSTOP)
            seconds = await back(members, began)
            figure("sfu_frozen_media_back_s", seconds)
            assert seconds <= LEASE_S + 3 + BACK_S and people(s4) == 2
        finally:
            frozen.signal(signal.SIGKILL)
            for m in members:
                await m.leave()
    scene(go)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-s"]))

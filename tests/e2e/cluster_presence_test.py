"""Presence of users on two nodes, and what it is while Redis is away. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import time

import pytest

from clusterworld import Cluster, ask_presence, presence_of, states
from soridaemon import metric


@pytest.fixture(scope="module")
def cluster():
    with Cluster("a", "b") as c:
        yield c


async def watching(cluster, node, user, whom, state):
    c = await cluster.join(node, user)
    m = await ask_presence(c, "subscribe", users=[whom])
    if states(m)[whom] != state:
        await presence_of(c, whom, state)
    return c


def test_users_of_two_nodes_see_each_other(cluster):
    async def scene():
        alice = await watching(cluster, "a", "alice", "bob", "offline")
        bob = await watching(cluster, "b", "bob", "alice", "online")
        await presence_of(alice, "bob", "online")
        await ask_presence(bob, "set", state="away")
        await presence_of(alice, "bob", "away")
        await bob.request("session.close")
        await presence_of(alice, "bob", "offline")
    asyncio.run(scene())


def test_a_device_that_comes_back_elsewhere_is_replaced_here(cluster):
    async def scene():
        old = await cluster.join("a", "carol", "phone")
        new = await cluster.join("b", "carol", "phone")
        assert await old.closed() == 4409
        await ask_presence(new, "set", state="online")
    asyncio.run(scene())


def test_without_redis_others_are_unknown_and_not_offline(cluster):
    async def scene():
        dan = await watching(cluster, "a", "dan", "eve", "offline")
        eve = await cluster.join("b", "eve")
        await presence_of(dan, "eve", "online")
        cluster.redis.stop()
        assert "Redis" in cluster.wait_ready("a", "ready, degraded: ")
        assert metric(cluster["a"].admin, "sori_redis_up") == 0
        await presence_of(dan, "eve", "unknown", 10)
        # Who is on this node is known all the same.
        fred = await watching(cluster, "a", "fred", "dan", "online")
        cluster.redis.start()
        back = time.monotonic()
        await presence_of(dan, "eve", "online", 10)
        assert time.monotonic() - back < 5
        cluster.wait_ready("a", "ready\n")
        assert metric(cluster["a"].admin, "sori_redis_up") == 1
        for c in (dan, eve, fred):
            await c.request("session.close")
    asyncio.run(scene())


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

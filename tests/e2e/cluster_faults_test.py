"""What calls between two nodes do while Redis is away. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import time

import pytest

from callscene import answer, connect, dial, ended, rings
from clusterworld import Cluster
from soridaemon import metric


@pytest.fixture(scope="module")
def cluster():
    with Cluster("a", "b") as c:
        yield c


async def up(cluster, where, caller, callee):
    """A call that is up, of users on nodes where[0] and where[1]."""
    x, y = await cluster.join(where[0], caller), await cluster.join(where[1], callee)
    call, m = await dial(x, callee)
    assert m["type"] == "call.invite", m
    await rings(y)
    await answer(y, call)
    await connect(x, y, call)
    return call, x, y


async def infos(x, y, call, n, begin=0):
    for i in range(begin, begin + n):
        await x.send("call.info", call, {"custom": i})


async def hear_infos(y, n, timeout=10):
    for i in range(n):
        m = await y.until("call.info", timeout)
        assert m["data"]["custom"] == i, m


def test_redis_dies_and_comes_back(cluster):
    async def scene():
        here, alice, anna = await up(cluster, "aa", "alice", "anna")
        over, carl, bob = await up(cluster, "ab", "carl", "bob")
        there, _, _ = await up(cluster, "ba", "hans", "ida")
        dora, emil = await cluster.join("a", "dora"), await cluster.join("a", "emil")
        cluster.redis.stop()
        # Calls of one node go on, and new ones are made at once.
        await infos(alice, anna, here, 3)
        await hear_infos(anna, 3)
        begin = time.monotonic()
        call, m = await dial(dora, "emil")
        assert m["type"] == "call.invite", m
        await rings(emil)
        await answer(emil, call)
        await dora.until("call.accepted")
        assert time.monotonic() - begin < 2
        # Who is elsewhere is not "unreachable".
        begin = time.monotonic()
        fay = await cluster.join("a", "fay")
        await fay.send("call.invite", "00000000-0000-4000-8000-000000000001",
                       {"offer": {"type": "offer", "sdp": "x"},
                        "metadata": {"timestamp": 1, "callId": "00000000-0000-4000-8000-000000000001",
                                     "isVideo": False}}, to="gus")
        m = await fay.until("error", 8)
        assert m["data"]["code"] == "store.unavailable" and m["data"]["retryable"], m
        assert time.monotonic() - begin < 7
        # A call that may be elsewhere is not "not found": that would end it for its client.
        ida = await cluster.join("a", "ida", "dev-2")
        await ida.send("call.sync", there)
        m = await ida.until("error", 8)
        assert m["data"]["code"] == "store.unavailable" and m["data"]["retryable"], m
        # What is said between the nodes meanwhile is late, not lost, and in order.
        await infos(carl, bob, over, 20)
        await infos(bob, carl, over, 20)
        await asyncio.sleep(0.3)
        await infos(carl, bob, over, 20, 20)
        await bob.send("call.hangup", over, {"reason": "hangup"})
        cluster.redis.start()
        back = time.monotonic()
        await hear_infos(bob, 40)
        await hear_infos(carl, 20)
        await ended(carl, over, "hangup", by="bob")
        assert time.monotonic() - back < 5
        await ida.send("call.sync", there)
        m = await ida.until("error", 8)
        assert m["data"]["code"] == "call.not_found", m  # its node can say: this device has no part in it
        # And calls between the nodes are made again.
        call, m = await dial(dora, "bob")
        assert m["data"].get("code") == "call.busy" or m["type"] == "call.invite", m
        gus = await cluster.join("b", "gus")
        call, m = await dial(fay, "gus")
        assert m["type"] == "call.invite", m
        await rings(gus)
        await answer(gus, call)
        await fay.until("call.accepted")
        assert time.monotonic() - back < 5
        assert metric(cluster["a"].admin, 'sori_bus_messages_total{what="dropped"}') == 0
    asyncio.run(scene())


def test_a_node_dies(cluster):
    async def scene():
        _, x, y = await up(cluster, "ab", "xaver", "yann")
        call, _, z = await up(cluster, "ba", "vera", "zoe")
        cluster.kill("b")
        begin = time.monotonic()
        # Whoever was there may come back: the other side is told so, in calls of this node and in those
        # that the dead one has run.
        for c in (x, z):
            while (await c.until("call.state", 10))["data"]["state"] != "reconnecting":
                pass
        assert time.monotonic() - begin < 8
        await z.request("call.hangup", call, {"reason": "hangup"})
        del y
    asyncio.run(scene())


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

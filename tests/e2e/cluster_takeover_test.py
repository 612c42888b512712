"""A node is killed: its calls go on at another one. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import time

import pytest

from callscene import answer, connect, dial, ended, rings, silent
from clusterworld import Cluster


@pytest.fixture
def cluster():
    with Cluster("a", "b", extra="[call]\nring_timeout = 12\n") as c:
        yield c


async def insist(client, *request):
    """Asks until the answer is not "try again"."""
    deadline = time.monotonic() + 10
    while True:
        m = await client.request(*request)
        if not m.get("data", {}).get("retryable"):
            return m
        assert time.monotonic() < deadline, m
        await asyncio.sleep(0.1)


async def move(cluster, client, node):
    """The device comes to another node, as sori.js does: with what it has to resume."""
    client.url = cluster[node].ws
    return await client.connect(client.resume(), close_timeout=0.1)


def test_an_established_call_goes_on(cluster):
    async def scene():
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        call, _ = await dial(alice, "bob")
        await rings(bob)
        await answer(bob, call)
        await connect(alice, bob, call)
        cluster.kill("a")
        killed = time.monotonic()
        await move(cluster, alice, "b")
        m = await insist(alice, "call.sync", call)
        assert m["data"]["state"] == "active" and m["data"]["peer"] == "bob", m
        assert time.monotonic() - killed < 8
        await alice.send("call.info", call, {"custom": 1})
        assert (await bob.until("call.info"))["data"]["custom"] == 1
        await bob.request("call.hangup", call, {"reason": "hangup"})
        await ended(alice, call, "hangup", by="bob")
    asyncio.run(scene())


def test_a_ringing_call_goes_on_and_its_deadline_holds(cluster):
    async def scene():
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        carl, dora = await cluster.join("a", "carl"), await cluster.join("b", "dora")
        call, _ = await dial(alice, "bob")
        late, _ = await dial(carl, "dora")
        began = time.monotonic()
        await rings(bob, call=call)
        await rings(dora, call=late)
        cluster.kill("a")
        await move(cluster, alice, "b")
        await move(cluster, carl, "b")
        m = await insist(bob, "call.answer", call, {"answer": {"type": "answer", "sdp": "x"}})
        assert m["type"] == "call.answer", m
        m = await alice.until("call.accepted")
        assert m["from"] == "bob", m
        m = await carl.until("call.ended", 15)
        assert m["data"]["reason"] == "timeout", m
        assert 11 < time.monotonic() - began < 14
        await ended(dora, late, "timeout", missed=True)
        await silent(dora, 0.1)
    asyncio.run(scene())


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

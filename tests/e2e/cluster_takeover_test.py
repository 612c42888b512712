"""A node is killed: its calls go on at another one. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import time

import pytest

from callscene import answer, connect, dial, ended, rings, silent
from clusterworld import Cluster, ask_presence, presence_of


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


def test_a_session_goes_on_with_all_that_it_has_missed(cluster):
    async def scene():
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        await ask_presence(alice, "subscribe", users=["carol"])
        call, _ = await dial(alice, "bob")
        await rings(bob)
        await answer(bob, call)
        await connect(alice, bob, call)
        await alice.send("call.info", call, {"custom": "here"})
        assert (await bob.until("call.info"))["data"]["custom"] == "here"
        for i in range(5):  # they come to alice's node, but not to her
            await bob.send("call.info", call, {"custom": i})
        await bob.request("call.sync", call)
        cluster.kill("a")
        d = await move(cluster, alice, "b")
        assert d["resumed"] and d["lastSeq"] == alice.seq, (d, alice.seq)
        for i in range(5):
            m = await alice.until("call.info")
            assert m["data"]["custom"] == i, m
        for i in range(5, 8):  # and goes on
            m = await insist(bob, "call.sync", call)
            await bob.send("call.info", call, {"custom": i})
            assert (await alice.until("call.info"))["data"]["custom"] == i
        carol = await cluster.join("b", "carol")
        await presence_of(alice, "carol", "online")
        del carol
    asyncio.run(scene())


def test_of_two_nodes_the_last_has_the_session(cluster):
    async def scene():
        alice = await cluster.join("a", "alice")
        before, token = alice.socket, alice.resume()
        d = await move(cluster, alice, "b")
        assert d["resumed"]
        alice.socket, after = before, alice.socket
        assert await alice.closed() == 4409
        alice.socket = after
        assert (await alice.request("call.sync", "00000000-0000-4000-8000-000000000001"))["data"]["code"] == "call.not_found"
        thief = await cluster.join("a", "mallory")
        thief.user = "alice"
        thief.welcome["data"].update(sessionId=token["sessionId"], resumeToken="AAAAAAAAAAAAAAAAAAAAAA")
        d = await move(cluster, thief, "a")
        assert not d["resumed"]
    asyncio.run(scene())


def test_an_established_call_goes_on(cluster):
    async def scene():
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        call, _ = await dial(alice, "bob")
        await rings(bob)
        await answer(bob, call)
        await connect(alice, bob, call)
        cluster.kill("a")
        killed = time.monotonic()
        d = await move(cluster, alice, "b")
        assert d["resumed"]
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

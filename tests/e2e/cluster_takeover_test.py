"""A node is killed: its calls go on at another one. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import signal
import time

import pytest

from callscene import answer, connect, dial, ended, rings, silent
from clusterworld import Cluster, ask_presence, presence_of


@pytest.fixture(scope="module")
def cluster():
    with Cluster("a", "b", extra="[call]\nring_timeout = 8\n") as c:
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


def test_somebody_whose_node_has_died_is_waited_for():
    """Offline for those who look, but about to be elsewhere: an invite is not refused at once."""
    async def scene(cluster):
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        await ask_presence(alice, "subscribe", users=["bob"])
        cluster.kill("b")
        await presence_of(alice, "bob", "offline")
        dialing = asyncio.ensure_future(dial(alice, "bob"))
        done, _ = await asyncio.wait({dialing}, timeout=0.5)
        assert not done
        await move(cluster, bob, "a")
        call, _ = await dialing
        await rings(bob, call=call)
    with Cluster("a", "b") as c:
        asyncio.run(scene(c))


def test_a_node_that_is_stopped_hands_its_calls_over():
    """It gives its lease back, so nobody waits for its end."""
    async def scene(cluster):
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        carl, dora = await cluster.join("a", "carl"), await cluster.join("b", "dora")
        up, _ = await dial(alice, "bob")
        await rings(bob)
        await answer(bob, up)
        await connect(alice, bob, up)
        late, _ = await dial(carl, "dora")
        await rings(dora, call=late)
        await asyncio.to_thread(cluster.leave, "a")
        left = time.monotonic()
        for c in (alice, carl):
            assert (await move(cluster, c, "b"))["resumed"]
        m = await insist(alice, "call.sync", up)
        assert m["data"]["state"] == "active" and m["data"]["peer"] == "bob", m
        assert time.monotonic() - left < 5
        await alice.send("call.info", up, {"custom": 1})
        assert (await bob.until("call.info"))["data"]["custom"] == 1
        await answer(dora, late)
        await carl.until("call.accepted")
    with Cluster("a", "b", lease_s=30) as c:
        asyncio.run(scene(c))


def test_a_node_that_was_only_frozen_has_lost_its_calls_and_who_has_left_it(cluster):
    """The answers to its own writes tell it."""
    async def scene():
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        carl = await cluster.join("a", "carl")
        up, _ = await dial(alice, "bob")
        await rings(bob)
        await answer(bob, up)
        await connect(alice, bob, up)
        process = cluster["a"].d.process
        process.send_signal(signal.SIGSTOP)
        try:
            before, after = carl.socket, await move(cluster, carl, "b")
            assert after["resumed"]
            key = next(k for k in cluster.redis.do("KEYS", "sori:calls:*") if b" a}" in k)
            deadline = time.monotonic() + 10
            while f">{up}".encode() not in cluster.redis.do("HKEYS", key):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        finally:
            process.send_signal(signal.SIGCONT)
        carl.socket = before
        assert await carl.closed() == 4409
        m = await insist(alice, "call.sync", up)  # as a guest of the other node
        assert m["data"]["state"] in ("active", "reconnecting") and m["data"]["peer"] == "bob", m
        await bob.send("call.info", up, {"custom": 1})
        assert (await alice.until("call.info"))["data"]["custom"] == 1
        await alice.send("call.info", up, {"custom": 2})
        assert (await bob.until("call.info"))["data"]["custom"] == 2
        assert (await bob.request("call.hangup", up))["type"] == "call.hangup"
        await ended(alice, up, "hangup")
        assert cluster.redis.do("HKEYS", key) == [f">{up}".encode()]
    asyncio.run(scene())


def test_what_a_node_has_run_goes_on_when_it_is_killed(cluster):
    async def scene():
        alice, bob = await cluster.join("a", "alice"), await cluster.join("b", "bob")
        carl, dora = await cluster.join("a", "carl"), await cluster.join("b", "dora")
        eve, fay = await cluster.join("a", "eve"), await cluster.join("b", "fay")
        await ask_presence(alice, "subscribe", users=["gus"])
        up, _ = await dial(alice, "bob")
        await rings(bob)
        await answer(bob, up)
        await connect(alice, bob, up)
        await alice.send("call.info", up, {"custom": "here"})
        assert (await bob.until("call.info"))["data"]["custom"] == "here"
        late, _ = await dial(carl, "dora")
        began = time.monotonic()
        call, _ = await dial(eve, "fay")
        await rings(dora, call=late)
        await rings(fay, call=call)
        for i in range(5):  # they come to alice's node, but not to her
            await bob.send("call.info", up, {"custom": i})
        await bob.request("call.sync", up)
        cluster.kill("a")
        killed = time.monotonic()
        for c in (alice, carl, eve):
            d = await move(cluster, c, "b")
            assert d["resumed"] and d["lastSeq"] == c.seq, (d, c.seq)

        # An established call: nothing is lost, nothing comes twice, both talk on.
        for i in range(5):
            m = await alice.until("call.info")
            assert m["data"]["custom"] == i, m
        m = await insist(alice, "call.sync", up)
        assert m["data"]["state"] == "active" and m["data"]["peer"] == "bob", m
        assert time.monotonic() - killed < 6
        await alice.send("call.info", up, {"custom": 5})
        assert (await bob.until("call.info"))["data"]["custom"] == 5
        gus = await cluster.join("b", "gus")
        await presence_of(alice, "gus", "online")
        await bob.request("call.hangup", up, {"reason": "hangup"})
        await ended(alice, up, "hangup", by="bob")

        # Calls that ring: one is answered, the other's deadline holds.
        m = await insist(fay, "call.answer", call, {"answer": {"type": "answer", "sdp": "x"}})
        assert m["type"] == "call.answer", m
        assert (await eve.until("call.accepted"))["from"] == "fay"
        m = await carl.until("call.ended", 15)
        assert m["data"]["reason"] == "timeout", m
        assert 7 < time.monotonic() - began < 10
        await ended(dora, late, "timeout", missed=True)
        await silent(dora, 0.1)
        del gus
    asyncio.run(scene())


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

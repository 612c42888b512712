"""Calls between users of two nodes: two servers, one Redis. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio

import pytest

from callscene import answer, candidates, connect, dial, ended, invite, number_of, rings, silent
from clusterworld import Cluster


@pytest.fixture(scope="module")
def cluster():
    with Cluster("a", "b", extra="[call]\nring_timeout = 5\nconnect_timeout = 5\n") as c:
        yield c


users = iter(range(10 ** 6))


def scene(play):
    """A test of clients that it makes by join(node, device): users of a pair of names of its own."""
    def test(cluster):
        async def run():
            n = next(users)
            alice, bob = f"alice{n}", f"bob{n}"

            async def join(node, user=None, device="dev-1"):
                c = await cluster.join(node, {"alice": alice, "bob": bob}.get(user, user), device)
                made.append(c)
                return c

            made = []
            await play(join, bob)
            for c in made:
                await c.socket.close()
        asyncio.run(run())
    return test


async def pair(join):
    return await join("a", "alice"), await join("b", "bob")


@scene
async def test_answer_and_hang_up_by_the_caller(join, bob):
    caller, callee = await pair(join)
    call, reply = await dial(caller, bob)
    assert reply["data"]["devices"] == {"online": 1, "pushed": 0}, reply
    await rings(callee, call=call)
    m = await caller.until("call.ringing")
    assert m["from"] == bob
    reply = await answer(callee, call)
    assert reply["data"]["iceServers"], reply
    m = await caller.until("call.accepted")
    assert m["from"] == bob and m["fromDevice"] == "dev-1", m
    await connect(caller, callee, call)
    reply = await caller.request("call.hangup", call, {"reason": "hangup"})
    assert reply["data"]["durationMs"] >= 0
    await ended(callee, call, "hangup", by=caller.user)


@scene
async def test_hang_up_by_the_callee(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob)
    await rings(callee)
    await answer(callee, call)
    await connect(caller, callee, call)
    await callee.request("call.hangup", call, {"reason": "hangup"})
    await ended(caller, call, "hangup", by=bob)
    m = await callee.request("call.hangup", call, {"reason": "hangup"})
    assert m["data"]["code"] == "call.ended", m


@scene
async def test_decline(join, bob):
    caller, callee = await pair(join)
    other = await join("a", "bob", "tablet")
    call, reply = await dial(caller, bob)
    assert reply["data"]["devices"]["online"] == 2
    await rings(callee, other)
    await callee.request("call.reject", call, {"scope": "all", "reason": "declined"})
    await ended(caller, call, "declined")
    await ended(other, call, "declined_elsewhere")


@scene
async def test_cancel_reaches_every_device(join, bob):
    caller, callee = await pair(join)
    others = [await join("a", "bob", "tablet"), await join("b", "bob", "desk")]
    call, _ = await dial(caller, bob)
    await rings(callee, *others)
    await caller.request("call.cancel", call)
    for c in (callee, *others):
        await ended(c, call, "cancelled", missed=True)
        await silent(c, 0.1)


@scene
async def test_nobody_answers(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob, ringTimeoutMs=5000)
    await rings(callee)
    await caller.until("call.ringing")
    m = await caller.until("call.ended", 8)
    assert m["data"]["reason"] == "timeout", m
    await ended(callee, call, "timeout", missed=True)


@scene
async def test_answered_elsewhere(join, bob):
    caller, callee = await pair(join)
    near = await join("a", "bob", "tablet")
    call, _ = await dial(caller, bob)
    await rings(callee, near)
    await answer(near, call)
    await ended(callee, call, "answered_elsewhere", deviceId="tablet")
    m = await callee.request("call.answer", call, {"answer": {"type": "answer", "sdp": "x"}})
    assert m["data"]["code"] == "call.already_answered", m
    await caller.until("call.accepted")


@scene
async def test_of_two_answers_at_once_one_wins(join, bob):
    caller, callee = await pair(join)
    near = await join("a", "bob", "tablet")
    for _ in range(10):
        call, _ = await dial(caller, bob)
        await rings(callee, near)
        both = await asyncio.gather(*(c.request("call.answer", call, {"answer": {"type": "answer", "sdp": c.device}})
                                      for c in (callee, near)))
        codes = [m["data"].get("code", "won") for m in both]
        assert sorted(codes) == ["call.already_answered", "won"], both
        winner = (callee, near)[codes.index("won")]
        m = await caller.until("call.accepted")
        assert m["fromDevice"] == winner.device and m["data"]["answer"]["sdp"] == winner.device, m
        await winner.request("call.hangup", call, {"reason": "hangup"})
        await ended(caller, call, "hangup")


@scene
async def test_candidates_come_in_order_and_none_of_the_callee_before_its_answer(join, bob):
    caller, callee = await pair(join)
    n = 40
    call = "00000000-0000-4000-8000-%012x" % next(users)
    await caller.send("call.invite", call, invite(call), to=bob)
    for i in range(n):  # without a wait: the call is not even made yet
        await caller.send("call.candidates", call, candidates(i))
    await callee.until("call.incoming")
    for i in range(n):
        assert number_of(await callee.until("call.candidates")) == i
    for i in range(n):
        await callee.send("call.candidates", call, candidates(1000 + i))
    await callee.request("call.ringing", call)
    await caller.until("call.ringing")
    await silent(caller, 0.1)  # nothing of the callee
    await answer(callee, call)
    await caller.until("call.accepted")
    for i in range(n):
        assert number_of(await caller.until("call.candidates")) == 1000 + i


@scene
async def test_renegotiation_and_info_go_both_ways(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob)
    await rings(callee)
    await answer(callee, call)
    await connect(caller, callee, call)
    for x, y in ((caller, callee), (callee, caller)):
        await x.send("call.info", call, {"audioMuted": True})
        assert (await y.until("call.info"))["data"]["audioMuted"] is True
        offer = {"description": {"type": "offer", "sdp": "v=0\r\n"}, "negotiationId": f"n-{x.user}"}
        m = await x.request("call.negotiate", call, offer)
        assert m["type"] == "call.negotiate", m
        await y.until("call.negotiate")
        m = await y.request("call.negotiate", call, {"description": {"type": "answer", "sdp": "v=0\r\n"},
                                                     "negotiationId": f"n-{x.user}"})
        assert m["type"] == "call.negotiate", m
        await x.until("call.negotiate")
    m = await callee.request("call.sync", call)
    assert m["data"]["state"] == "active" and m["data"]["peer"] == caller.user, m


@scene
async def test_busy_with_a_call_of_another_node(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob)
    await rings(callee)
    await answer(callee, call)
    third = await join("b", "carol")
    _, m = await dial(third, bob)
    assert m["data"]["code"] == "call.busy", m
    _, m = await dial(third, caller.user)
    assert m["data"]["code"] == "call.busy", m
    await callee.request("call.hangup", call, {"reason": "hangup"})
    await ended(caller, call, "hangup")
    second, m = await dial(third, bob)
    assert m["type"] == "call.invite", m
    await rings(callee, call=second)


@scene
async def test_two_who_call_each_other_at_once_get_one_call(join, bob):
    caller, callee = await pair(join)
    for _ in range(10):
        (c1, r1), (c2, r2) = await asyncio.gather(dial(caller, bob), dial(callee, caller.user))
        glares = [r["data"].get("glare") or r["data"].get("mergedInto") for r in (r1, r2)]
        merged = [r for r in (r1, r2) if "offer" in r["data"]]
        assert len(merged) == 1, (r1, r2, glares)
        late = callee if merged[0] is r2 else caller
        first, call = (caller, c1) if late is callee else (callee, c2)
        m = await late.request("call.answer", call, {"answer": {"type": "answer", "sdp": "x"}})
        assert m["type"] == "call.answer", m
        await first.until("call.accepted")
        await late.request("call.hangup", call, {"reason": "hangup"})
        await ended(first, call, "hangup")


@scene
async def test_a_device_that_comes_while_it_rings_rings_too(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob)
    await rings(callee)
    late = await join("b", "bob", "tablet")
    await rings(late, call=call)
    await answer(late, call)
    await ended(callee, call, "answered_elsewhere", deviceId="tablet")
    await caller.until("call.accepted")


@scene
async def test_a_callee_whose_socket_breaks_resumes_and_goes_on(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob)
    await rings(callee)
    await answer(callee, call)
    await connect(caller, callee, call)
    await callee.socket.close()
    while (await caller.until("call.state"))["data"]["state"] != "reconnecting":
        pass
    d = await callee.connect(callee.resume(), close_timeout=0.1)
    assert d["resumed"]
    while (await caller.until("call.state"))["data"]["state"] != "active":
        pass
    await callee.request("session.close")
    await ended(caller, call, "hangup")


@scene
async def test_dialing_once_more_replaces_the_call(join, bob):
    caller, callee = await pair(join)
    call, _ = await dial(caller, bob)
    await rings(callee)
    await answer(callee, call)
    await connect(caller, callee, call)
    again, m = await dial(callee, caller.user)
    assert m["type"] == "call.invite", m
    await ended(caller, call, "superseded")
    await rings(caller, call=again)


def test_calls_that_are_over_cost_nothing(cluster):
    async def calls():
        x, y = await cluster.join("a", "xena"), await cluster.join("b", "yves")
        said = []
        for _ in range(13):  # few enough for the limit of messages
            call, _ = await dial(x, "yves")
            await rings(y, call=call)
            await answer(y, call)
            await connect(x, y, call)
            await x.request("call.hangup", call, {"reason": "hangup"})
            await ended(y, call, "hangup")
            stats = cluster.redis.do("INFO", "commandstats").decode()
            said.append(int(stats.split("cmdstat_spublish:calls=")[1].split(",")[0]))
        return [b - a for a, b in zip(said, said[1:])]

    costs = asyncio.run(calls())  # messages of each call between the nodes, and what acknowledges them
    assert costs[-1] < 1.5 * costs[0], costs


@scene
async def test_nobody_there(join, bob):
    caller = await join("a", "alice")
    _, m = await dial(caller, bob)
    assert m["data"]["code"] == "callee.unreachable", m
    m = await caller.request("call.sync", "00000000-0000-4000-8000-00000000abcd")
    assert m["data"]["code"] == "call.not_found", m


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

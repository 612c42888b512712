"""The node that runs a room dies, or its Redis does: who is at other nodes stays. SPDX-License-Identifier:
BSD-3-Clause"""
import asyncio
import signal

import pytest

from clusterroom import LOOP, Scene, World
from roomscene import BOTH, Member, code
from soridaemon import metric


def scene(*names, extra=""):
    def wrap(play):
        def test():
            async def run(w):
                s = Scene(w)
                try:
                    await play(s)
                finally:
                    for m in s.made:
                        if m.socket:
                            await m.socket.close()
            with World(*names, extra=extra) as w:
                LOOP.run_until_complete(run(w))
        return test
    return wrap


async def taken_over(s, by, timeout=8):
    """Waits until one of these nodes runs the room, and gives it."""
    async def wait():
        while s.runner() not in by:
            await asyncio.sleep(0.02)
        return s.runner()
    return await asyncio.wait_for(wait(), timeout)


@scene("a", "b", "c")
async def test_the_node_of_the_room_dies(s):
    alice, bob = await s.pair()
    carol = await s.join("c", "carol")
    await s.ask(alice, "update", {"metadata": {"hand": True}})
    s.cluster.kill("a")
    waits = await bob.send("room.update", data={"metadata": {"n": 1}}, roomId=s.room)
    now = await taken_over(s, "bc")
    for m in (bob, carol):
        d = await m.told("room.state")
        assert d["full"] is True, d
    assert (await bob.until(waits))["type"] == "room.update"  # the next node has done it
    r = await s.ask(carol, "sync")
    people = {p["user"]: p for p in r["data"]["participants"]}
    assert set(people) == {alice.user, bob.user}, r
    assert people[alice.user]["state"] == "reconnecting" and people[alice.user]["metadata"] == {"hand": True}, people
    assert len(people[alice.user]["tracks"]) == 2 and people[bob.user]["metadata"] == {"n": 1}, people
    # media goes on where it was
    adopt = await s.sfu.requested("adopt")
    assert adopt["room"] == s.room and adopt["from"] == "a", adopt
    assert set(s.sfu.peers[now].rooms[s.room]) == {alice.id, bob.id, carol.id}
    assert metric(s.cluster[now].admin, "sori_rooms_taken_total") == 1
    # who was at the dead node resumes at another one, into the same seat
    alice.url = s.cluster["b"].ws
    d = await alice.connect(alice.resume(), close_timeout=0.1)
    assert d["resumed"], d
    d = await alice.told("room.state")
    assert {p["user"] for p in d["participants"]} == {bob.user, carol.user} and len(d["tracks"]) == 2, d
    while (await bob.told("room.participant", "connected"))["participant"]["participantId"] != alice.id:
        pass
    track = alice.data["tracks"][0]["trackId"]
    assert code(await s.ask(alice, "mute", {"trackId": track, "muted": True})) is None
    assert (await bob.told("room.track", "muted"))["track"]["trackId"] == track
    assert (await carol.told("room.track", "muted"))["track"]["trackId"] == track
    await s.ask(bob, "leave")
    assert (await alice.told("room.participant", "left"))["participant"]["user"] == bob.user


@scene("a", "b")
async def test_everybody_was_at_the_dead_node(s):
    alice, anna = await s.join("a", "alice", tracks=BOTH), await s.join("a", "anna")
    s.cluster.kill("a")
    await asyncio.sleep(0.1)
    for m in (alice, anna):
        m.url = s.cluster["b"].ws
        assert (await m.connect(m.resume(), close_timeout=0.1))["resumed"]
    assert (await alice.told("room.state", timeout=10))["full"]
    await s.ask(alice, "update", {"metadata": {"n": 1}})
    while (await anna.told("room.participant", "updated"))["participant"].get("metadata") != {"n": 1}:
        pass
    assert s.runner() == "b" and set(s.sfu.peers["b"].rooms[s.room]) == {alice.id, anna.id}


@scene("a", "b", "c")
async def test_the_node_of_a_guest_dies(s):
    alice, bob = await s.pair()
    s.cluster.kill("b")
    d = await alice.told("room.participant", "reconnecting", timeout=8)
    assert d["participant"]["participantId"] == bob.id, d
    await s.ask(alice, "update", {"metadata": {"n": 1}})
    bob.url = s.cluster["c"].ws
    assert (await bob.connect(bob.resume(), close_timeout=0.1))["resumed"]
    assert (await bob.told("room.state"))["participants"][0]["metadata"] == {"n": 1}
    d = await alice.told("room.participant", "connected")
    assert d["participant"]["participantId"] == bob.id and s.runner() == "a"


@scene("a", "b")
async def test_a_node_that_was_only_frozen_has_lost_its_rooms(s):
    alice, bob = await s.pair()
    process = s.cluster["a"].d.process
    process.send_signal(signal.SIGSTOP)
    try:
        await taken_over(s, "b")
        assert (await bob.told("room.state"))["full"]
    finally:
        process.send_signal(signal.SIGCONT)
    assert (await alice.told("room.state", timeout=8))["full"]  # its people are guests of the other now
    assert not [m for m in s.sfu.log if m["t"] == "close_room"]  # it may come before the other one has asked for it
    await s.ask(alice, "update", {"metadata": {"n": 1}})
    while (await bob.told("room.participant", "updated"))["participant"].get("metadata") != {"n": 1}:
        pass
    await s.ask(bob, "leave")
    assert (await alice.told("room.participant", "left"))["participant"]["participantId"] == bob.id
    assert s.runner() == "b"
    assert (await s.sfu.requested("close_room", 12))["room"] == s.room  # nobody asks for it any more


@scene("a", "b")
async def test_a_node_that_stops_leaves_its_rooms_to_others_at_once(s):
    alice, bob = await s.pair()
    began = asyncio.get_running_loop().time()
    s.cluster["a"].d.process.send_signal(signal.SIGTERM)
    alice.url = s.cluster["b"].ws
    await alice.socket.wait_closed()
    assert (await alice.connect(alice.resume(), close_timeout=0.1))["resumed"]
    await taken_over(s, "b")
    assert asyncio.get_running_loop().time() - began < 6
    assert (await bob.told("room.state"))["full"]
    await s.ask(alice, "update", {"metadata": {"n": 1}})
    while (await bob.told("room.participant", "updated"))["participant"].get("metadata") != {"n": 1}:
        pass


@scene("a", "b")
async def test_redis_is_away(s):
    alice, bob = await s.pair()
    s.cluster.redis.stop()
    began = asyncio.get_running_loop().time()
    dora = Member(s.cluster["a"].ws, "dora")
    await dora.connect(close_timeout=0.1)
    s.made.append(dora)
    # the room goes on, and at its node people come
    assert (await dora.join(s.room))["type"] == "room.join"
    assert (await alice.told("room.participant", "joined"))["participant"]["user"] == "dora"
    # of another room it cannot be told now whose it is
    assert code(await dora.join("another")) == "store.unavailable"
    assert asyncio.get_running_loop().time() - began < 7
    # what is said to the other node is late, not lost
    asked = await bob.send("room.update", data={"metadata": {"n": 1}}, roomId=s.room)
    await asyncio.sleep(0.2)
    s.cluster.redis.start()
    seen = [(await bob.told("room.participant", "joined"))["participant"]["user"]]
    assert seen == ["dora"] and (await bob.until(asked))["type"] == "room.update"
    while (await alice.told("room.participant", "updated"))["participant"].get("metadata") != {"n": 1}:
        pass
    assert s.runner() == "a"  # it is written again: Redis came back empty
    assert (await dora.join("another"))["type"] == "room.join"


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

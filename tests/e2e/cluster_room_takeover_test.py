"""The node that runs a room dies, or its Redis does: who is at other nodes stays. SPDX-License-Identifier:
BSD-3-Clause"""
import asyncio

import pytest

from cluster_rooms_test import LOOP, Scene, World
from roomscene import BOTH, code


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


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

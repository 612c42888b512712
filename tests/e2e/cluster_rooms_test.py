"""Rooms whose people are on several nodes: servers around one Redis, and a scripted SFU that all of them use.
SPDX-License-Identifier: BSD-3-Clause"""
import asyncio

import pytest

from callscene import answer, connect, dial, rings, silent
from clusterroom import LOOP, Scene, World
from roomscene import BOTH, MIC, code


@pytest.fixture(scope="module")
def world():
    with World("a", "b", "c") as w:
        yield w


def scene(play):
    def test(world):
        async def run():
            s = Scene(world)
            try:
                await play(s)
            finally:
                for m in s.made:
                    if m.socket:
                        await m.socket.close()
        LOOP.run_until_complete(run())
    return test


@scene
async def test_people_of_two_nodes_are_in_one_room(s):
    alice, bob = await s.pair()
    assert s.runner() == "a"
    assert alice.data["participants"] == []
    (p,) = bob.data["participants"]
    assert p["participantId"] == alice.id and p["user"] == alice.user and len(p["tracks"]) == 2, p
    assert bob.data["iceServers"] and bob.data["answer"]["sdp"], bob.data
    track = bob.data["tracks"][0]["trackId"]
    assert track == bob.id + ":0"
    r = await s.ask(bob, "sync")
    assert [p["participantId"] for p in r["data"]["participants"]] == [alice.id] and r["data"]["full"] is True, r
    carol = await s.join("c", "carol")
    for m in (alice, bob):
        assert (await m.told("room.participant", "joined"))["participant"]["user"] == carol.user
    assert {p["user"] for p in carol.data["participants"]} == {alice.user, bob.user}
    assert s.guests("b") == (1, 1) and s.guests("a") == (0, 0)
    await s.ask(bob, "leave")
    assert s.guests("b") == (0, 0) and s.guests("c") == (1, 1)
    for m in (alice, carol):
        left = await m.told("room.participant", "left")
        assert left["participant"]["participantId"] == bob.id and left["reason"] == "left", left
    assert code(await s.ask(bob, "sync")) == "room.not_found"


@scene
async def test_tracks_come_and_go_across_nodes(s):
    alice, bob = await s.pair()
    bea = await s.join("b", "bea")
    r = await s.ask(bob, "offer", {"offer": {"type": "offer", "sdp": "v=0"}, "tracks": BOTH})
    assert len(r["data"]["tracks"]) == 2, r
    track = (await alice.told("room.track", "published"))["track"]
    assert track["kind"] == "video" and track["trackId"].startswith(bob.id), track
    r = await s.ask(alice, "subscribe", {"tracks": [{"trackId": track["trackId"], "wanted": True}]})
    assert r["data"]["slots"], r
    r = await s.ask(bob, "subscribe", {"tracks": [{"trackId": alice.data["tracks"][1]["trackId"], "wanted": True}]})
    assert {"mid": "v", "trackId": alice.data["tracks"][1]["trackId"], "participantId": alice.id}.items() <= \
        r["data"]["slots"][1].items(), r
    await bob.send("room.mute", data={"trackId": track["trackId"], "muted": True}, roomId=s.room)
    asked = await bob.send("room.sync", roomId=s.room)
    while (m := await bob.next()).get("re") != asked:
        assert m["type"] != "room.track", m  # it was his own doing
    assert (await bea.told("room.track", "muted"))["track"]["trackId"] == track["trackId"]
    assert (await alice.told("room.track", "muted"))["track"]["trackId"] == track["trackId"]
    await s.ask(bob, "unpublish", {"trackId": track["trackId"]})
    assert (await alice.told("room.track", "unpublished"))["track"]["trackId"] == track["trackId"]
    assert code(await s.ask(bob, "unpublish", {"trackId": track["trackId"]})) == "room.track_not_found"

@scene
async def test_mute_kick_and_close_by_an_admin_of_another_node(s):
    alice, bob = await s.pair()
    boss = await s.join("c", "boss", roomPerms={"admin": True})
    track = alice.data["tracks"][0]["trackId"]
    assert code(await s.ask(bob, "mute", {"trackId": track, "muted": True})) == "room.forbidden"
    assert code(await s.ask(boss, "mute", {"trackId": track, "muted": True})) is None
    for m in (alice, bob):
        d = await m.told("room.track", "muted")
        assert d["track"]["trackId"] == track and d["by"] == boss.id, d
    mute = await s.sfu.requested("mute")
    assert mute["track"] == track and mute["forced"] is True
    r = await s.ask(boss, "update", {"participantId": bob.id, "role": "viewer"})
    assert r["data"]["participant"]["role"] == "viewer", r
    d = await bob.told("room.participant", "updated")
    assert d["permissions"]["publish"] is False, d
    await s.ask(bob, "update", {"metadata": {"hand": True}})
    while (await alice.told("room.participant", "updated"))["participant"].get("metadata") != {"hand": True}:
        pass
    assert code(await s.ask(boss, "kick", {"participantId": bob.id, "ban": True})) is None
    assert (await bob.told("room.closed"))["reason"] == "banned"
    assert (await alice.told("room.participant", "left"))["reason"] == "banned"
    assert code(await s.ask(bob, "sync")) == "room.not_found"
    assert code(await bob.join(s.room)) == "room.forbidden"
    assert code(await s.ask(boss, "close")) is None
    assert (await alice.told("room.closed"))["reason"] == "closed"
    await s.over()
    again = await s.join("b", "dora")  # a room of that name is made anew, wherever somebody comes
    assert s.runner() == "b" and again.data["participants"] == []


@scene
async def test_rights_are_those_of_the_token(s):
    await s.join("a", "alice")
    bound = await s.come("b", "bound", room="elsewhere", roomPerms={"publish": True})
    assert code(await bound.join(s.room)) == "room.forbidden"
    mute = await s.come("b", "mute", roomPerms={"publish": False})
    assert code(await mute.join(s.room)) == "room.forbidden"
    r = await mute.join(s.room, [])
    assert r["data"]["role"] == "viewer" and r["data"]["permissions"]["publish"] is False, r
    assert code(await s.ask(mute, "offer", {"offer": {"type": "offer", "sdp": "v=0"}, "tracks": MIC})) == \
        "room.forbidden"


@scene
async def test_speakers_layers_and_negotiation_reach_whom_they_are_for(s):
    alice, bob = await s.pair()
    peer = s.sfu.peers["a"]
    await s.sfu.event("speakers", peer=peer, room=s.room, dominant=alice.id,
                      speakers=[{"participant": alice.id, "level": 20}])
    for m in (alice, bob):
        d = await m.told("room.speakers")
        assert d == {"dominant": alice.id, "speakers": [{"participantId": alice.id, "level": 20}]}, d
    await s.sfu.event("quality", peer=peer, room=s.room,
                      participants=[{"participant": bob.id, "score": 4, "mos": 410}])
    for m in (alice, bob):
        assert (await m.told("room.quality"))["participants"][0]["participantId"] == bob.id
    await s.sfu.event("layers", peer=peer, room=s.room, participant=bob.id, mid="v", pause="bandwidth")
    d = await bob.told("room.layers")
    assert d["mid"] == "v" and d["paused"] and d["reason"] == "bandwidth", d
    await s.sfu.event("negotiate", peer=peer, room=s.room, participant=bob.id, reason="need_slots", needAudio=1,
                      needVideo=2)
    assert (await bob.told("room.negotiate"))["need"] == {"audio": 1, "video": 2}
    await s.sfu.event("slots", peer=peer, room=s.room, participant=bob.id,
                      slots=[{"mid": "a", "track": alice.id + ":0", "participant": alice.id}])
    assert (await bob.told("room.slots"))["slots"] == [
        {"mid": "a", "trackId": alice.id + ":0", "participantId": alice.id}]


@scene
async def test_a_socket_that_breaks_and_comes_back(s):
    alice, bob = await s.pair()
    await bob.socket.close()
    d = await alice.told("room.participant", "reconnecting")
    assert d["participant"]["participantId"] == bob.id
    await s.ask(alice, "update", {"metadata": {"n": 1}})
    assert (await bob.connect(bob.resume(), close_timeout=0.1))["resumed"]
    d = await bob.told("room.state")
    assert d["full"] is True and d["participants"][0]["metadata"] == {"n": 1}, d
    await alice.told("room.participant", "connected")
    await bob.request("session.close")
    assert (await alice.told("room.participant", "left"))["reason"] == "left"


@scene
async def test_a_session_moves_to_another_node_with_its_seat(s):
    alice, bob = await s.pair()
    for node in "cab":  # a third one, the one that runs the room, and back again
        bob.url = s.cluster[node].ws
        d = await bob.connect(bob.resume(), close_timeout=0.1)
        assert d["resumed"], d
        d = await bob.told("room.state")
        assert d["full"] is True and d["participants"][0]["participantId"] == alice.id, d
        await s.ask(bob, "update", {"metadata": {"at": node}})
        while (await alice.told("room.participant", "updated"))["participant"].get("metadata") != {"at": node}:
            pass
        await s.ask(alice, "update", {"metadata": {"seen": node}})
        assert (await bob.told("room.participant", "updated"))["participant"]["metadata"] == {"seen": node}
    # so does that of whoever is where the room is run
    alice.url = s.cluster["c"].ws
    assert (await alice.connect(alice.resume(), close_timeout=0.1))["resumed"]
    assert (await alice.told("room.state"))["full"]
    await s.ask(alice, "leave")
    while (await bob.told("room.participant", "left"))["participant"]["participantId"] != alice.id:
        pass


@scene
async def test_who_does_not_keep_up_is_told_by_room_state(s):
    alice, bob = await s.pair()
    peer, seq = s.sfu.peers["a"], bob.last
    for i in range(300):  # more than is kept for a client that acknowledges nothing
        await s.sfu.event("layers", peer=peer, room=s.room, participant=bob.id, mid="v", pause="bandwidth")
        if i % 50 == 0:
            await asyncio.sleep(0.02)
    got = 0
    while True:  # what was kept comes; the rest was dropped
        try:
            m = await bob.next(0.5)
            got += m["type"] == "room.layers"
        except asyncio.TimeoutError:
            break
    assert 100 < got < 300 and bob.last > seq, got
    await bob.raw({"type": "ack", "ack": bob.last})
    assert (await bob.told("room.state"))["full"] is True
    await s.ask(alice, "update", {"metadata": {"n": 2}})
    assert (await bob.told("room.participant", "updated"))["participant"]["metadata"] == {"n": 2}


@scene
async def test_a_device_that_joins_anew_takes_its_place(s):
    alice, bob = await s.pair()
    again = await s.join("c", "bob")  # the same device, on a third node
    left = await alice.told("room.participant", "left")
    assert left["participant"]["participantId"] == bob.id and left["reason"] == "replaced", left
    assert [p["user"] for p in again.data["participants"]] == [alice.user]
    assert code(await s.ask(alice, "kick", {"participantId": bob.id})) == "room.forbidden"
    r = await s.ask(alice, "sync")
    assert [p["participantId"] for p in r["data"]["participants"]] == [again.id], r


@scene
async def test_two_who_join_at_once_are_in_one_room(s):
    people = [await s.come(node, user) for node, user in (("a", "alice"), ("b", "bob"), ("c", "carol"))]
    await asyncio.gather(*(m.join(s.room) for m in people))
    r = await s.ask(people[2], "sync")
    assert {p["user"] for p in r["data"]["participants"]} == {people[0].user, people[1].user}, r


@scene
async def test_claims_that_nobody_remembers(s):
    redis = s.cluster.redis
    epoch = redis.do("HGET", "sori:node:{a}", "epoch").decode()
    redis.do("HSET", f"sori:room:{{{s.room}}}", "o", f"{epoch} a")  # a claims it and has not heard that it got it
    bob = await s.join("b", "bob")
    assert s.runner() == "a" and s.guests("b")[1] > 0
    assert [p for p in bob.data["participants"]] == []
    await s.ask(bob, "leave")
    s.room += "-2"
    redis.do("HSET", f"sori:room:{{{s.room}}}", "o", "0000000000000001 a", "r", "junk", "sx", "junk")  # of a dead one
    await bob.join(s.room)
    assert s.runner() == "b"
    s.room += "-3"
    redis.do("HSET", f"sori:room:{{{s.room}}}", "o", f"{epoch} a")  # nothing comes of this one
    assert code(await s.ask(bob, "sync")) == "room.not_found"
    ghost = await s.come("c", "ghost", room="elsewhere")
    assert code(await ghost.join(s.room)) == "room.forbidden"
    await s.over()


@scene
async def test_the_media_server_refuses(s):
    await s.join("a", "alice")
    bob = await s.come("b", "bob")
    s.sfu.refuse["join"] = ("rejected", "line 3")
    try:
        r = await bob.join(s.room)
        assert code(r) == "sfu.rejected" and r["data"]["message"] == "line 3", r
    finally:
        del s.sfu.refuse["join"]
    assert code(await s.ask(bob, "sync")) == "room.not_found"
    assert (await bob.join(s.room))["type"] == "room.join"

@scene
async def test_invitations_ring_devices_of_any_node(s):
    alice, bob = await s.pair()
    carol, tablet = await s.come("c", "carol"), await s.come("a", "carol", "tablet")
    plain = await s.come("c", "plain")
    r = await s.ask(bob, "invite", {"users": [carol.user, alice.user, "nobody-there"], "metadata": {"isVideo": True}})
    (inv,) = r["data"]["invites"]
    assert inv["user"] == carol.user, r
    assert {f["user"]: f["code"] for f in r["data"]["failed"]} == {
        alice.user: "room.exists", "nobody-there": "callee.unreachable"}, r
    call = inv["callId"]
    for m in (carol, tablet):
        d = await m.until("call.incoming")
        assert d["callId"] == call and d["data"]["room"]["roomId"] == s.room and d["data"]["room"]["count"] == 2, d
        assert d["from"] == bob.user, d
        assert (await m.request("call.ringing", call))["type"] == "call.ringing"
    assert (await bob.until("call.ringing"))["callId"] == call
    r = await carol.request("call.answer", call)
    assert r["data"]["roomId"] == s.room and r["data"]["state"] == "ended", r
    assert (await bob.until("call.accepted"))["data"]["roomId"] == s.room
    assert (await tablet.until("call.ended"))["data"]["reason"] == "answered_elsewhere"
    assert (await carol.join(s.room))["type"] == "room.join"
    for m in (alice, bob):
        assert (await m.told("room.participant", "joined"))["participant"]["user"] == carol.user
    # devices that take no part in rooms do not ring
    old = await s.cluster.join("c", f"old{s.n}")
    s.made.append(old)
    r = await s.ask(bob, "invite", {"users": [old.user]})
    assert r["data"] == {"invites": [], "failed": [{"user": old.user, "code": "callee.unreachable"}]}, r
    await silent(old)
    # an invitation that is taken back, from a node that runs neither the room nor the call
    r = await s.ask(bob, "invite", {"users": [plain.user]})
    call = r["data"]["invites"][0]["callId"]
    assert (await plain.until("call.incoming"))["callId"] == call
    assert (await bob.request("call.cancel", call))["type"] == "call.cancel"
    assert (await plain.until("call.ended"))["data"]["reason"] == "cancelled"

async def talking(s, callee_node="b"):
    """A call of alice on a and bob, which is active."""
    alice, bob = await s.come("a", "alice"), await s.come(callee_node, "bob")
    call, _ = await dial(alice, bob.user)
    await rings(bob, call=call)
    await answer(bob, call)
    await connect(alice, bob, call)
    return alice, bob, call


@scene
async def test_a_call_across_nodes_moves_to_a_room(s):
    alice, bob, call = await talking(s)
    r = await bob.request("call.upgrade", call)
    assert r["type"] == "call.upgrade", r
    s.room = r["data"]["roomId"]
    assert (await alice.until("call.upgrade"))["data"]["roomId"] == s.room
    assert (await alice.request("call.upgrade", call))["data"]["roomId"] == s.room
    r = await bob.join(s.room)
    assert r["data"]["role"] == "admin", r
    r = await alice.join(s.room)
    assert r["data"]["role"] == "admin" and len(r["data"]["participants"]) == 1, r
    for m in (alice, bob):
        m = await m.until("call.ended")
        assert m["callId"] == call and m["data"]["reason"] == "room_migrated", m
    assert s.runner() == "a"


@scene
async def test_a_call_with_a_device_without_rooms_stays_one(s):
    alice = await s.come("a", "alice")
    bob = await s.cluster.join("b", f"bob{s.n}")  # says nothing of rooms
    s.made.append(bob)
    call, _ = await dial(alice, bob.user)
    await rings(bob, call=call)
    await answer(bob, call)
    await connect(alice, bob, call)
    for m in (alice, bob):
        assert code(await m.request("call.upgrade", call)) == "call.invalid_state"


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

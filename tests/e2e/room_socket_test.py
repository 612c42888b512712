"""Rooms over real sockets: sori-server between clients and a scripted SFU.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import uuid

import pytest

from fakesfu import FakeSfu
from roomscene import BOTH, MIC, Member, code
from soridaemon import free_port
from soriserver import Server

CONFIG = """
[server]
listen_clear = 127.0.0.1:{clear}
listen_tls =
[auth]
hs256_secret_file = @FOLDER@/secret
[sfu]
nodes = {nodes}
secret_file = @FOLDER@/secret
request_timeout = 2
[session]
resume_ttl = 3
[room]
node_timeout = 2
empty_timeout = 1
restart_timeout = 4
joins_per_10s = 0
{extra}
[limits]
handshakes_per_s = 1000
handshakes_burst = 1000
messages_per_s = 1000
messages_burst = 1000
"""


def run(test, nodes=1, extra="", start=True):
    """Runs a test(server, sfus) coroutine with a server and its SFUs."""
    async def go():
        sfus = [FakeSfu(free_port(), node=f"sfu-{i}") for i in range(nodes)]
        text = ", ".join(f"n{i}=127.0.0.1:{s.port}" for i, s in enumerate(sfus))
        if start:
            for s in sfus:
                await s.start()
        loop = asyncio.get_running_loop()
        server = Server(CONFIG, nodes=text, extra=extra)
        await loop.run_in_executor(None, server.__enter__)
        try:
            if start:
                for s in sfus:
                    await s.requested("sync_end")
            await test(server, sfus)
        finally:
            await loop.run_in_executor(None, server.__exit__, None, None, None)
            for s in sfus:
                if s.server:
                    await s.stop()
    asyncio.run(go())


async def two(server, room="standup"):
    alice, bob = Member(server.ws, "alice"), Member(server.ws, "bob")
    await alice.connect()
    await bob.connect()
    a = await alice.join(room, BOTH, metadata={"hand": False})
    b = await bob.join(room)
    assert a["type"] == b["type"] == "room.join", (a, b)
    await alice.told("room.participant", "connected")
    return alice, bob, a["data"], b["data"]


def test_join_costs_one_round_trip_and_tells_the_others():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        join = await sfus[0].requested("join")
        assert join["offer"] == "v=0\r\ns=alice\r\n" and join["perms"]["publish"] == [
            "microphone", "camera", "screen", "screen_audio", "other"]
        assert join["autoAudio"] and join["autoVideo"] and join["limits"]["tracks"] == 8
        assert a["answer"] == {"type": "answer", "sdp": "v=0\r\ns=answer to v=0\r\ns=alice\r\n\r\n"}
        assert a["participants"] == [] and a["more"] is False and a["role"] == "member"
        assert a["permissions"] == {"publish": True, "subscribe": True, "data": True, "admin": False, "hidden": False}
        assert [t["trackId"] for t in a["tracks"]] == [a["participantId"] + ":0", a["participantId"] + ":1"]
        assert a["tracks"][0]["name"] == "mic" and a["tracks"][1]["layers"] == 3
        assert a["slots"] == [{"mid": "a"}, {"mid": "v"}]
        assert a["room"] == {"roomId": "standup",
                             "limits": {"participants": 100, "tracks": 8, "slots": 32, "metadataBytes": 512}}
        (p,) = b["participants"]
        assert p["participantId"] == a["participantId"] and p["user"] == "alice" and p["state"] == "connected"
        assert p["metadata"] == {"hand": False} and len(p["tracks"]) == 2
        await bob.room("leave")
        left = await alice.told("room.participant", "left")
        assert left["participant"]["user"] == "bob" and left["reason"] == "left"
        leave = await sfus[0].requested("leave")
        assert leave["participant"] == b["participantId"]
        assert code(await bob.room("sync")) == "room.not_found"
    run(test)


def test_offers_publish_and_unpublish():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        r = await bob.room("offer", {"offer": {"type": "offer", "sdp": "v=0"}, "tracks": BOTH})
        assert r["data"]["answer"]["sdp"] == "v=0\r\ns=again\r\n" and len(r["data"]["tracks"]) == 2
        track = (await alice.told("room.track", "published"))["track"]
        assert track["kind"] == "video" and track["source"] == "camera"
        assert code(await bob.room("unpublish", {"trackId": a["tracks"][0]["trackId"]})) == "room.track_not_found"
        await bob.room("unpublish", {"trackId": track["trackId"]})
        assert (await alice.told("room.track", "unpublished"))["track"]["trackId"] == track["trackId"]
        r = await alice.room("subscribe", {"tracks": [
            {"trackId": b["tracks"][0]["trackId"], "wanted": True, "mid": "a", "layer": "auto", "priority": 3}]})
        assert r["data"]["slots"][0] == {"mid": "a", "trackId": b["tracks"][0]["trackId"],
                                         "participantId": b["participantId"]}
        assert code(await alice.room("subscribe", {"tracks": [{"trackId": "x:0", "wanted": True}]})) == \
            "room.track_not_found"
    run(test)


def test_events_of_the_sfu_reach_whom_they_are_for():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        s, ids = sfus[0], (a["participantId"], b["participantId"])
        await s.event("speakers", room="standup", dominant=ids[0],
                      speakers=[{"participant": ids[0], "level": 20}])
        for c in (alice, bob):
            m = await c.until("room.speakers")
            assert "seq" not in m and m["data"] == {"dominant": ids[0],
                                                    "speakers": [{"participantId": ids[0], "level": 20}]}
        await s.event("quality", room="standup", participants=[{"participant": ids[0], "score": 4, "mos": 405}])
        assert (await bob.told("room.quality"))["participants"] == [{"participantId": ids[0], "score": 4, "mos": 4.05}]
        await s.event("slots", room="standup", participant=ids[1],
                      slots=[{"mid": "v", "track": ids[0] + ":1", "participant": ids[0]}])
        assert (await bob.told("room.slots"))["slots"][0]["trackId"] == ids[0] + ":1"
        await s.event("layers", room="standup", participant=ids[0], track=ids[0] + ":1", wanted=[0, 2])
        assert await alice.told("room.layers") == {"trackId": ids[0] + ":1", "wanted": [0, 2]}
        await s.event("layers", room="standup", participant=ids[1], mid="v", pause="bandwidth")
        assert await bob.told("room.layers") == {"mid": "v", "paused": True, "reason": "bandwidth"}
        await s.event("negotiate", room="standup", participant=ids[1], reason="need_slots", needAudio=1, needVideo=2)
        assert (await bob.told("room.negotiate"))["need"] == {"audio": 1, "video": 2}
        await s.event("track", room="standup", participant=ids[0], event="ended", track={
            "track": ids[0] + ":1", "mid": "1", "kind": "video"})
        assert (await bob.told("room.track", "unpublished"))["track"]["trackId"] == ids[0] + ":1"
        await s.event("state", room="standup", participant=ids[0], state="disconnected")
        assert (await bob.told("room.participant", "reconnecting"))["participant"]["state"] == "reconnecting"
        await s.event("state", room="standup", participant=ids[0], state="connected")
        await bob.told("room.participant", "connected")
        await s.event("state", room="nowhere", participant=ids[0], state="failed")  # ignored
        await asyncio.sleep(0.3)
        assert s.acked == s.peer().seq
    run(test)


def test_permissions_and_admins():
    async def test(server, sfus):
        boss = Member(server.ws, "boss", roomPerms={"admin": True})
        guest = Member(server.ws, "guest", room="standup", roomPerms={"publish": ["microphone"]})
        await boss.connect()
        await guest.connect()
        assert (await boss.join())["data"]["role"] == "admin"
        assert code(await guest.join(tracks=BOTH)) == "room.forbidden"
        assert code(await guest.join(room="other")) == "room.forbidden"
        g = (await guest.join())["data"]
        track, gid = g["tracks"][0]["trackId"], g["participantId"]
        assert code(await guest.room("mute", {"trackId": "x:1", "muted": True})) == "room.track_not_found"
        assert code(await guest.room("kick", {"participantId": gid})) == "room.forbidden"
        assert code(await guest.room("close")) == "room.forbidden"
        await boss.room("mute", {"trackId": track, "muted": True})
        m = await sfus[0].requested("mute")
        assert m["forced"] and m["muted"] and m["track"] == track
        muted = await guest.told("room.track", "muted")
        assert muted["by"] and muted["track"]["muted"]
        assert code(await boss.room("mute", {"trackId": track, "muted": False})) == "room.forbidden"
        await guest.room("mute", {"trackId": track, "muted": False})
        await boss.told("room.track", "unmuted")
        await boss.room("update", {"participantId": gid, "role": "viewer"})
        m = await sfus[0].requested("permissions")
        assert m["perms"] == {"publish": [], "subscribe": True, "data": True}
        m = await guest.told("room.participant", "updated")
        assert m["permissions"]["publish"] is False and m["participant"]["role"] == "viewer"
        await guest.room("update", {"metadata": {"hand": True}})
        assert (await boss.told("room.participant", "updated"))["participant"] == {
            "participantId": gid, "user": "guest", "deviceId": "dev-1", "role": "viewer", "metadata": {"hand": True},
            "state": "connected"}
        assert code(await guest.room("update", {"role": "admin"})) == "room.forbidden"
        await boss.room("kick", {"participantId": gid, "ban": True})
        assert (await guest.told("room.closed"))["reason"] == "banned"
        assert code(await guest.join()) == "room.forbidden"
        await boss.room("close")
        await sfus[0].requested("close_room")
    run(test)


def test_a_hidden_participant_is_not_seen():
    async def test(server, sfus):
        alice = Member(server.ws, "alice")
        ghost = Member(server.ws, "ghost", roomPerms={"hidden": True})
        await alice.connect()
        await ghost.connect()
        await alice.join()
        assert code(await ghost.join()) == "room.forbidden"  # it may not publish
        g = await ghost.join(tracks=[])
        assert len(g["data"]["participants"]) == 1
        bob = Member(server.ws, "bob")
        await bob.connect()
        assert [p["user"] for p in (await bob.join())["data"]["participants"]] == ["alice"]
        assert (await alice.told("room.participant", "joined"))["participant"]["user"] == "bob"
    run(test)


def test_one_user_on_two_devices_and_a_second_join_of_one():
    async def test(server, sfus):
        one, two_ = Member(server.ws, "alice", "phone"), Member(server.ws, "alice", "tablet")
        await one.connect()
        await two_.connect()
        a = (await one.join())["data"]
        b = (await two_.join())["data"]
        assert len(b["participants"]) == 1 and a["participantId"] != b["participantId"]
        again = (await one.join())["data"]
        assert again["participantId"] != a["participantId"]
        left = await two_.told("room.participant", "left")
        assert left["reason"] == "replaced" and left["participant"]["participantId"] == a["participantId"]
        assert (await two_.told("room.participant", "joined"))["participant"]["participantId"] == again["participantId"]
    run(test)


def test_limits():
    async def test(server, sfus):
        a, b, c = (Member(server.ws, u) for u in ("a", "b", "c"))
        for m in (a, b, c):
            await m.connect()
        await a.join()
        await b.join()
        assert code(await c.join()) == "room.full"
        await c.join("r2")
        assert code(await c.join("r3")) == "overloaded"
        assert code(await a.join("r2")) == "room.too_many"
        assert code(await b.join(metadata={"x": "y" * 100})) == "bad_request"
        assert code(await b.join(tracks=BOTH)) == "bad_request"
    run(test, extra="rooms = 2\nparticipants = 2\nrooms_per_user = 1\nmetadata_bytes = 50\ntracks = 1")


def test_closed_rooms_need_an_invitation():
    async def test(server, sfus):
        host, guest = Member(server.ws, "host", room="standup"), Member(server.ws, "guest")
        await host.connect()
        await guest.connect()
        assert code(await guest.join()) == "room.forbidden"
        await host.join()
        r = await host.room("invite", {"users": ["guest", "nobody", "host"], "metadata": {"isVideo": True}})
        (inv,) = r["data"]["invites"]
        assert {f["user"]: f["code"] for f in r["data"]["failed"]} == {"nobody": "callee.unreachable",
                                                                       "host": "room.exists"}
        ring = await guest.until("call.incoming")
        assert ring["callId"] == inv["callId"] and ring["from"] == "host" and "offer" not in ring["data"]
        assert ring["data"]["room"] == {"roomId": "standup", "participants": [{"user": "host"}], "count": 1}
        await guest.request("call.ringing", inv["callId"])
        await host.until("call.ringing")
        r = await guest.request("call.answer", inv["callId"])
        assert r["data"]["state"] == "ended" and r["data"]["roomId"] == "standup"
        m = await host.until("call.accepted")
        assert m["data"] == {"roomId": "standup"} and m["from"] == "guest"
        assert (await host.until("call.ended"))["data"]["reason"] == "room_migrated"
        assert (await guest.join())["type"] == "room.join"
    run(test, extra="open = no")


def test_invitations_are_in_the_history_of_both():
    async def test(server, sfus):
        alice, bob, carol = (Member(server.ws, u) for u in ("alice", "bob", "carol"))
        for m in (alice, bob, carol):
            await m.connect()
        await alice.join()
        r = await alice.room("invite", {"users": ["bob", "carol"], "metadata": {"isVideo": True}})
        calls = {i["user"]: i["callId"] for i in r["data"]["invites"]}
        for m in (bob, carol):
            await m.until("call.incoming")
            await m.request("call.ringing", calls[m.user])
        await carol.request("call.reject", calls["carol"], data={"reason": "declined"})
        await alice.request("call.cancel", calls["bob"])
        await bob.until("call.ended")
        b, c = [(await m.request("history.list"))["data"] for m in (bob, carol)]
        assert b["missed"] == 1 and c["missed"] == 0
        b, c = b["calls"][0], c["calls"][0]
        assert (b["callId"], b["group"], b["peer"], b["role"], b["missed"]) == (calls["bob"], True, "alice", "callee", True)
        assert (c["callId"], c["group"], c["peer"], c["outcome"]) == (calls["carol"], True, "alice", "declined")
        a = [c for c in (await alice.request("history.list"))["data"]["calls"] if "peer" in c]  # without her own stay
        assert sorted((e["peer"], e["role"], e["group"]) for e in a) == [("bob", "caller", True), ("carol", "caller", True)]
        r = await alice.room("invite", {"users": ["dora"]})
        assert r["data"]["failed"][0]["code"] == "callee.unreachable"
        d = (await alice.request("history.list"))["data"]["calls"][0]
        assert (d["peer"], d["group"], d["outcome"]) == ("dora", True, "unreachable")

    run(test, extra="[ledger]\nfile = @FOLDER@/ledger.db\ntoken_key_file = @FOLDER@/secret")


def test_a_call_moves_to_a_room_without_a_gap():
    async def test(server, sfus):
        sfus[0].connects = False
        alice, bob = Member(server.ws, "alice"), Member(server.ws, "bob")
        await alice.connect()
        await bob.connect()
        call = str(uuid.uuid4())
        await alice.request("call.invite", call, {"offer": {"type": "offer", "sdp": "v=0"},
                                                  "metadata": {"isVideo": False}}, to="bob")
        assert code(await alice.request("call.upgrade", call)) == "call.invalid_state"
        await bob.until("call.incoming")
        await bob.request("call.answer", call, {"answer": {"type": "answer", "sdp": "v=0"}})
        for c in (alice, bob):
            await c.send("call.state", call, {"connectionState": "connected"})
        await alice.until("call.state")
        room = (await alice.request("call.upgrade", call))["data"]["roomId"]
        m = await bob.until("call.upgrade")
        assert m["data"] == {"roomId": room} and m["from"] == "alice"
        assert (await bob.request("call.upgrade", call))["data"]["roomId"] == room
        a, b = (await alice.join(room))["data"], (await bob.join(room))["data"]
        assert a["role"] == b["role"] == "admin"
        await sfus[0].event("state", room=room, participant=a["participantId"], state="connected")
        await bob.told("room.participant", "connected")
        v = await alice.request("call.sync", call)
        assert v["data"]["state"] == "active"  # only one has media there yet
        await sfus[0].event("state", room=room, participant=b["participantId"], state="connected")
        for c in (alice, bob):
            assert (await c.until("call.ended"))["data"]["reason"] == "room_migrated"
        assert code(await alice.request("call.upgrade", call)) == "call.ended"
    run(test, extra="open = no")


def test_a_resume_goes_on_and_hears_the_whole_state():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        resume = bob.resume()
        await bob.socket.close()
        m = await alice.told("room.participant", "reconnecting")
        assert m["participant"]["user"] == "bob"
        await alice.room("update", {"metadata": {"hand": True}})  # bob hears nothing of this now
        assert (await bob.connect(resume))["resumed"]
        state = await bob.told("room.state")
        assert state["full"] and state["participants"][0]["metadata"] == {"hand": True}
        assert state["tracks"][0]["trackId"] == b["tracks"][0]["trackId"] and len(state["slots"]) == 2
        await alice.told("room.participant", "connected")
        await bob.socket.close()
        await alice.told("room.participant", "reconnecting")
        left = await alice.told("room.participant", "left")  # after resume_ttl
        assert left["reason"] == "expired"
        await sfus[0].requested("leave")
    run(test)


def test_a_closed_session_leaves_at_once():
    async def test(server, sfus):
        alice, bob, _, _ = await two(server)
        await bob.request("session.close")
        assert (await alice.told("room.participant", "left"))["reason"] == "left"
    run(test)


def test_the_sfu_refuses():
    async def test(server, sfus):
        alice = Member(server.ws, "alice")
        await alice.connect()
        sfus[0].refuse["join"] = ("rejected", "line 7: no codec that we forward")
        m = await alice.join()
        assert code(m) == "sfu.rejected" and m["data"]["message"] == "line 7: no codec that we forward"
        assert m["roomId"] == "standup"
        for ours, theirs in (("full", "room.full"), ("draining", "sfu.unavailable"), ("stale", "internal")):
            sfus[0].refuse["join"] = (ours, "x")
            assert code(await alice.join()) == theirs
        sfus[0].refuse = {}
        sfus[0].silent = {"join"}
        assert code(await alice.join()) == "sfu.unavailable"  # after request_timeout
        await sfus[0].requested("leave")
        sfus[0].silent = set()
        assert (await alice.join())["type"] == "room.join"
        sfus[0].refuse["offer"] = ("conflict", "x")
        assert code(await alice.room("offer", {"offer": {"type": "offer", "sdp": "v"}})) == "room.invalid_state"
        sfus[0].refuse["offer"] = ("no_participant", "x")
        assert code(await alice.room("offer", {"offer": {"type": "offer", "sdp": "v"}})) == "room.invalid_state"
        assert (await alice.told("room.restart"))["reason"] == "media_lost"
    run(test)


def test_a_lost_answer_is_given_after_the_reconnect():
    async def test(server, sfus):
        s = sfus[0]
        alice = Member(server.ws, "alice")
        await alice.connect()
        s.silent = {"join"}
        sent = await alice.send("room.join", data={"offer": {"type": "offer", "sdp": "v=0"}, "tracks": MIC},
                                roomId="standup")
        first = await s.requested("join")
        s.silent, done = set(), s.executed
        await s.drop()
        again = await s.requested("join")
        assert again["id"] == first["id"]
        m = await alice.until(sent)
        assert m["type"] == "room.join" and m["data"]["tracks"]
        assert s.executed - done == 2  # sync and sync_end: the join was not done twice
        sync = await s.requested("sync")
        assert sync["participants"] == [m["data"]["participantId"]]
    run(test)


def test_a_short_loss_of_the_sfu_is_not_felt():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        await sfus[0].drop()
        await sfus[0].event("speakers", room="standup", speakers=[])  # nobody hears this
        await sfus[0].event("slots", room="standup", participant=a["participantId"], slots=[{"mid": "v"}])
        assert (await alice.told("room.slots"))["slots"] == [{"mid": "v"}]  # kept until it is back
        await sfus[0].requested("sync")
        assert (await alice.room("sync"))["data"]["participants"][0]["state"] == "connected"
    run(test)


def test_what_the_sfu_forgot_starts_over():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        del sfus[0].peer().rooms["standup"][b["participantId"]]
        await sfus[0].drop()
        assert (await bob.told("room.restart"))["reason"] == "media_lost"
        await alice.told("room.track", "unpublished")
        await alice.told("room.participant", "reconnecting")
        r = await bob.fresh()
        assert r["type"] == "room.offer" and r["data"]["tracks"][0]["trackId"] == b["participantId"] + ":0"
        await alice.told("room.track", "published")
        await alice.told("room.participant", "connected")
    run(test)


def test_a_restarted_sfu_makes_everybody_start_over():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        await sfus[0].restart()
        for c in (alice, bob):
            assert (await c.told("room.restart"))["reason"] == "sfu_lost"
        assert code(await alice.room("offer", {"offer": {"type": "offer", "sdp": "v"}})) == "room.invalid_state"
        r = await alice.fresh(BOTH)
        assert r["data"]["answer"] and len(r["data"]["tracks"]) == 2
        join = await sfus[0].requested("join")
        join = join if join["participant"] == a["participantId"] else await sfus[0].requested("join")
        await bob.told("room.track", "published")
        await bob.told("room.participant", "connected")
        await bob.fresh()
        await alice.told("room.track", "published")
    run(test)


def test_a_lost_node_is_replaced_by_another():
    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        home = next(s for s in sfus if any(s.peer().rooms.values()))
        other = next(s for s in sfus if s is not home)
        await home.stop()
        for c in (alice, bob):
            assert (await c.told("room.restart"))["reason"] == "sfu_lost"
            assert (await c.fresh())["type"] == "room.offer"
        assert set(other.peer().rooms["standup"]) == {a["participantId"], b["participantId"]}
        await home.start()  # it comes back with the old room: the server has it closed
        await home.requested("sync_end")
        assert home.peer().rooms == {}
    run(test, nodes=2)


def test_without_an_sfu():
    async def test(server, sfus):
        alice = Member(server.ws, "alice")
        await alice.connect()
        m = await alice.join()
        assert code(m) == "sfu.unavailable" and m["data"]["retryAfterMs"] > 0
        await sfus[0].start()
        await sfus[0].requested("sync_end", 10)
        assert (await alice.join())["type"] == "room.join"
        await sfus[0].stop()
        await alice.told("room.restart")
        assert code(await alice.fresh()) == "sfu.unavailable"
        assert (await alice.told("room.closed"))["reason"] == "sfu_unavailable"
    run(test, start=False)


def test_a_node_with_another_secret_is_not_used():
    async def test(server, sfus):
        sfus[0].secret = b"x" * 32
        await sfus[0].start()
        alice = Member(server.ws, "alice")
        await alice.connect()
        await asyncio.sleep(1)
        assert code(await alice.join()) == "sfu.unavailable"
    run(test, start=False)


def test_a_draining_node_gets_no_new_rooms():
    async def test(server, sfus):
        await sfus[0].event("load", load=0, rooms=0, participants=0, draining=True)
        alice = Member(server.ws, "alice")
        await alice.connect()
        for i in range(6):
            assert (await alice.join(f"r{i}"))["type"] == "room.join"
        assert sfus[0].peer().rooms == {} and len(sfus[1].peer().rooms) == 6
    run(test, nodes=2)


def test_a_unix_socket():
    async def test(server, sfus):
        alice = Member(server.ws, "alice")
        await alice.connect()
        assert (await alice.join())["type"] == "room.join"

    async def go():
        path = f"/tmp/sori-fakesfu-{free_port()}.sock"
        sfu = FakeSfu(path=path)
        await sfu.start()
        loop = asyncio.get_running_loop()
        server = Server(CONFIG, nodes=f"u=unix:{path} weight=2 region=eu", extra="")
        await loop.run_in_executor(None, server.__enter__)
        try:
            await sfu.requested("sync_end")
            await test(server, [sfu])
        finally:
            await loop.run_in_executor(None, server.__exit__, None, None, None)
            await sfu.stop()
    asyncio.run(go())


if __name__ == "__main__":
    pytest.main([__file__])

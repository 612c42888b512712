"""An offline user is called: real sori-server, real SQLite, a strict stand-in for Apple.

Both sides of each promise of docs/SIGNALING.md §5 about devices that sleep: what Apple gets, and what
a client finds that comes with what was pushed. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import struct
import time
import urllib.request
import uuid

import pytest
import websockets

import soriclient
from apnsworld import TEAM, TOPIC, StandIn
from soriclient import SECRET
from soridaemon import Daemon, free_port


OFFER = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
ANSWER = {"answer": {"type": "answer", "sdp": "v=0"}}
CONFIG = """
[server]
listen_tls =
listen_clear = 127.0.0.1:{clear}
[auth]
hs256_secret_file = @FOLDER@/secret
[call]
ring_timeout = 6
[push]
address = ws://127.0.0.1:{clear}/ws
ring_secret_file = @FOLDER@/ring
live_type = CallActivity
[ledger]
file = @FOLDER@/ledger.db
token_key_file = @FOLDER@/secret
[apns]
production = localhost:{apple}
ca_file = {ca}
[app {topic}]
team_id = {team}
key_id = {kid}
key_file = {key}
[admin]
listen = 127.0.0.1:{admin}
[limits]
invites_per_10s = 0
invites_per_hour = 0
invites_per_pair_per_min = 0
records_per_min = 0
handshakes_per_s = 1000
handshakes_burst = 1000
"""


_open = []


class Client(soriclient.Client):
    async def connect(self, *a, **kw):
        _open.append(self)
        return await super().connect(*a, **kw)


def play_out(scene):
    """Runs a scene; the sockets it leaves behind are not worth their closing handshakes."""
    async def all_of_it():
        try:
            return await scene
        finally:
            while _open:
                _open.pop().socket.transport.abort()

    return asyncio.run(all_of_it())


class World:
    """A server and its Apple."""

    def __init__(self, apple, config=CONFIG, **files):
        self.apple, self.clear, self.admin = apple, free_port(), free_port()
        kid = next(iter(apple.key_files))
        text = config.format(clear=self.clear, admin=self.admin, apple=apple.port, ca=apple.cert, topic=TOPIC,
                             team=TEAM, kid=kid, key=apple.key_files[kid])
        self.url = f"ws://127.0.0.1:{self.clear}/ws"
        self.d = Daemon("sori-server", text, files={"secret": SECRET, "ring": "r" * 40, **files})

    def admin_get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as r:
            return r.read().decode()

    def wait_ready(self):
        end = time.monotonic() + 10
        while True:
            try:
                assert self.admin_get("/readyz") == "ready\n"
                return
            except (OSError, AssertionError):
                assert time.monotonic() < end
                time.sleep(0.05)

    def pushes(self, user, n=None, limit_s=5):
        """The pushes about calls of this user, oldest first; waits until there are n."""
        end = time.monotonic() + limit_s
        while True:
            found = [p | {"body": json.loads(p["payload"])} for p in self.apple.last()
                     if user in p["payload"]]
            if n is None or len(found) >= n:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.02)


@pytest.fixture(scope="module")
def world():
    with StandIn(unknown="active", jwt_gap_s=0, streams_first=100) as apple:
        w = World(apple)
        with w.d:
            w.wait_ready()
            yield w


class Pushed(Client):
    """A device that was woken: it has what was in the push and nothing else."""

    def __init__(self, body, device):
        super().__init__(body["ws"], "?", device)
        self.k = body["k"]

    async def connect(self, resume=None, **kw):
        _open.append(self)
        self.socket = await websockets.connect(self.url, subprotocols=["sori.v1"], compression=None,
                                               max_size=None, ping_interval=None)
        await self.raw({"type": "hello", "id": "h", "data": {"token": self.k, "deviceId": self.device}})
        self.welcome = await self.next()
        assert self.welcome["type"] == "welcome", self.welcome
        return self.welcome["data"]


def names():
    tag = uuid.uuid4().hex[:8]
    return f"alice-{tag}", f"bob-{tag}"


async def register(world, user, device, tokens, **more):
    """The user's device registers and goes to sleep."""
    c = Client(world.url, user, device)
    await c.connect()
    data = {"platform": "ios", "app": TOPIC, "environment": "production", "callUi": "callkit",
            "tokens": [{"type": t, "token": v} for t, v in tokens.items()], **more}
    r = await c.request("device.register", data=data)
    assert r["type"] == "device.register" and r["data"]["tokens"] == len(tokens), r
    await c.request("session.close")


async def caller(world, user):
    c = Client(world.url, user)
    await c.connect()
    return c


async def exported(c):
    """Asks for an export; how it stands when it is done."""
    assert (await c.request("privacy.export"))["data"]["state"] == "pending"
    end = time.monotonic() + 5
    while (s := (await c.request("privacy.status", data={"kind": "export"}))["data"])["state"] != "done":
        assert "url" not in s and time.monotonic() < end, s
        await asyncio.sleep(0.05)
    return s


def token_of(user, kind="voip"):
    """A token of the user's own: 32 bytes of his name."""
    return (user + kind).encode().hex().ljust(64, "0")[:64]


def test_exactly_one_voip_push_brings_the_device_into_the_call(world):
    alice, bob = names()

    async def play():
        await register(world, bob, "phone", {"voip": token_of(bob)})
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        began = time.time()
        r = await a.request("call.invite", call, OFFER, to=bob)
        assert r["data"]["devices"] == {"online": 0, "pushed": 1}, r
        push = world.pushes(alice, 1)[0]
        head, body = push["headers"], push["body"]
        assert push["status"] == 200
        assert head[":path"] == f"/3/device/{token_of(bob)}"
        assert head["apns-topic"] == TOPIC + ".voip" and head["apns-push-type"] == "voip"
        assert head["apns-priority"] == "10" and head["apns-expiration"] == "0"
        assert uuid.UUID(head["apns-id"])
        assert body["call_id"] == call and body["from"] == alice and body["aps"] == {}
        assert body["ws"] == world.url and not body["video"]
        assert abs(body["ring_until"] - (began + 6)) <= 2 and abs(body["ts"] - began) <= 2

        p = Pushed(body, "phone")
        await p.connect()
        m = await p.until("call.incoming")
        assert m["from"] == alice and m["data"]["offer"] == OFFER["offer"]
        await p.request("call.ringing", call)
        await a.until("call.ringing")
        assert (await p.request("call.answer", call, ANSWER))["data"]["state"] == "connecting"
        m = await a.until("call.accepted")
        assert m["fromDevice"] == "phone" and m["data"]["answer"] == ANSWER["answer"]
        for c in (a, p):
            await c.send("call.state", call, {"connectionState": "connected"})
        for c in (a, p):
            while (await c.until("call.state"))["data"]["state"] != "active":
                pass
        # nothing but its call
        assert (await p.request("history.list"))["data"]["code"] == "forbidden"
        await p.request("call.hangup", call)
        assert (await a.until("call.ended"))["data"]["reason"] == "hangup"
        h = await a.request("history.list")
        assert h["data"]["calls"][0]["callId"] == call and h["data"]["calls"][0]["outcome"] == "answered"
        assert len(world.pushes(alice)) == 1

    play_out(play())


def test_a_late_push_finds_the_end_in_one_round_trip(world):
    alice, bob = names()

    async def play():
        await register(world, bob, "phone", {"voip": token_of(bob), "alert": token_of(bob, "alert")})
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        body = world.pushes(alice, 1)[0]["body"]
        await a.request("call.cancel", call)
        p = Pushed(body, "phone")
        assert (await p.connect())["activeCalls"] == []
        v = (await p.request("call.sync", call))["data"]
        assert v["state"] == "ended" and v["reason"] == "cancelled"
        # the end is no VoIP push; the missed call is an alert with a badge
        missed = world.pushes(alice, 2)[1]
        assert missed["headers"]["apns-push-type"] == "alert"
        assert missed["headers"]["apns-collapse-id"] == f"missed:{alice}"
        assert missed["headers"][":path"].endswith(token_of(bob, "alert"))
        assert missed["body"]["aps"]["badge"] == 1 and missed["body"]["call_id"] == call
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        await a.request("call.cancel", call)
        # (the woken phone has a ring token for the first call only, so it is pushed again)
        found = world.pushes(alice, 4)
        assert [f["headers"]["apns-push-type"] for f in found] == ["voip", "alert", "voip", "alert"]
        assert found[3]["body"]["aps"]["badge"] == 2

    play_out(play())


def test_a_token_that_is_gone_is_unreachable_at_once_and_forgotten(world):
    alice, bob = names()

    async def play():
        await register(world, bob, "phone", {"voip": token_of(bob)})
        world.apple.set(tokens={token_of(bob): {"state": "unregistered",
                                               "since": int(time.time() * 1000) + 60000}})
        a = await caller(world, alice)
        began = time.monotonic()
        await a.request("call.invite", str(uuid.uuid4()), OFFER, to=bob)
        m = await a.until("call.ended")
        assert m["data"]["reason"] == "unreachable" and time.monotonic() - began < 2
        r = await a.request("call.invite", str(uuid.uuid4()), OFFER, to=bob)
        assert r["data"]["code"] == "callee.unreachable"
        assert len(world.pushes(alice)) == 1

    play_out(play())


def test_who_acknowledges_in_time_gets_no_push(world):
    alice, bob = names()

    async def play():
        await register(world, bob, "phone", {"voip": token_of(bob)})
        b = Client(world.url, bob, "phone")
        await b.connect()
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        r = await a.request("call.invite", call, OFFER, to=bob)
        assert r["data"]["devices"] == {"online": 1, "pushed": 0}
        await b.until("call.incoming")
        await b.request("call.ringing", call)
        await asyncio.sleep(1)
        assert world.pushes(alice) == []
        await a.request("call.cancel", call)
        await b.until("call.ended")
        # and who does not (the socket is dead, nobody knows yet) is pushed after half a second
        call = str(uuid.uuid4())
        began = time.monotonic()
        await a.request("call.invite", call, OFFER, to=bob)
        push = world.pushes(alice, 1)[0]
        assert 0.4 < time.monotonic() - began < 2 and push["body"]["call_id"] == call
        await a.request("call.cancel", call)

    play_out(play())


def test_without_callkit_an_alert_rings(world):
    alice, bob = names()

    async def play():
        await register(world, bob, "phone", {"voip": token_of(bob), "alert": token_of(bob, "alert")},
                       callUi="none")
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        push = world.pushes(alice, 1)[0]
        assert push["headers"]["apns-push-type"] == "alert" and push["status"] == 200
        assert push["body"]["aps"]["interruption-level"] == "time-sensitive"
        assert push["body"]["call_id"] == call
        await a.request("call.cancel", call)

    play_out(play())


def test_a_live_activity_is_started_held_and_ended(world):
    alice, bob = names()

    async def play():
        b = Client(world.url, bob, "phone")
        await b.connect()
        a = await caller(world, alice)
        await b.request("device.register", data={"platform": "ios", "app": TOPIC, "environment": "production",
                                                "tokens": [{"type": "la_start", "token": token_of(bob, "start")}]})
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        await b.until("call.incoming")
        await b.request("call.answer", call, ANSWER)
        path = f"/3/device/{token_of(bob, 'start')}"
        end = time.monotonic() + 5
        while not (found := [p for p in world.apple.last() if p["headers"][":path"] == path]):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        aps = json.loads(found[0]["payload"])["aps"]
        assert found[0]["status"] == 200 and aps["event"] == "start" and aps["attributes-type"] == "CallActivity"
        assert aps["attributes"] == {"callId": call, "caller": alice} and aps["content-state"]["status"] == "connecting"
        await b.request("device.register", data={
            "platform": "ios", "app": TOPIC, "environment": "production",
            "tokens": [{"type": "liveactivity", "token": token_of(bob, "own"), "callId": call}]})
        for c in (a, b):
            await c.send("call.state", call, {"connectionState": "connected"})
        while (await b.until("call.state"))["data"]["state"] != "active":
            pass
        for on in (True, False, True):
            await a.send("call.info", call, {"onHold": on})
            await b.until("call.info")
        await b.request("call.hangup", call)
        path = f"/3/device/{token_of(bob, 'own')}"
        while len(found := [p for p in world.apple.last() if p["headers"][":path"] == path]) < 3:
            assert time.monotonic() < end, found
            await asyncio.sleep(0.02)
        states = sorted(json.loads(p["payload"])["aps"]["content-state"]["status"] for p in found)
        assert states == ["active", "ended", "held"] and all(p["status"] == 200 for p in found)

    play_out(play())


def test_live_activities_start_nothing_and_end(world):
    alice, bob = names()

    async def play():
        b = Client(world.url, bob, "phone")
        await b.connect()
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        await b.until("call.incoming")
        r = await b.request("device.register", data={
            "platform": "ios", "app": TOPIC, "environment": "production",
            "tokens": [{"type": "liveactivity", "token": token_of(bob, "live"), "callId": call}]})
        assert r["type"] == "device.register", r
        await b.request("call.answer", call, ANSWER)
        for c in (a, b):
            await c.send("call.state", call, {"connectionState": "connected"})
        await b.until("call.state")
        await b.request("call.hangup", call)
        path = f"/3/device/{token_of(bob, 'live')}"
        end = time.monotonic() + 5
        while len(found := [p for p in world.apple.last() if p["headers"][":path"] == path]) < 3:
            assert time.monotonic() < end, found
            await asyncio.sleep(0.02)
        states = {s["content-state"]["status"]: s for s in (json.loads(p["payload"])["aps"] for p in found)}
        # (two connections: they may pass one another)
        assert {k: s["event"] for k, s in states.items()} == {
            "connecting": "update", "active": "update", "ended": "end"}
        assert states["active"]["content-state"]["startedAt"] > 0
        assert all(p["status"] == 200 for p in found)

    play_out(play())


def test_kill_9_keeps_devices_and_missed_calls(world):
    alice, bob = names()

    async def before():
        await register(world, bob, "phone", {"voip": token_of(bob), "alert": token_of(bob, "alert")})
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        await a.request("call.cancel", call)
        world.pushes(alice, 2)  # the alert comes behind the record's commit
        return call

    async def after(call):
        b = Client(world.url, bob, "tablet")
        await b.connect()
        h = (await b.request("history.list", data={"missed": True}))["data"]
        assert [c["callId"] for c in h["calls"]] == [call] and h["missed"] == 1
        d = (await b.request("device.list"))["data"]["devices"]
        assert [(x["deviceId"], len(x["tokens"])) for x in d] == [("phone", 2)]
        assert token_of(bob) not in json.dumps(d)
        assert (await b.request("history.seen", data={"callIds": [call]}))["data"]["missed"] == 0
        await b.send("session.close")
        a = await caller(world, alice)
        call = str(uuid.uuid4())
        r = await a.request("call.invite", call, OFFER, to=bob)
        assert r["data"]["devices"]["pushed"] == 1
        body = world.pushes(alice, 3)[2]["body"]
        assert body["call_id"] == call
        await a.request("call.cancel", call)

    call = play_out(before())
    world.d.process.kill()
    world.d.process.wait()
    world.d._reader.join(5)
    world.d.lines.clear()
    world.d.start()
    world.wait_ready()
    play_out(after(call))


def test_an_export_is_written_at_once_and_a_deletion_can_be_taken_back(world):
    alice, _ = names()

    async def play():
        a = await caller(world, alice)
        s = await exported(a)
        assert s["bytes"] > 100 and len(s["sha256"]) == 64
        assert (await a.request("privacy.export"))["data"]["code"] == "privacy.too_soon"
        assert (await a.request("privacy.delete"))["data"]["state"] == "pending"
        r = await a.request("device.register", data={"platform": "ios", "app": TOPIC})
        assert r["data"]["code"] == "privacy.pending"
        assert (await a.request("privacy.cancel"))["data"]["state"] == "cancelled"

    play_out(play())


def fetch(world, path, method="GET", **headers):
    """Status, headers and body of a plain request."""
    c = http.client.HTTPConnection("127.0.0.1", world.clear, timeout=5)
    c.request(method, path, headers=headers)
    r = c.getresponse()
    body = r.read()
    c.close()
    return r.status, r.headers, body


def test_an_export_is_fetched_with_its_link_and_nothing_else_is(world):
    alice, bob = names()

    async def play():
        await register(world, alice, "phone", {"voip": token_of(alice)})
        a = await caller(world, alice)
        await a.request("call.invite", str(uuid.uuid4()), OFFER, to=bob)
        return await exported(a)

    s = play_out(play())
    status, head, body = fetch(world, s["url"])
    assert status == 200 and len(body) == s["bytes"]
    assert hashlib.sha256(body).hexdigest() == s["sha256"]
    assert json.loads(body)["user"] == alice and token_of(alice).encode() not in body
    assert head["Cache-Control"] == "no-store" and head["Content-Type"] == "application/json"
    assert head["Content-Disposition"].startswith("attachment") and head["X-Content-Type-Options"] == "nosniff"
    # parts, and the head alone
    status, head, part = fetch(world, s["url"], Range="bytes=5-9")
    assert (status, part) == (206, body[5:10]) and head["Content-Range"] == f"bytes 5-9/{len(body)}"
    status, head, part = fetch(world, s["url"], Range=f"bytes={len(body)}-")
    assert status == 416 and head["Content-Range"] == f"bytes */{len(body)}"
    assert fetch(world, s["url"], Range="bytes=0-1,4-5")[2] == body
    status, head, part = fetch(world, s["url"], method="HEAD")
    assert status == 200 and part == b"" and int(head["Content-Length"]) == len(body)
    assert fetch(world, s["url"], method="POST")[0] == 405
    # nothing else is there
    for path in ("/export/", "/export", s["url"][:-1], s["url"] + "A", "/export/../ledger.db", "/export/%2e%2e/ledger.db",
                 f"/export/{s['requestId']}.json", s["url"] + "/", "/export/" + "A" * 2000):
        assert fetch(world, path)[0] == 404, path
    # each link is for a while, and for so many requests
    seen = [fetch(world, s["url"], method="HEAD")[0] for _ in range(40)]
    assert seen[0] == 200 and seen[-1] == 429
    assert s["url"].split("/")[-1] not in world.d.log()
    text = world.admin_get("/metrics")
    assert "sori_export_downloads_total" in text and "sori_export_downloads 0" in text


def export_url(request_id, until_s, form=0x10):
    """A link as the server makes it; the secret is that of the configuration."""
    key = hmac.digest(SECRET.encode(), b"sori: link to an export, 1", "sha256")
    head = bytes([form]) + struct.pack(">Q", until_s) + bytes.fromhex(request_id)
    return "/export/" + base64.urlsafe_b64encode(head + hmac.digest(key, head, "sha256")[:16]).decode().rstrip("=")


def test_a_link_is_over_when_its_time_is(world):
    alice, _ = names()

    async def play():
        a = await caller(world, alice)
        return (await exported(a))["requestId"]

    request, now = play_out(play()), int(time.time())
    assert fetch(world, export_url(request, now + 60))[0] == 200
    assert fetch(world, export_url(request, now - 1))[0] == 410
    # signed, and of no file: another form, another request
    assert fetch(world, export_url(request, now + 60, 0x11))[0] == 404
    assert fetch(world, export_url("00" * 16, now + 60))[0] == 404


def test_what_does_not_work_is_named(world):
    assert world.admin_get("/readyz") == "ready\n"
    text = world.admin_get("/metrics")
    for name in ("sori_pushes_total", "sori_push_wake_seconds", "sori_ledger_records_total"):
        assert name in text
    for word in (token_of("x"), "phone", "BEGIN"):
        assert word not in text


def test_calls_go_on_with_a_damaged_ledger_and_without_apple(world):
    alice, bob = names()

    async def play(w):
        a, b = await caller(w, alice), await caller(w, bob)
        call = str(uuid.uuid4())
        await a.request("call.invite", call, OFFER, to=bob)
        await b.until("call.incoming")
        assert (await b.request("call.answer", call, ANSWER))["data"]["state"] == "connecting"
        await a.until("call.accepted")
        assert (await a.request("history.list"))["data"]["code"] == "store.unavailable"
        r = await b.request("device.register", data={"platform": "ios", "app": TOPIC})
        assert r["data"]["code"] == "store.unavailable"
        await a.request("call.hangup", call)

    w = World(world.apple, **{"ledger.db": "no database at all " * 5000})
    with w.d:
        end = time.monotonic() + 10
        while True:
            try:
                assert w.admin_get("/readyz").startswith("ready, degraded: [ledger]")
                break
            except (OSError, AssertionError):
                assert time.monotonic() < end
                time.sleep(0.05)
        play_out(play(w))
        assert 'sori_ledger_state{state="damaged"} 1' in w.admin_get("/metrics")


def test_no_token_in_the_log_or_in_clear_on_the_disk(world):
    log = world.d.log()
    alice, bob = names()
    play_out(register(world, bob, "phone", {"voip": token_of(bob)}))
    raw = bytes.fromhex(token_of(bob))
    assert token_of(bob) not in log
    for name in os.listdir(world.d.folder):
        if name.startswith("ledger"):
            with open(os.path.join(world.d.folder, name), "rb") as f:
                text = f.read()
            assert token_of(bob).encode() not in text and raw[:16] not in text, name

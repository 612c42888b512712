"""Rooms with aiortc, a WebRTC of its own in Python, through sori-server and sori-sfu: audio and data
channels, in single and in pair mode. Its media is protected by AES_CM_128_HMAC_SHA1_80, the other
profile than browsers'; its DTLS, ICE and SCTP are nobody else's code either.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import fractions
import json

import pytest

aiortc = pytest.importorskip("aiortc")
import aioice.ice  # noqa: E402
import av  # noqa: E402
import numpy  # noqa: E402

from soriclient import SECRET, Client, token  # noqa: E402
from soridaemon import Daemon, free_port, metric  # noqa: E402
from soriserver import Server  # noqa: E402

SERVER = """
[server]
listen_clear = 127.0.0.1:{clear}
listen_tls =
[auth]
hs256_secret_file = @FOLDER@/secret
[sfu]
nodes = sfu-1=127.0.0.1:{control}
secret_file = @FOLDER@/secret
"""
SFU = """
[sfu]
listen = 127.0.0.1
port = {port}
threads = 1
[control]
listen = 127.0.0.1:{control}
secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
"""
RATE, TONE_HZ, LOUD = 48000, 440, 2000

# There is only loopback where tests run; aioice leaves it out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"] if use_ipv4 else []


class Tone(aiortc.MediaStreamTrack):
    """A sine, 20 ms a frame, in real time."""
    kind = "audio"

    def __init__(self):
        super().__init__()
        self.at, self.began = 0, None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.began = self.began or loop.time()
        await asyncio.sleep(max(0, self.began + self.at / RATE - loop.time()))
        n = RATE // 50
        wave = numpy.sin(2 * numpy.pi * TONE_HZ * (self.at + numpy.arange(n)) / RATE) * 12000
        frame = av.AudioFrame.from_ndarray(wave.astype(numpy.int16).reshape(1, n), layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.at, fractions.Fraction(1, RATE)
        self.at += n
        return frame


class Member(Client):
    """A participant: the signaling of a device, and its one or two connections."""
    room = "r"

    def __init__(self, url, user, pair=False, **perms):
        super().__init__(url, user)
        self.pair, self.perms = pair, perms
        self.up = aiortc.RTCPeerConnection()
        self.down = aiortc.RTCPeerConnection() if pair else self.up
        self.heard, self.got, self.reader = asyncio.Event(), asyncio.Queue(), None
        self.loud = 0
        self.tasks = []
        self.down.on("track", lambda t: self.tasks.append(asyncio.ensure_future(self._listen(t))))

    async def raw(self, m):
        if isinstance(m, dict) and m["type"] == "hello":
            m["data"]["capabilities"] = ["rooms"]
            if self.perms:
                m["data"]["token"] = token(self.user, perms={"room": "r", "roomPerms": self.perms})
        await super().raw(m)

    async def _listen(self, track):
        with contextlib.suppress(aiortc.mediastreams.MediaStreamError):
            while True:
                frame = await track.recv()
                if numpy.abs(frame.to_ndarray().astype(numpy.int32)).max() > LOUD:
                    self.loud += 1
                    if self.loud > 10:
                        self.heard.set()

    def _channel(self, label, **kw):
        c = self.up.createDataChannel(label, **kw)
        c.opened, c.over = asyncio.Event(), asyncio.Event()
        c.on("open", c.opened.set)
        c.on("close", c.over.set)
        c.on("message", lambda m: self.got.put_nowait((label, m)))
        return c

    async def join(self):
        await self.connect()
        self.up.addTransceiver(Tone(), direction="sendonly")
        if not self.pair:
            self.up.addTransceiver("audio", direction="recvonly")
        self.sori = self._channel("sori")
        self.lossy = self._channel("sori-lossy", ordered=False, maxRetransmits=0)
        await self.up.setLocalDescription(await self.up.createOffer())
        mic = self.up.getTransceivers()[0].mid
        r = await self.request("room.join", roomId=self.room, data={
            "mode": "pair" if self.pair else "single",
            "offer": {"type": "offer", "sdp": self.up.localDescription.sdp},
            "tracks": [{"mid": mic, "source": "microphone"}]})
        assert r["type"] == "room.join", r
        self.id, self.answer = r["data"]["participantId"], r["data"]["answer"]["sdp"]
        await self.up.setRemoteDescription(aiortc.RTCSessionDescription(self.answer, "answer"))
        if "subOffer" in r["data"]:
            await self._subscribe(r["data"]["subOffer"], r["data"]["negotiationId"])
        self.reader = asyncio.ensure_future(self._follow())
        return r["data"]

    async def _subscribe(self, offer, negotiation):
        await self.down.setRemoteDescription(aiortc.RTCSessionDescription(offer["sdp"], "offer"))
        await self.down.setLocalDescription(await self.down.createAnswer())
        await self.send("room.answer", roomId=self.room, data={
            "negotiationId": negotiation, "answer": {"type": "answer", "sdp": self.down.localDescription.sdp}})

    async def _follow(self):
        """What the server says from now on: offers of pair mode are answered."""
        while True:
            m = await self.next(timeout=None)
            if m["type"] == "room.negotiate" and m["data"]["reason"] == "offer":
                await self._subscribe(m["data"]["offer"], m["data"]["negotiationId"])

    async def leave(self):
        for t in [self.reader, *self.tasks]:
            if t:
                t.cancel()
        for pc in {self.up, self.down}:
            await pc.close()
        if self.socket:
            await self.socket.close()


def run(test, extra=""):
    """Runs a test(server, sfu) coroutine with both daemons, and lets it fail after a minute. extra: of server.ini."""
    async def go():
        port, control, admin = free_port(), free_port(), free_port()
        loop = asyncio.get_running_loop()
        sfu = Daemon("sori-sfu", SFU.format(port=port, control=control, admin=admin),
                     files={"secret": SECRET + "\n"})
        sfu.admin = admin
        server = Server(SERVER + extra, control=control)
        await loop.run_in_executor(None, sfu.__enter__)
        try:
            await loop.run_in_executor(None, server.__enter__)
            try:
                while not metric(admin, "sori_sfu_control_connections"):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.2)
                await asyncio.wait_for(test(server, sfu), 60)
            finally:
                await loop.run_in_executor(None, server.__exit__, None, None, None)
        finally:
            await loop.run_in_executor(None, sfu.__exit__, None, None, None)
    asyncio.run(go())


async def within(awaitable, what, seconds=15):
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"{what}: not in {seconds} s") from None


async def talk(a, b):
    """Both hear each other's tone and get each other's messages, text and bytes, to all and to one."""
    for m in (a, b):
        await within(m.heard.wait(), f"{m.user} hears the tone")
        await within(m.sori.opened.wait(), f"{m.user}: the channel opens")
        await within(m.lossy.opened.wait(), f"{m.user}: the lossy channel opens")
    a.sori.send(json.dumps({"topic": "chat", "payload": {"text": "hi"}}))
    label, got = await within(b.got.get(), "text to all")
    assert label == "sori" and json.loads(got) == {"from": a.id, "topic": "chat", "payload": {"text": "hi"}}
    b.sori.send(json.dumps({"to": [a.id], "payload": "x" * 10000}))
    label, got = await within(a.got.get(), "text to one")
    assert json.loads(got) == {"from": b.id, "payload": "x" * 10000}
    b.lossy.send(b"\0position")
    label, got = await within(a.got.get(), "bytes to all")
    assert label == "sori-lossy" and got == bytes([len(b.id)]) + b.id.encode() + b"position"
    to = b.id.encode()
    a.sori.send(bytes([1, len(to)]) + to + b"secret")
    label, got = await within(b.got.get(), "bytes to one")
    assert label == "sori" and got == bytes([len(a.id)]) + a.id.encode() + b"secret"
    assert a.got.empty() and b.got.empty()


async def meet(server, sfu, *members):
    try:
        for m in members:
            await m.join()
        await talk(*members)
        assert metric(sfu.admin, "sori_sfu_dtls_failures_total") == 0
        assert metric(sfu.admin, 'sori_sfu_transport_dropped_total{reason="rtp_forged"}') == 0
        assert metric(sfu.admin, 'sori_sfu_transport_dropped_total{reason="rtcp_forged"}') == 0
    finally:
        for m in members:
            await m.leave()


def test_two_in_single_mode():
    async def test(server, sfu):
        await meet(server, sfu, Member(server.ws, "alice"), Member(server.ws, "bob"))
    run(test)


def test_one_of_each_mode():
    async def test(server, sfu):
        await meet(server, sfu, Member(server.ws, "alice", pair=True), Member(server.ws, "bob"))
    run(test)


def test_two_in_pair_mode():
    async def test(server, sfu):
        await meet(server, sfu, Member(server.ws, "alice", pair=True), Member(server.ws, "bob", pair=True))
    run(test)


def test_who_may_neither_send_nor_receive_has_no_data():
    async def test(server, sfu):
        mute = Member(server.ws, "mute", publish=True, subscribe=False, data=False)
        deaf = Member(server.ws, "deaf", publish=True, subscribe=True, data=False)
        bob = Member(server.ws, "bob")
        try:
            for m in (mute, deaf, bob):
                await m.join()
            assert "m=application 0 " in mute.answer and "m=application 9 " in deaf.answer
            await within(bob.heard.wait(), "bob hears")
            await within(deaf.sori.opened.wait(), "who may receive has a channel")
            await within(bob.sori.opened.wait(), "bob's channel")
            deaf.sori.send('{"payload":1}')
            bob.sori.send('{"payload":2}')
            label, got = await within(deaf.got.get(), "what is said to all")
            assert json.loads(got) == {"from": bob.id, "payload": 2}
            assert bob.got.empty() and not mute.sori.opened.is_set()
            # aiortc does not look at the port: the section waits for a transport of its own, alone
            assert mute.up.getSenders()[0].transport.state == "connected" and not mute.heard.is_set()
        finally:
            for m in (mute, deaf, bob):
                await m.leave()
    run(test)

"""aiortc in rooms, for tests: a WebRTC of its own in Python, a participant that talks and hears, and one that
starts its media over when the server says so. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import fractions

import aioice.ice
import aiortc
import av
import numpy

from soriclient import Client, token

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


class Mover(Member):
    """Starts its media over when the server says so, as sori.js does."""

    def __init__(self, url, user, room):
        super().__init__(url, user)
        self.room, self.restarts, self.moved = room, [], None

    async def _follow(self):
        loop = asyncio.get_running_loop()
        while True:
            m = await self.next(timeout=None)
            if m["type"] == "room.restart":
                self.restarts.append((loop.time(), m["data"]["reason"]))
                await self._start_over()
            elif m.get("re") and m.get("re") == self.moved:
                assert m["type"] == "room.offer", m
                await self.up.setRemoteDescription(aiortc.RTCSessionDescription(m["data"]["answer"]["sdp"], "answer"))

    async def _start_over(self):
        old = self.up
        self.up = self.down = aiortc.RTCPeerConnection()
        asyncio.ensure_future(old.close())
        self.heard, self.loud = asyncio.Event(), 0
        self.up.on("track", lambda t: self.tasks.append(asyncio.ensure_future(self._listen(t))))
        self.up.addTransceiver(Tone(), direction="sendonly")
        self.up.addTransceiver("audio", direction="recvonly")
        await self.up.setLocalDescription(await self.up.createOffer())
        self.moved = await self.send("room.offer", roomId=self.room, data={
            "fresh": True, "offer": {"type": "offer", "sdp": self.up.localDescription.sdp},
            "tracks": [{"mid": self.up.getTransceivers()[0].mid, "source": "microphone"}]})


async def within(awaitable, what, seconds=15):
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"{what}: not in {seconds} s") from None

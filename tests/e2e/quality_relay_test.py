"""A call through a relay that judges its media: a client whose packets are lost on the way there (a seeded
one, without its own reports), the relay's word by Redis, sori-server's records of it.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import os
import random
import socket
import sqlite3
import struct
import time
import uuid

import pytest

from nodesworld import Nodes, until
from soridaemon import metric
from turnclient import TurnClient

OFFER = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
LEDGER = """
[ledger]
file = {file}
token_key_file = @FOLDER@/secret
"""
FRAMES, LOST_PERMILLE, ANSWER_S = 400, 120, 0.03
CHANNEL = 0x4000


def rtp(ssrc, n):
    return struct.pack("!BBHII", 0x80, 111, n & 0xFFFF, n * 960, ssrc) + bytes(60)


def check(kind, tid):
    return struct.pack("!HHI", kind, 0, 0x2112A442) + tid


class Voices:
    """ann, behind a relay, and bob, whom it reaches directly: 50 packets a second each way."""

    def __init__(self, port, login):
        self.ann = TurnClient(port, *login)
        self.bob = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bob.bind(("127.0.0.1", 0))
        self.bob.settimeout(5)
        assert self.ann.allocate() == 0 and self.ann.bind_channel(CHANNEL, *self.bob.getsockname()) == 0
        self.ann.send_channel(CHANNEL, b"\xff")
        self.relayed = self.bob.recvfrom(64)[1]
        self.chance = random.Random(5)
        self.lost = 0

    def checks(self):
        """One connectivity check from each side; the answers take their time."""
        tids = os.urandom(12), os.urandom(12)
        self.ann.send_channel(CHANNEL, check(0x0001, tids[0]))
        self.bob.sendto(check(0x0001, tids[1]), self.relayed)
        time.sleep(ANSWER_S)
        self.bob.sendto(check(0x0101, tids[0]), self.relayed)
        self.ann.send_channel(CHANNEL, check(0x0101, tids[1]))

    def run(self):
        self.checks()
        began = time.monotonic()
        for n in range(FRAMES):
            time.sleep(max(0, began + n * 0.02 - time.monotonic()))
            if self.chance.random() * 1000 >= LOST_PERMILLE:
                self.ann.send_channel(CHANNEL, rtp(1, n))
            else:
                self.lost += 1
            self.bob.sendto(rtp(2, n), self.relayed)

    def close(self):
        self.ann.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while self.ann.sock.recv(2048):  # what bob has said
                continue
        self.ann.sock.settimeout(5)
        assert self.ann.refresh(0) == 0
        self.ann.sock.close()
        self.bob.close()


async def call(c, relay):
    """Talks through the relay; gives what each of the two finds in its history, and the losses made."""
    ann, bob, call_id = await c.join("eu-a", "ann"), await c.join("eu-a", "bob"), str(uuid.uuid4())
    granted = (await ann.request("call.invite", call_id, OFFER, to="bob"))["data"]["iceServers"][0]
    await bob.until("call.incoming")
    await bob.request("call.ringing", call_id)
    await bob.request("call.answer", call_id, {"answer": {"type": "answer", "sdp": "v=0"}})
    for m in (ann, bob):
        await m.send("call.state", call_id, {"connectionState": "connected"})
    voices = Voices(relay.port, (granted["username"], granted["credential"]))
    await asyncio.get_running_loop().run_in_executor(None, voices.run)
    await ann.request("call.hangup", call_id)
    await bob.until("call.ended")
    await asyncio.get_running_loop().run_in_executor(None, voices.close)
    found = []
    for m in (ann, bob):
        for _ in range(200):
            (entry,) = (await m.request("history.list"))["data"]["calls"]
            if entry.get("quality", {}).get("samples", 0) >= 4:  # the allocation's end told the last one
                break
            await asyncio.sleep(0.02)
        found.append(entry)
    return found, voices.lost


def known_relay(c, more):
    relay = c.relay("r1", more=more)
    until(lambda: metric(c["eu-a"].admin, 'sori_registered_usable{kind="relay"}') == 1)
    return relay


def rows(file, sql):
    with contextlib.closing(sqlite3.connect(file)) as db:
        return db.execute(sql).fetchall()


@pytest.fixture(name="file")
def ledger_file(tmp_path):
    return tmp_path / "ledger.db"


def test_a_relay_tells_how_a_call_fares_up_to_it(file):
    with Nodes("eu-a", extra=LEDGER.format(file=file)) as c:
        relay = known_relay(c, "[usage]\nmedia_interval = 2\n")
        (ann, bob), lost = asyncio.run(call(c, relay))
        for entry in (ann, bob):
            assert entry["path"] == "turn" and entry["quality"]["leg"] == "relay", entry
            assert entry["quality"]["codec"] == "opus"
            assert 55 <= entry["quality"]["rttMs"] <= 150, entry  # 30 ms of each leg
        assert ann["quality"]["lossPermille"] == 0 and ann["quality"]["mosAvg"] > 4
        made = 1000 * lost / FRAMES
        assert made * 0.7 < bob["quality"]["lossPermille"] < made * 1.3, (made, bob)
        assert bob["quality"]["mosAvg"] < ann["quality"]["mosAvg"] - 0.5 and bob["quality"]["worst"] == "loss"
        samples = rows(file, "SELECT user_id, count(*), min(path) FROM quality_sample WHERE leg='relay' GROUP BY 1")
        assert [(user, path) for user, _, path in samples] == [("ann", "turn"), ("bob", "turn")]
        assert min(n for _, n, _ in samples) >= 4, samples
        assert rows(file, "SELECT path, calls FROM usage_day WHERE calls>0") == [("turn", 1)]  # told by the relay alone
        assert metric(c["eu-a"].admin, 'sori_quality_relay_records_total{result="taken"}') >= 4
        assert metric(relay.admin, 'sori_turn_media_lost_total{from="peer"}') == 0
        assert metric(relay.admin, 'sori_turn_media_lost_total{from="client"}') > 0.7 * lost
        line = relay.wait_log("allocation ended: .*why=released")
        assert " up_lost=" in line and " down_lost=0/" in line, line


def test_a_relay_that_is_not_to_judge_does_not():
    with Nodes("eu-a") as c:
        relay = known_relay(c, "[usage]\nmedia_quality = no\nmedia_interval = 1\n")
        voices = Voices(relay.port, granted(c))
        for n in range(200):
            voices.ann.send_channel(CHANNEL, rtp(1, n))
        voices.close()
        assert metric(relay.admin, 'sori_turn_media_expected_total{from="client"}') == 0
        assert "up_lost" not in relay.wait_log("allocation ended")


def granted(c):
    async def go():
        ann = await c.join("eu-a", "ann")
        ice = (await ann.request("turn.credentials"))["data"]["iceServers"]
        await ann.request("session.close")
        return ice[0]["username"], ice[0]["credential"]
    return asyncio.run(go())

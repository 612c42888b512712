"""Rooms with aiortc, a WebRTC of its own in Python, through sori-server and sori-sfu: audio and data
channels, in single and in pair mode. Its media is protected by AES_CM_128_HMAC_SHA1_80, the other
profile than browsers'; its DTLS, ICE and SCTP are nobody else's code either.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json

import pytest

from aiortcworld import Member, within
from soriclient import SECRET
from soridaemon import Daemon, free_port, metric
from soriserver import Server

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

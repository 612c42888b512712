"""Two ICE agents of Debian's python3-aioice that may only use their relayed candidates, through
sori-turn over UDP, TCP and TLS; and what the daemon refuses.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import base64
import hashlib
import hmac
import ssl
import time

import aioice
import pytest
from aioice import stun, turn

from soridaemon import Daemon, free_port, make_cert, metric

SECRET, PREVIOUS = "the current secret", "the previous secret"


def credential(secret=SECRET, ttl_s=60, call_id="call-1", user="ann"):
    name = f"{int(time.time()) + ttl_s}:{call_id}:{user}"
    mac = hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()
    return name, base64.b64encode(mac).decode()


def config(port, tls, admin):
    return f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
listen_tls = 127.0.0.1:{tls}
realm = example.org
threads = 2
[auth]
secret_file = @FOLDER@/secret
previous_secret_file = @FOLDER@/previous
[limits]
unauthenticated_per_second = 1000
unauthenticated_burst = 1000
client_queue = 8192
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[admin]
listen = 127.0.0.1:{admin}
[log]
users = plain
"""


@pytest.fixture
def relay():
    port, tls, admin = free_port(), free_port(), free_port()
    d = Daemon("sori-turn", config(port, tls, admin),
               files={"secret": SECRET, "previous": PREVIOUS})
    make_cert(d.folder)
    d.udp, d.tls, d.admin = port, tls, admin
    with d:
        yield d


def agent(relay, controlling, transport):
    name, password = credential(user="ann" if controlling else "bob")
    a = aioice.Connection(
        ice_controlling=controlling, components=1, transport_policy=aioice.TransportPolicy.RELAY,
        turn_server=("127.0.0.1", relay.tls if transport == "tls" else relay.udp),
        turn_username=name, turn_password=password, turn_ssl=False,
        turn_transport="udp" if transport == "udp" else "tcp")
    if transport == "tls":
        # A context of our own: the certificate is self-signed.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["stun.turn"])
        a.turn_ssl = context
    return a


async def connect(relay, transport):
    a, b = agent(relay, True, transport), agent(relay, False, transport)
    try:
        await asyncio.gather(a.gather_candidates(), b.gather_candidates())
        assert {c.type for c in a.local_candidates + b.local_candidates} == {"relay"}
        for here, there in ((a, b), (b, a)):
            for candidate in here.local_candidates:
                await there.add_remote_candidate(candidate)
            await there.add_remote_candidate(None)
            there.remote_username, there.remote_password = here.local_username, here.local_password
        await asyncio.wait_for(asyncio.gather(a.connect(), b.connect()), 20)
        for i in range(200):
            text = b"%d" % i * (i + 1)
            await a.send(text)
            assert await asyncio.wait_for(b.recv(), 5) == text
            await b.send(text[::-1])
            assert await asyncio.wait_for(a.recv(), 5) == text[::-1]
    finally:
        await asyncio.gather(a.close(), b.close())


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_two_relay_only_agents_meet(relay, transport):
    # Both relayed addresses are this server's own, on loopback, and no switch opens that: the
    # agents meet only because each port is a live allocation.
    asyncio.run(connect(relay, transport))
    line = relay.wait_log(r"allocation ended: user=(ann|bob) call=call-1")
    assert f"transport={transport}" in line


async def allocate(relay, name, password, transport="udp", lifetime=600):
    """One allocation; gives (transport, protocol of the inner client)."""
    t, protocol = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol, server_addr=("127.0.0.1", relay.udp), username=name,
        password=password, lifetime=lifetime, transport=transport)
    return t, protocol


def inner(t):
    return t._TurnTransport__inner_protocol


async def refused(relay, name, password):
    with pytest.raises(stun.TransactionFailed) as failure:
        await allocate(relay, name, password)
    return failure.value.response.attributes["ERROR-CODE"][0]


def test_wrong_and_expired_credentials_are_refused(relay):
    name, password = credential()
    assert asyncio.run(refused(relay, name, password + "x")) == 401
    assert asyncio.run(refused(relay, *credential(secret="guessed"))) == 401
    assert asyncio.run(refused(relay, *credential(ttl_s=-1))) == 401


def test_refresh_with_an_expired_credential_is_refused(relay):
    async def run():
        t, _ = await allocate(relay, *credential(ttl_s=2))
        client = inner(t)
        request = stun.Message(message_method=stun.Method.REFRESH,
                               message_class=stun.Class.REQUEST)
        request.attributes["LIFETIME"] = 600
        await client.request_with_retry(request)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            again = stun.Message(message_method=stun.Method.REFRESH,
                                 message_class=stun.Class.REQUEST)
            again.attributes["LIFETIME"] = 600
            try:
                await client.request_with_retry(again)
            except stun.TransactionFailed as failure:
                return failure.response.attributes["ERROR-CODE"][0]
            await asyncio.sleep(0.2)
        return None

    assert asyncio.run(run()) == 401


def test_secret_rotation_drops_nobody(relay):
    async def run():
        old = credential(user="before")
        t, _ = await allocate(relay, *old)
        await allocate(relay, *credential(secret=PREVIOUS))
        at = len(relay.lines)
        relay.add_file("previous", SECRET)
        relay.add_file("secret", "the next secret")
        relay.signal()
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: relay.wait_log("reloaded", since=at))
        request = stun.Message(message_method=stun.Method.REFRESH,
                               message_class=stun.Class.REQUEST)
        request.attributes["LIFETIME"] = 600
        await inner(t).request_with_retry(request)
        await allocate(relay, *credential(secret="the next secret"))
        assert await refused(relay, *credential(secret=PREVIOUS)) == 401

    asyncio.run(run())


def test_bad_reload_keeps_what_runs(relay):
    at = len(relay.lines)
    relay.add_file("cert.pem", "no certificate")
    relay.signal()
    relay.wait_log("reload refused, the old settings stay", since=at)
    asyncio.run(refused(relay, *credential(ttl_s=-1)))
    asyncio.run(connect(relay, "tls"))


def test_slow_tcp_client_loses_whole_messages_only(relay):
    """A client that stops reading costs its queue, not more; what arrives later is still framed."""
    async def run():
        loop = asyncio.get_running_loop()
        got = asyncio.Queue()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data, _):
                got.put_nowait(data)

        name, password = credential()
        t, _ = await turn.create_turn_endpoint(
            Receiver, server_addr=("127.0.0.1", relay.udp), username=name, password=password,
            lifetime=600, transport="tcp")
        other, _ = await allocate(relay, *credential(user="bob"))
        here, there = t.get_extra_info("sockname"), other.get_extra_info("sockname")
        # Channels both ways; the peer is another allocation, as loopback is closed.
        t.sendto(b"open", there)
        other.sendto(b"first", here)
        while await asyncio.wait_for(got.get(), 5) != b"first":
            pass
        stream = inner(t).transport
        stream.pause_reading()
        sent, dropped, last = 0, 0, time.monotonic() + 30
        while dropped == 0:  # first the kernel's buffers fill, then the queue
            for sent in range(sent, sent + 200):
                other.sendto(b"%06d" % sent + b"x" * 1000, here)
            sent += 1
            await asyncio.sleep(0.01)
            dropped = metric(relay.admin, 'sori_turn_dropped_total{reason="client_queue"}')
            assert time.monotonic() < last
        stream.resume_reading()
        other.sendto(b"last", here)
        numbers = []
        while True:
            try:
                data = await asyncio.wait_for(got.get(), 1)
            except asyncio.TimeoutError:
                break
            if data == b"last":
                continue
            assert len(data) == 1006 and data[6:] == b"x" * 1000
            numbers.append(int(data[:6]))
            assert time.monotonic() < last
        assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)
        assert 0 < len(numbers) < sent
        other.sendto(b"again", here)
        while await asyncio.wait_for(got.get(), 5) != b"again":
            pass

    asyncio.run(run())

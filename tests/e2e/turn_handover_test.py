"""What one allocation sends to another is handed over in memory, whichever workers they are on: it
arrives like any peer's datagram, under the permissions of both, and takes no way through the kernel.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import socket
import struct
import time

import pytest

from soridaemon import Daemon, free_port, metric
from turnclient import (CREATE_PERMISSION, DATA_ATTR, SEND, XOR_PEER_ADDRESS, TurnClient, attr,
                        parse, unxor, xor_address)

CHANNEL = 0x4000
PACKETS = 50


@pytest.fixture(name="relay", params=[1, 2, 4])
def _relay(request):
    port, admin = free_port(), free_port()
    with Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = {request.param}
[limits]
unauthenticated_burst = 1000
allocations_per_user = 0
[auth]
users_file = @FOLDER@/users
[admin]
listen = 127.0.0.1:{admin}
""", files={"users": "ann:of green gables\n"}) as d:
        d.port, d.admin_port, d.threads = port, admin, request.param
        yield d


def client(d, tcp=False):
    c = TurnClient(d.port, "ann", "of green gables", tcp=tcp)
    assert c.allocate() == 0
    return c


def permit(c, other):
    assert c.request(CREATE_PERMISSION, attr(XOR_PEER_ADDRESS, xor_address(*other.relayed))) == 0


def no_permission(d):
    return metric(d.admin_port, 'sori_turn_dropped_total{reason="no_permission"}')


@pytest.mark.parametrize("a_tcp", [False, True])
@pytest.mark.parametrize("b_tcp", [False, True])
def test_arrives_as_from_the_other_relayed_address(relay, a_tcp, b_tcp):
    with client(relay, a_tcp) as a, client(relay, b_tcp) as b:
        permit(b, a)
        assert a.bind_channel(CHANNEL, *b.relayed) == 0
        a.send_channel(CHANNEL, b"over there..")  # 12 bytes: the client does not pad
        kind, found = parse(b.sock.recv(2048))
        assert kind == 0x0017  # a Data indication: b has no channel to a
        assert unxor(found[XOR_PEER_ADDRESS]) == a.relayed and found[DATA_ATTR] == b"over there.."

        body = attr(XOR_PEER_ADDRESS, xor_address(*a.relayed)) + attr(DATA_ATTR, b"and back")
        b.sock.send(struct.pack("!HHI", 0x10 | SEND, len(body), 0x2112A442) + bytes(12) + body)
        assert a.sock.recv(2048) == struct.pack("!HH", CHANNEL, 8) + b"and back"


def test_takes_no_way_through_the_kernel(relay):
    with client(relay) as a, client(relay) as b:
        permit(b, a)
        assert a.bind_channel(CHANNEL, *b.relayed) == 0
        sent = metric(relay.admin_port, "sori_turn_udp_sent_total")
        for i in range(PACKETS):
            a.send_channel(CHANNEL, b"%d" % i)
            assert parse(b.sock.recv(2048))[1][DATA_ATTR] == b"%d" % i
        # An answer that was under way when we first asked may be counted, too.
        assert metric(relay.admin_port, "sori_turn_udp_sent_total") - sent <= PACKETS + 1


def test_the_receiver_s_permission_counts(relay):
    with client(relay) as a, client(relay) as b:
        assert a.bind_channel(CHANNEL, *b.relayed) == 0
        before = no_permission(relay)
        a.send_channel(CHANNEL, b"not wanted")
        wait_until(lambda: no_permission(relay) == before + 1)
        permit(b, a)
        a.send_channel(CHANNEL, b"wanted")
        assert parse(b.sock.recv(2048))[1][DATA_ATTR] == b"wanted"


def test_an_allocation_may_send_to_itself(relay):
    with client(relay) as a:
        assert a.bind_channel(CHANNEL, *a.relayed) == 0
        a.send_channel(CHANNEL, b"echo")
        assert a.sock.recv(2048) == struct.pack("!HH", CHANNEL, 4) + b"echo"


def test_nothing_goes_to_an_allocation_that_has_ended(relay):
    with client(relay) as a, client(relay) as b:
        permit(b, a)
        assert a.bind_channel(CHANNEL, *b.relayed) == 0
        assert b.refresh(0) == 0
        a.send_channel(CHANNEL, b"too late")
        assert a.refresh(600) == 0
        assert metric(relay.admin_port, 'sori_turn_dropped_total{reason="peer_denied"}') == 1


def test_workers_hand_over_to_each_other(relay):
    """Eight clients, each to each: with several workers some pairs are apart, and none of it goes
    through the kernel's loopback."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(relay)) for _ in range(8)]
        for c in clients:
            assert c.permit("127.0.0.1") == 0
        numbers = []
        for i, a in enumerate(clients):
            for j, b in enumerate(clients):
                if i != j:
                    assert a.bind_channel(CHANNEL + j, *b.relayed) == 0
                    numbers.append((i, j))
        sent = metric(relay.admin_port, "sori_turn_udp_sent_total")
        for n in range(20):
            for i, j in numbers:
                clients[i].send_channel(CHANNEL + j, struct.pack("!HHI", i, j, n))
                message = clients[j].sock.recv(2048)
                assert struct.unpack("!HHHHI", message) == (CHANNEL + i, 8, i, j, n)
        total = 20 * len(numbers)
        assert metric(relay.admin_port, "sori_turn_udp_sent_total") - sent <= total + 8
        handed = metric(relay.admin_port, "sori_turn_handed_over_total")
        assert (0 < handed < total) if relay.threads > 1 else handed == 0


def test_a_flood_is_bounded_and_counted(relay):
    """Everybody sends as fast as they can: what is not handed over is counted, and order holds."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(relay)) for _ in range(4)]
        for c in clients:
            assert c.permit("127.0.0.1") == 0
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        for i, a in enumerate(clients):
            assert a.bind_channel(CHANNEL, *clients[(i + 1) % 4].relayed) == 0
        payload = bytes(1000)
        for n in range(5000):
            for c in clients:
                c.send_channel(CHANNEL, struct.pack("!I", n) + payload)
        last, got = [-1] * 4, 0
        for i, c in enumerate(clients):
            c.sock.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while True:
                    message = c.sock.recv(2048)
                    n = struct.unpack("!I", message[-1004:-1000])[0]
                    assert n > last[i]
                    last[i], got = n, got + 1
        assert got > 0
        for c in clients:
            c.sock.settimeout(5)
            assert c.refresh(0) == 0


def wait_until(what):
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)

"""[turn] ip_headers = copy: DSCP, ECN and TTL of relayed datagrams (RFC 8656 §14), both ways, by
both back ends.
SPDX-License-Identifier: BSD-3-Clause
"""
import socket

import pytest

from soridaemon import Daemon, free_port, metric
from turnclient import TurnClient

EF_ECT1 = 0xB9  # DSCP 46, ECT(1)
IP_RECVTTL = 12  # not in Python's socket module


def config(port, admin, io, headers):
    return f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp =
threads = 1
io = {io}
ip_headers = {headers}
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
[admin]
listen = 127.0.0.1:{admin}
"""


def relay(io, headers):
    port, admin = free_port(), free_port()
    daemon = Daemon("sori-turn", config(port, admin, io, headers), files={"users": "ann:secret\n"})
    daemon.port, daemon.admin = port, admin
    return daemon


def mark(s, tos, ttl):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    s.settimeout(5)


def receive(s):
    """The next datagram's last bytes, TOS and TTL."""
    data, controls, _, _ = s.recvmsg(2000, 256)
    found = {kind: int.from_bytes(value[:4], "little") for _, kind, value in controls}
    return data[-5:], found.get(socket.IP_TOS), found.get(socket.IP_TTL)


@pytest.mark.parametrize("io", ["epoll", "io_uring"])
def test_copied_both_ways(io):
    with relay(io, "copy") as daemon, TurnClient(daemon.port, "ann", "secret") as client, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        assert client.allocate() == 0
        assert client.bind_channel(0x4000, *peer.getsockname()) == 0
        mark(client.sock, EF_ECT1, 40)
        mark(peer, 0x48, 9)
        client.send_channel(0x4000, b"there")
        assert receive(peer) == (b"there", EF_ECT1, 39)
        peer.sendto(b"bback", client.relayed)
        assert receive(client.sock) == (b"bback", 0x48, 8)
        # The last hop is ours: nothing arrives, and it is counted.
        mark(peer, 0, 1)
        peer.sendto(b"never", client.relayed)
        mark(peer, 0, 2)
        peer.sendto(b"again", client.relayed)
        assert receive(client.sock) == (b"again", 0, 1)
        assert metric(daemon.admin, 'sori_turn_dropped_total{reason="hop_limit"}') == 1


def test_defaults_hide_what_came():
    with relay("auto", "default") as daemon, TurnClient(daemon.port, "ann", "secret") as client, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        assert client.allocate() == 0
        assert client.bind_channel(0x4000, *peer.getsockname()) == 0
        mark(client.sock, EF_ECT1, 40)
        mark(peer, 0, 64)
        client.send_channel(0x4000, b"there")
        data, tos, ttl = receive(peer)
        assert (data, tos) == (b"there", 0) and ttl not in (39, 40)

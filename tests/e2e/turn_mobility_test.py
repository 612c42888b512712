"""Mobility (RFC 8016): an allocation follows its client to other ports and transports, whichever
worker the kernel brings it to, and nobody else's; coturn's client does it, too.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import re
import socket
import struct
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port, make_cert, metric
from turnclient import (ALLOCATE, CONNECT, LIFETIME, REFRESH, REQUESTED_TRANSPORT, XOR_PEER_ADDRESS,
                        TurnClient, attr, xor_address)

USERS = "ann:of green gables\nbob:builder\n"
CHANNEL = 0x4000


@pytest.fixture(scope="module", params=[1, 2, 4])
def relay(request):
    port, tls, admin = free_port(), free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
listen_tls = 127.0.0.1:{tls}
mobility = yes
tcp_allocations = yes
threads = {request.param}
[auth]
users_file = @FOLDER@/users
[limits]
unauthenticated_per_second = 0
connects_per_second = 0
allocations_per_user = 0
idle_timeout = 2
[peers]
allow_loopback_peers = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[admin]
listen = 127.0.0.1:{admin}
""", files={"users": USERS})
    make_cert(d.folder)
    d.port, d.tls, d.admin_port, d.threads = port, tls, admin, request.param
    with d:
        yield d


def client(d, transport="udp", user="ann"):
    password = {"ann": "of green gables", "bob": "builder"}[user]
    return TurnClient(d.tls if transport == "tls" else d.port, user, password,
                      tcp=transport == "tcp", tls=transport == "tls")


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(5)
        yield s


def receive(c, n=12):
    """One ChannelData message of 8 bytes."""
    if c.sock.type == socket.SOCK_DGRAM:
        return c.sock.recv(100)
    return c.exactly(n)


def talk(c, peer, what):
    """Both ways over the client's channel; the peer sees the same relayed address always."""
    c.send_channel(CHANNEL, what)
    data, source = peer.recvfrom(100)
    assert data == what
    peer.sendto(what[::-1], source)
    assert receive(c) == struct.pack("!HH", CHANNEL, 8) + what[::-1]
    return source


def refused(c, d):
    """Data from there goes nowhere any more."""
    before = metric(d.admin_port, 'sori_turn_dropped_total{reason="no_allocation"}')
    c.send_channel(CHANNEL, b"nothing!")
    deadline = time.monotonic() + 5
    while metric(d.admin_port, 'sori_turn_dropped_total{reason="no_allocation"}') == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("old", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("new", ["udp", "tcp", "tls"])
def test_moves_to_any_transport_and_worker(relay, peer, old, new):
    """Eight moves in a row: with several workers some of them cross."""
    with contextlib.ExitStack() as stack:
        c = stack.enter_context(client(relay, old))
        assert c.allocate_mobile() == 0
        assert c.bind_channel(CHANNEL, *peer.getsockname()) == 0
        source = talk(c, peer, b"at first")
        for i in range(8):
            moved = stack.enter_context(client(relay, new))
            ticket = c.ticket
            assert moved.move(ticket) == 0
            assert moved.ticket != ticket
            # Not a word from the new place yet: both ways by the old one.
            assert talk(c, peer, b"still %02d" % i) == source
            assert talk(moved, peer, b"moved %02d" % i) == source
            assert moved.refresh(600) == 0
            assert talk(moved, peer, b"again %02d" % i) == source
            c = moved
        assert c.refresh(0) == 0
    wait_for_none(relay)


def wait_for_none(d):
    deadline = time.monotonic() + 10
    while metric(d.admin_port, "sori_turn_allocations"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_were_crossed(relay):
    """The moves above were not all within one worker, or this file shows less than it says."""
    assert metric(relay.admin_port, "sori_turn_moves_total") >= 72


def test_the_old_place_is_given_up(relay, peer):
    with client(relay) as a, client(relay) as b:
        assert a.allocate_mobile() == 0
        assert a.bind_channel(CHANNEL, *peer.getsockname()) == 0
        assert b.move(a.ticket) == 0
        talk(b, peer, b"from new")
        refused(a, relay)
        assert a.refresh(600) == 437
        assert a.allocate() == 0  # and is free for another one
        assert a.refresh(0) == 0 and b.refresh(0) == 0


def test_break_before_make_over_tcp(relay, peer):
    with client(relay, "tcp") as a:
        assert a.allocate_mobile() == 0
        assert a.bind_channel(CHANNEL, *peer.getsockname()) == 0
        source = talk(a, peer, b"over tcp")
    time.sleep(0.1)
    with client(relay) as b:
        assert b.move(a.ticket) == 0
        peer.sendto(b"straight", source)  # nobody is at the old place: at once to the new one
        assert b.sock.recv(100) == struct.pack("!HH", CHANNEL, 8) + b"straight"
        assert b.refresh(0) == 0


def test_a_connection_without_mobility_takes_its_allocation_along(relay):
    with client(relay, "tcp") as a:
        assert a.allocate() == 0
    wait_for_none(relay)


def test_a_moved_connection_lives_longer_than_an_idle_one(relay, peer):
    with client(relay) as a:
        assert a.allocate_mobile() == 0
        assert a.bind_channel(CHANNEL, *peer.getsockname()) == 0
        for _ in range(4):
            with client(relay, "tcp") as b:
                assert b.move(a.ticket) == 0
                talk(b, peer, b"moved to")
                time.sleep(0.6)
                a = b
        with client(relay, "tcp") as b:
            assert b.move(a.ticket) == 0
            talk(b, peer, b"moved to")
            time.sleep(2.5)  # idle_timeout is 2 s
            talk(b, peer, b"is alive")
            assert b.refresh(0) == 0


def test_a_stolen_ticket_is_worth_nothing(relay, peer):
    for _ in range(6):  # over all workers
        with client(relay) as a, client(relay, user="bob") as thief, client(relay) as b:
            assert a.allocate_mobile() == 0
            assert a.bind_channel(CHANNEL, *peer.getsockname()) == 0
            assert thief.move(a.ticket) == 441
            refused(thief, relay)
            talk(a, peer, b"mine now")
            assert b.move(a.ticket) == 0  # it is still good for its user
            assert b.refresh(0) == 0


def test_wrong_and_used_tickets(relay):
    for _ in range(6):
        with client(relay) as a, client(relay) as b, client(relay) as c:
            assert a.allocate_mobile() == 0
            old = a.ticket
            assert a.move(old) == 400  # it has not moved
            assert b.move((b"A" if old[:1] != b"A" else b"B") + old[1:]) == 437
            assert b.move(b"too short") == 400
            assert b.move(old) == 0
            assert c.move(old) == 437
            assert c.move(b.ticket) == 0
            assert c.move(c.ticket, 0) in (0, 400)
            if c.last.get(9):
                assert c.refresh(0) == 0
            with client(relay) as d:
                assert d.move(b.ticket) == 437
    wait_for_none(relay)


def test_what_follows_the_end_at_once(relay):
    """A client that has moved to another worker says in one breath that its allocation is over, that
    it wants another one, and whom that shall connect to: nothing is made for a connection that is
    not there, and nothing stays."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(12):  # over all workers
            with client(relay) as a, client(relay, "tcp") as b:
                assert a.allocate_mobile() == 0
                assert b.move(a.ticket) == 0
                b.sock.sendall(
                    b.message(REFRESH, attr(LIFETIME, bytes(4))) +
                    b.message(ALLOCATE, attr(REQUESTED_TRANSPORT, bytes([6, 0, 0, 0]))) +
                    b.message(CONNECT, attr(XOR_PEER_ADDRESS,
                                            xor_address(*listener.getsockname()))))
                b.read()
                time.sleep(0.05)  # what the daemon would do wrong it does now
    wait_for_none(relay)


def test_tcp_allocations_do_not_move_and_off_is_off():
    port = free_port()
    with Daemon("sori-turn", f"[turn]\nlisten_udp = 127.0.0.1:{port}\nlisten_tcp =\n"
                             "[auth]\nusers_file = @FOLDER@/users\n", files={"users": USERS}):
        with TurnClient(port, "ann", "of green gables") as c:
            assert c.allocate_mobile() == 405
            assert c.move(b"x" * 50) == 405
            assert c.allocate() == 0


def test_coturns_client_moves(relay, peer):
    at = peer.getsockname()[1]
    peer.close()
    echo = subprocess.Popen(["turnutils_peer", "-L", "127.0.0.1", "-p", str(at)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        moves = metric(relay.admin_port, "sori_turn_moves_total")
        p = subprocess.run(
            ["turnutils_uclient", "-M", "-e", "127.0.0.1", "-r", str(at), "-n", "20", "-m", "4",
             "-l", "170", "-u", "ann", "-w", "of green gables", "-p", str(relay.port), "127.0.0.1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
            check=False)
        text = p.stdout.decode("utf-8", "replace")
        assert p.returncode == 0, text
        assert re.search(r"Total lost packets 0 \(0\.0", text), text
        assert metric(relay.admin_port, "sori_turn_moves_total") > moves
    finally:
        echo.kill()
        echo.wait()

"""TCP allocations (RFC 6062): coturn's client, bytes both ways over TCP and TLS and between workers,
half-close, slow readers, and everything that must be refused.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import hashlib
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from soridaemon import Daemon, free_port, make_cert, metric
from turnclient import (CONNECT, CONNECTION_ATTEMPT, CONNECTION_BIND, CONNECTION_ID,
                        XOR_PEER_ADDRESS, TurnClient, attr, parse, unxor)

USERS = "ann:of green gables\nbob:builder\n"
TCP, IPV6 = 6, attr(0x0017, b"\2\0\0\0")


def config(port, tls, admin, threads, extra="", limits=""):
    return f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
listen_tls = 127.0.0.1:{tls}
relay_addresses = 127.0.0.1, ::1
tcp_allocations = yes
threads = {threads}
[auth]
users_file = @FOLDER@/users
[limits]
connects_per_second = 0
new_peers_per_second = 0
allocations_per_user = 0
{limits}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[admin]
listen = 127.0.0.1:{admin}
[peers]
{extra}
"""


@contextlib.contextmanager
def daemon(threads, peers="allow_loopback_peers = yes", limits=""):
    port, tls, admin = free_port(), free_port(), free_port()
    d = Daemon("sori-turn", config(port, tls, admin, threads, peers, limits),
               files={"users": USERS})
    make_cert(d.folder)
    d.port, d.tls, d.admin_port = port, tls, admin
    with d:
        yield d


@pytest.fixture(scope="module", params=[1, 2, 4])
def relay(request):
    with daemon(request.param) as d:
        yield d


@pytest.fixture(scope="module")
def two():
    """Two workers, little patience."""
    with daemon(2, limits="tcp_connect_timeout = 1\ntcp_bind_timeout = 1\ntcp_buffer = 4096\n"
                          "tcp_connections_per_allocation = 3\ntcp_idle_timeout = 2\n") as d:
        yield d


def client(d, user="ann", tls=False):
    password = {"ann": "of green gables", "bob": "builder"}[user]
    return TurnClient(d.tls if tls else d.port, user, password, tcp=True, tls=tls, timeout_s=10)


@contextlib.contextmanager
def listener():
    with socket.create_server(("127.0.0.1", 0)) as s:
        s.settimeout(10)
        yield s


def join(d, control, connection, tls=False, user="ann"):
    """A new data connection for it."""
    data = client(d, user, tls)
    data.realm, data.nonce = control.realm, b""
    assert data.connection_bind(connection) == 0
    return data


@contextlib.contextmanager
def pair(d, control_tls=False, data_tls=False):
    """(control, data connection, the peer's socket)"""
    with client(d, tls=control_tls) as c, listener() as at:
        assert c.allocate(TCP) == 0
        assert c.connect(*at.getsockname()) == 0
        peer, source = at.accept()
        assert source == c.relayed  # from the relayed address, as RFC 6062 §5.2 wants
        peer.settimeout(10)
        with peer, join(d, c, c.connection, data_tls) as data:
            yield c, data, peer


def settled(d, want=0):
    deadline = time.monotonic() + 10
    while metric(d.admin_port, "sori_turn_tcp_connections") != want:
        assert time.monotonic() < deadline, "connections are left"
        time.sleep(0.05)


def test_a_listening_port_of_ours_is_not_given_away():
    """Ports of relayed addresses and of listeners may be shared by sockets of ours; not with each
    other: a client would get other clients' connections."""
    port = free_port()
    d = Daemon("sori-turn", config(port, free_port(), free_port(), 2,
                                   "allow_loopback_peers = yes").replace(
                   "[auth]", f"min_port = {port}\nmax_port = {port}\n[auth]"),
               files={"users": USERS})
    make_cert(d.folder)
    d.port = port
    with d:
        for _ in range(3):
            with client(d) as c:
                assert c.allocate(TCP) == 508
                assert c.allocate() == 508


@pytest.mark.parametrize("control_tls", [False, True])
@pytest.mark.parametrize("data_tls", [False, True])
def test_bytes_pass_both_ways(relay, control_tls, data_tls):
    for _ in range(6):  # the kernel spreads connections over the workers
        with pair(relay, control_tls, data_tls) as (_, data, peer):
            data.sock.sendall(b"to the peer")
            assert peer.recv(100) == b"to the peer"
            peer.sendall(b"to the client")
            assert data.sock.recv(100) == b"to the client"
    settled(relay)


@pytest.mark.parametrize("data_tls", [False, True])
def test_nothing_is_lost_or_reordered(relay, data_tls):
    block = bytes(range(256)) * 256
    count = 64  # 4 MiB each way, at the same time

    def send(sock):
        for i in range(count):
            sock.sendall(struct.pack("!I", i) + block)

    def receive(sock, out):
        digest, n = hashlib.sha256(), 0
        while n < count * (len(block) + 4):
            data = sock.recv(65536)
            assert data
            digest.update(data)
            n += len(data)
        out.append(digest.hexdigest())

    want = hashlib.sha256(b"".join(struct.pack("!I", i) + block for i in range(count))).hexdigest()
    with pair(relay, False, data_tls) as (_, data, peer):
        got = []
        threads = [threading.Thread(target=send, args=(peer,)),
                   threading.Thread(target=receive, args=(peer, got))]
        if not data_tls:  # Python's TLS sockets are for one thread at a time
            threads += [threading.Thread(target=send, args=(data.sock,)),
                        threading.Thread(target=receive, args=(data.sock, got))]
        for t in threads:
            t.start()
        if data_tls:
            send(data.sock)
            receive(data.sock, got)
        for t in threads:
            t.join(30)
        assert got == [want, want]


def test_what_a_peer_sends_before_the_bind_is_not_lost(relay):
    with client(relay) as c, listener() as at:
        assert c.allocate(TCP) == 0
        assert c.connect(*at.getsockname()) == 0
        peer, _ = at.accept()
        with peer:
            peer.sendall(b"early")
            peer.shutdown(socket.SHUT_WR)
            with join(relay, c, c.connection) as data:
                assert data.exactly(5) == b"early"
                assert data.sock.recv(10) == b""
                data.sock.sendall(b"late")  # the other half is open
                assert peer.recv(100) == b"late"


def test_what_a_client_sends_behind_its_bind_is_not_lost(relay):
    with client(relay) as c, listener() as at, client(relay) as data:
        assert c.allocate(TCP) == 0
        assert c.connect(*at.getsockname()) == 0
        peer, _ = at.accept()
        peer.settimeout(10)
        data.realm, data.nonce = c.realm, c.nonce
        data.sock.send(data.message(CONNECTION_BIND, attr(CONNECTION_ID, c.connection)) + b"at once")
        with peer:
            assert peer.recv(100) == b"at once"
            assert parse(data.read())[0] == 0x010B


def test_a_client_that_closes_after_sending_loses_nothing(relay):
    with pair(relay) as (_, data, peer):
        data.sock.sendall(b"x" * 3_000_000)
        data.sock.close()
        got = 0
        while block := peer.recv(65536):
            got += len(block)
        assert got == 3_000_000


@pytest.mark.parametrize("data_tls", [False, True])
def test_half_close_passes_both_ways(relay, data_tls):
    with pair(relay, False, data_tls) as (_, data, peer):
        peer.sendall(b"last words")
        peer.shutdown(socket.SHUT_WR)
        assert data.exactly(10) == b"last words"
        assert data.sock.recv(1) == b""
        data.sock.sendall(b"mine")
        if data_tls:
            data.sock.unwrap().close()
        else:
            data.sock.close()
        assert peer.recv(10) == b"mine" and peer.recv(10) == b""
    settled(relay)


def test_passive(relay):
    with client(relay) as c:
        assert c.allocate(TCP) == 0
        assert c.permit("127.0.0.1") == 0
        for _ in range(4):
            with socket.create_connection(c.relayed, timeout=10) as peer:
                kind, found = parse(c.read())
                assert kind == 0x10 | CONNECTION_ATTEMPT
                assert unxor(found[XOR_PEER_ADDRESS]) == peer.getsockname()
                with join(relay, c, found[CONNECTION_ID]) as data:
                    peer.sendall(b"hello")
                    assert data.exactly(5) == b"hello"
                    data.sock.sendall(b"you too")
                    assert peer.recv(10) == b"you too"
        settled(relay)


def test_without_permission_a_peer_is_closed_at_once(relay):
    with client(relay) as c:
        assert c.allocate(TCP) == 0
        with socket.create_connection(c.relayed, timeout=10) as peer:
            assert closed(peer)
        assert c.refresh(600) == 0  # and no indication came before the answer


def closed(sock):
    try:
        return sock.recv(10) == b""
    except ConnectionError:
        return True


def test_two_clients_of_the_relay_meet(relay):
    with client(relay) as a, client(relay, "bob") as b:
        assert a.allocate(TCP) == 0 and b.allocate(TCP) == 0
        assert b.permit(a.relayed[0]) == 0
        assert a.connect(*b.relayed) == 0
        _, found = parse(b.read())
        assert unxor(found[XOR_PEER_ADDRESS]) == a.relayed
        with join(relay, a, a.connection) as at_a, \
                join(relay, b, found[CONNECTION_ID], user="bob") as at_b:
            at_a.sock.sendall(b"ping")
            assert at_b.exactly(4) == b"ping"
            at_b.sock.sendall(b"pong")
            assert at_a.exactly(4) == b"pong"


def test_everything_ends_with_the_allocation(relay):
    for how in ("refresh", "close"):
        with pair(relay) as (c, data, peer):
            if how == "refresh":
                assert c.refresh(0) == 0
            else:
                c.sock.close()
            assert closed(data.sock) and closed(peer)
        settled(relay)


def test_a_slow_reader_slows_its_sender_and_costs_one_buffer(relay):
    def resident():
        with open(f"/proc/{relay.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * 4096

    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(pair(relay)) for _ in range(3)]
        before = resident()
        sent = 0
        for _, data, peer in pairs:
            data.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            data.sock.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while sent < 1 << 28:
                    sent += data.sock.send(b"y" * 65536)
        assert sent < 1 << 26  # what fits into the kernel's buffers, not more
        assert resident() - before < 3 * 2 * 65536 + (1 << 20)
        for _, _, peer in pairs:  # and none of it is lost
            peer.settimeout(1)
            with contextlib.suppress(TimeoutError):
                while block := peer.recv(1 << 20):
                    sent -= len(block)
        assert sent == 0


# ---- refusals ----

def test_wrong_connection_id_other_user_and_second_bind(relay):
    with client(relay) as c, listener() as at:
        assert c.allocate(TCP) == 0
        assert c.connect(*at.getsockname()) == 0
        peer, _ = at.accept()
        with peer, client(relay) as data, client(relay, "bob") as bob, client(relay) as late:
            wrong = bytes([c.connection[0] ^ 1]) + c.connection[1:]
            assert data.connection_bind(wrong) == 400
            assert data.request(CONNECTION_BIND) == 400
            assert bob.connection_bind(c.connection) == 441
            assert c.connection_bind(c.connection) == 400  # on the control connection
            assert data.connection_bind(c.connection) == 0
            assert late.connection_bind(c.connection) == 400
            data.sock.sendall(b"mine")
            assert peer.recv(10) == b"mine"
        with TurnClient(relay.port, "ann", "of green gables") as over_udp:
            assert over_udp.connection_bind(c.connection) == 400


def test_same_peer_twice(relay):
    with client(relay) as c, listener() as at:
        assert c.allocate(TCP) == 0
        assert c.connect(*at.getsockname()) == 0
        assert c.connect(*at.getsockname()) == 446
        peer, _ = at.accept()
        with peer, join(relay, c, c.connection) as data:
            assert c.connect(*at.getsockname()) == 446
            data.sock.close()
            assert closed(peer)


def test_a_peer_that_refuses(relay):
    with client(relay) as c:
        assert c.allocate(TCP) == 0
        assert c.connect("127.0.0.1", free_port()) == 447


def test_a_peer_that_never_accepts(two):
    with client(two) as c, socket.socket() as at, contextlib.ExitStack() as stack:
        at.bind(("127.0.0.1", 0))
        at.listen(0)
        for _ in range(3):  # fill its queue: the kernel drops further SYNs
            s = stack.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(at.getsockname())
        assert c.allocate(TCP) == 0
        start = time.monotonic()
        assert c.connect(*at.getsockname()) == 447
        assert 0.9 < time.monotonic() - start < 5


def test_a_bind_that_comes_too_late(two):
    with client(two) as c, listener() as at, client(two) as data:
        assert c.allocate(TCP) == 0
        assert c.connect(*at.getsockname()) == 0
        peer, _ = at.accept()
        peer.settimeout(10)
        with peer:
            assert closed(peer)  # after the bind timeout
        assert data.connection_bind(c.connection) == 400


def test_idle_connections_end(two):
    with pair(two) as (_, data, peer):
        data.sock.sendall(b"x")
        assert peer.recv(10) == b"x"
        start = time.monotonic()
        assert closed(peer) and closed(data.sock)
        assert time.monotonic() - start > 1.5
    settled(two)


def test_connections_per_allocation_are_bounded(two):
    with client(two) as c, listener() as at:
        assert c.allocate(TCP) == 0
        assert c.permit("127.0.0.1") == 0
        peers = []
        for _ in range(3):
            peers.append(socket.create_connection(c.relayed, timeout=10))
            assert parse(c.read())[0] == 0x10 | CONNECTION_ATTEMPT
        with socket.create_connection(c.relayed, timeout=10) as one_more:
            assert closed(one_more)
        assert c.connect(*at.getsockname()) == 508
        for p in peers:
            p.close()


def test_only_over_streams_and_only_when_allowed(relay):
    with TurnClient(relay.port, "ann", "of green gables") as c:
        assert c.allocate(TCP) == 400
    port = free_port()
    with Daemon("sori-turn", f"[turn]\nlisten_udp =\nlisten_tcp = 127.0.0.1:{port}\n"
                             "relay_addresses = 127.0.0.1\n[auth]\nusers_file = @FOLDER@/users\n",
                files={"users": USERS}):
        with TurnClient(port, "ann", "of green gables", tcp=True) as c:
            assert c.allocate(TCP) == 442
            assert c.connect("127.0.0.1", 80) == 437


# Every row of the list of addresses that a relay must refuse.
REFUSED4 = ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254",
            "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.0.2.1", "198.51.100.1",
            "203.0.113.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "224.0.0.1",
            "239.255.255.250", "240.0.0.1", "255.255.255.255"]
REFUSED6 = ["::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1",
            "64:ff9b:1::7f00:1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1",
            "5f00::1", "fc00::1", "fe80::1", "fec0::1", "ff02::1"]


def xor_address6(host, port, tid):
    mask = struct.pack("!I", 0x2112A442) + tid
    ip = bytes(a ^ b for a, b in zip(socket.inet_pton(socket.AF_INET6, host), mask))
    return struct.pack("!BBH", 0, 2, port ^ 0x2112) + ip


class Known(TurnClient):
    """Uses a transaction id that is known before the body is made."""

    def connect6(self, host, port):
        tid = b"twelve bytes"
        message = self.message(CONNECT, attr(XOR_PEER_ADDRESS, xor_address6(host, port, tid)), tid)
        self.sock.send(message)
        kind, found = parse(self.read())
        return 0 if kind & 0x110 == 0x100 else found[9][2] * 100 + found[9][3]


def test_no_special_or_own_address_is_connected_to():
    with daemon(1, peers="") as d:
        service = socket.create_server(("127.0.0.1", 0))
        service.settimeout(0.2)
        with client(d) as c:
            assert c.allocate(TCP) == 0
            for host in REFUSED4:
                assert c.connect(host, service.getsockname()[1]) == 403, host
        with Known(d.port, "ann", "of green gables", tcp=True) as c:
            assert c.allocate(TCP, IPV6) == 0
            for host in REFUSED6:
                assert c.connect6(host, 80) == 403, host
        with pytest.raises(TimeoutError):
            service.accept()
        service.close()


# ---- foreign clients ----

@pytest.mark.parametrize("options", [["-T"], ["-T", "-m", "1", "-S"]])
def test_coturns_client(relay, options):
    port = relay.tls if "-S" in options else relay.port
    p = subprocess.run(
        ["turnutils_uclient", "-e", "127.0.0.1", "-r", str(free_port()), "-n", "10", "-m", "3",
         "-l", "170", "-u", "ann", "-w", "of green gables", "-p", str(port), *options, "127.0.0.1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
        check=False)
    text = p.stdout.decode("utf-8", "replace")
    assert p.returncode == 0, text
    assert re.search(r"Total lost packets 0 \(0\.0", text), text

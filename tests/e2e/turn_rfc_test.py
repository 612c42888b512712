"""What no packaged client does: SHA-256 credentials and USERHASH (RFC 8489 §9.2), dual allocations
and ICMP errors (RFC 8656 §7.2, §11.5), by a client of their own; NAT behaviour discovery (RFC 5780)
by coturn's.
SPDX-License-Identifier: BSD-3-Clause
"""
import hashlib
import hmac
import os
import socket
import struct
import subprocess

import pytest

from soridaemon import Daemon, free_port, make_cert
from turnclient import (ALLOCATE, CHANNEL_BIND, ERROR_CODE, LIFETIME, MAGIC, NONCE, REALM, REFRESH,
                        REQUESTED_TRANSPORT, SEND, USERNAME, XOR_PEER_ADDRESS,
                        XOR_RELAYED_ADDRESS, TurnClient, attr, parse, unxor, xor_address)

USER, PASSWORD = "ann", "of green gables"
UDP = bytes([17, 0, 0, 0])
SHA256_OFFER = bytes([0, 2, 0, 0, 0, 1, 0, 0])
MESSAGE_INTEGRITY_SHA256, PASSWORD_ALGORITHM, USERHASH, PASSWORD_ALGORITHMS = 0x1C, 0x1D, 0x1E, 0x8002
ADDITIONAL_ADDRESS_FAMILY, ADDRESS_ERROR_CODE, ICMP, REQUESTED_ADDRESS_FAMILY = 0x8000, 0x8001, 0x8004, 0x17
DONT_FRAGMENT, DATA_ATTR, ALTERNATE_DOMAIN = 0x1A, 0x13, 0x8003


def config(port):
    return f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
relay_addresses = 127.0.0.1, ::1
threads = 1
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
"""


@pytest.fixture(scope="module")
def port():
    p = free_port()
    with Daemon("sori-turn", config(p), files={"users": f"{USER}:{PASSWORD}\n"}):
        yield p


@pytest.fixture
def client(port):
    with TurnClient(port, USER, PASSWORD) as c:
        yield c


class Sha256Client(TurnClient):
    """Takes SHA-256 when it is offered; checks the integrity of every answer to a signed request."""

    hashed = offered = False

    def message(self, method, body):
        self.offered = PASSWORD_ALGORITHMS in self.last
        tid = os.urandom(12)
        if not self.nonce:
            return struct.pack("!HHI", method, len(body), MAGIC) + tid + body
        who = hashlib.sha256(self.user + b":" + self.realm).digest()
        body += attr(USERHASH, who) if self.hashed else attr(USERNAME, self.user)
        body += attr(REALM, self.realm) + attr(NONCE, self.nonce)
        body += attr(PASSWORD_ALGORITHMS, SHA256_OFFER) + attr(PASSWORD_ALGORITHM, b"\0\2\0\0")
        head = struct.pack("!HHI", method, len(body) + 36, MAGIC) + tid
        return head + body + attr(MESSAGE_INTEGRITY_SHA256, self.mac(head + body))

    def mac(self, text):
        key = hashlib.sha256(b":".join((self.user, self.realm, self.password))).digest()
        return hmac.new(key, text, hashlib.sha256).digest()

    def exchange(self, method, body=b""):
        self.sock.send(self.message(method, body))
        answer = self.sock.recv(2048)
        kind, self.last = parse(answer)
        self.realm = self.last.get(REALM, self.realm)
        self.nonce = self.last.get(NONCE, self.nonce)
        if MESSAGE_INTEGRITY_SHA256 in self.last:
            assert self.last[MESSAGE_INTEGRITY_SHA256] == self.mac(answer[:-36])
        return kind


@pytest.mark.parametrize("hashed", [False, True])
def test_sha256_credentials_make_a_whole_session(port, hashed):
    with Sha256Client(port, USER, PASSWORD, tcp=True) as c:
        c.hashed = hashed
        assert c.exchange(ALLOCATE, attr(REQUESTED_TRANSPORT, UDP)) == 0x0113
        assert c.last[PASSWORD_ALGORITHMS] == SHA256_OFFER
        assert c.nonce.startswith(b"obMatJos2AAAD")  # password algorithms, username anonymity
        assert c.exchange(ALLOCATE, attr(REQUESTED_TRANSPORT, UDP)) == 0x0103
        assert MESSAGE_INTEGRITY_SHA256 in c.last
        assert c.exchange(REFRESH, attr(LIFETIME, bytes(4))) == 0x0104
        assert MESSAGE_INTEGRITY_SHA256 in c.last


def test_client_that_checks_certificates_is_told_the_other_name():
    """ALTERNATE-SERVER of both families, ALTERNATE-DOMAIN over TLS with SHA-256 (RFC 8489 §10)."""
    tls, only = free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_tls = 127.0.0.1:{tls}
min_port = {only}
max_port = {only}
alternate_servers = 203.0.113.9:5349, [2001:db8::9]:5349
alternate_domain = other.example.org
alternate_when_full = yes
[auth]
users_file = @FOLDER@/users
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
""", files={"users": f"{USER}:{PASSWORD}\n"})
    make_cert(d.folder)
    with d, TurnClient(tls, USER, PASSWORD, tls=True) as first, \
            Sha256Client(tls, USER, PASSWORD, tls=True) as c:
        assert first.allocate() == 0
        assert c.exchange(ALLOCATE, attr(REQUESTED_TRANSPORT, UDP)) == 0x0113
        assert c.exchange(ALLOCATE, attr(REQUESTED_TRANSPORT, UDP)) == 0x0113
        assert c.last[ERROR_CODE][2:4] == bytes([3, 0])
        assert MESSAGE_INTEGRITY_SHA256 in c.last
        assert c.last[ALTERNATE_DOMAIN] == b"other.example.org"


def test_offer_taken_out_on_the_way_is_noticed(port):
    with TurnClient(port, USER, PASSWORD, tcp=True) as c:
        c.sock.send(c.message(ALLOCATE, attr(REQUESTED_TRANSPORT, UDP)))
        _, challenge = parse(c.sock.recv(2048))
        c.realm = challenge[REALM]
        c.nonce = challenge[NONCE].replace(b"obMatJos2AAAD", b"obMatJos2AAAC")
        c.sock.send(c.message(ALLOCATE, attr(REQUESTED_TRANSPORT, UDP)))
        kind, answer = parse(c.sock.recv(2048))
        assert kind == 0x0113 and answer[9][2:4] == bytes([4, 38])


def test_dual_allocation_relays_over_both_families(client):
    body = attr(REQUESTED_TRANSPORT, UDP) + attr(ADDITIONAL_ADDRESS_FAMILY, b"\2\0\0\0")
    assert client.request(ALLOCATE, body) == 0
    assert ADDRESS_ERROR_CODE not in client.last
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as v6, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as v4:
        v6.bind(("::1", 0))
        v4.bind(("127.0.0.1", 0))
        v4.settimeout(5)
        v6.settimeout(5)
        # The mask of an IPv6 address needs the transaction id: an all-zero one, sent by hand.
        mask = struct.pack("!I", MAGIC) + bytes(12)
        ip = bytes(a ^ b for a, b in zip(socket.inet_pton(socket.AF_INET6, "::1"), mask))
        peer6 = struct.pack("!BBH", 0, 2, v6.getsockname()[1] ^ (MAGIC >> 16)) + ip
        real = os.urandom
        os.urandom = lambda n: bytes(n)
        try:
            assert client.request(CHANNEL_BIND, attr(0x0C, b"\x40\x00\0\0") +
                                  attr(XOR_PEER_ADDRESS, peer6)) == 0
        finally:
            os.urandom = real
        assert client.bind_channel(0x4001, "127.0.0.1", v4.getsockname()[1]) == 0
        client.send_channel(0x4000, b"six")
        client.send_channel(0x4001, b"four")
        data, back = v6.recvfrom(100)
        assert data == b"six"
        v6.sendto(b"back", back)
        assert client.sock.recv(100) == b"\x40\x00\x00\x04back"
        assert v4.recvfrom(100)[0] == b"four"
        four = attr(REQUESTED_ADDRESS_FAMILY, b"\1\0\0\0") + attr(LIFETIME, bytes(4))
        assert client.request(REFRESH, four) == 0
        client.send_channel(0x4001, b"gone")
        client.send_channel(0x4000, b"stays")
        assert v6.recvfrom(100)[0] == b"stays"
        v4.settimeout(0.2)
        with pytest.raises(TimeoutError):
            v4.recvfrom(100)
        assert client.request(REFRESH, four) == 443


def receive_icmp(client):
    kind, found = parse(client.sock.recv(2048))
    assert kind == 0x0017 and DATA_ATTR not in found
    _, what, data = struct.unpack("!HHI", found[ICMP])
    return unxor(found[XOR_PEER_ADDRESS]), what >> 9, what & 511, data


def test_closed_peer_port_is_told(client):
    closed = free_port()
    assert client.allocate() == 0
    assert client.bind_channel(0x4000, "127.0.0.1", closed) == 0
    client.send_channel(0x4000, b"anybody there?")
    assert receive_icmp(client) == (("127.0.0.1", closed), 3, 3, 0)
    # Errors do not get in the way of data.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        assert client.bind_channel(0x4001, *peer.getsockname()) == 0
        for i in range(20):
            client.send_channel(0x4000, b"anybody there?")
            client.send_channel(0x4001, b"%d" % i)
            assert peer.recvfrom(100)[0] == b"%d" % i
            assert receive_icmp(client)[1:3] == (3, 3)


def test_too_long_for_the_path_is_told_with_its_mtu(client):
    with open("/sys/class/net/lo/mtu", encoding="ascii") as f:
        mtu = f.read().strip()
    if subprocess.run(["ip", "link", "set", "lo", "mtu", "1400"], check=False).returncode:
        pytest.skip("needs its own network namespace")
    try:
        peer = free_port()
        assert client.allocate() == 0
        assert client.permit("127.0.0.1") == 0
        for dont_fragment in (b"", attr(DONT_FRAGMENT, b"")):
            body = attr(XOR_PEER_ADDRESS, xor_address("127.0.0.1", peer)) + dont_fragment + \
                attr(DATA_ATTR, bytes(1390))
            client.sock.send(struct.pack("!HHI", SEND | 0x10, len(body), MAGIC) + bytes(12) + body)
            # Of what does not fit this machine's own link, the kernel does not keep the port.
            want = (0, 3, 4, 1400) if dont_fragment else (peer, 3, 3, 0)
            (host, port), *what = receive_icmp(client)
            assert (host, port, *what) == ("127.0.0.1", *want)
    finally:
        subprocess.run(["ip", "link", "set", "lo", "mtu", mtu], check=True)


@pytest.mark.parametrize("padding", [[], ["-P"]])
def test_nat_behaviour_is_discovered_by_coturns_client(padding):
    one, two = free_port(), free_port()
    listen = ", ".join(f"127.0.0.{host}:{p}" for host in (1, 2) for p in (one, two))
    with Daemon("sori-turn", f"[turn]\nstun_only = yes\nnat_discovery = yes\nthreads = 2\n"
                             f"listen_udp = {listen}\nlisten_tcp =\n"):
        p = subprocess.run(["turnutils_natdiscovery", "-m", "-f", *padding, "-p", str(one),
                            "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=30, check=False)
    text = p.stdout.decode("utf-8", "replace")
    assert "NAT with Endpoint Independent Mapping!" in text, text
    assert "NAT with Endpoint Independent Filtering!" in text, text
    assert f"Response origin: : 127.0.0.2:{two}" in text, text
    assert f"Other addr: : 127.0.0.2:{two}" in text, text
    assert "Not received" not in text, text

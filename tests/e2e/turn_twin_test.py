"""The same requests to sori-turn and to Debian's coturn: the same codes, or a difference that the
RFC explains.
SPDX-License-Identifier: BSD-3-Clause
"""
import socket
import struct
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port
from turnclient import (ALLOCATE, CONNECT, CONNECTION_BIND, CONNECTION_ID, MOBILITY_TICKET,
                         CHANNEL_BIND, CHANNEL_NUMBER, CREATE_PERMISSION, LIFETIME, MAGIC,
                        REFRESH, REQUESTED_TRANSPORT, XOR_PEER_ADDRESS, TurnClient, attr,
                        xor_address)

USER, PASSWORD = "ann", "of green gables"
REQUESTED_ADDRESS_FAMILY, EVEN_PORT, DONT_FRAGMENT, RESERVATION_TOKEN = 0x17, 0x18, 0x1A, 0x22

UDP = attr(REQUESTED_TRANSPORT, bytes([17, 0, 0, 0]))
IPV4, IPV6, IPV9 = (attr(REQUESTED_ADDRESS_FAMILY, bytes([n, 0, 0, 0])) for n in (1, 2, 3))
TOKEN = attr(RESERVATION_TOKEN, b"12345678")
ALLOCATED = (ALLOCATE, UDP)
RELEASE = (REFRESH, attr(LIFETIME, bytes(4)))
KEEP = attr(LIFETIME, struct.pack("!I", 600))


def peer(host="127.0.0.1", port=9):
    return attr(XOR_PEER_ADDRESS, xor_address(host, port))


def number(n):
    return attr(CHANNEL_NUMBER, struct.pack("!HH", n, 0))


def bind(n, port=9):
    return CHANNEL_BIND, number(n) + peer(port=port)


# name: (requests, codes of sori-turn, codes of coturn 4.6.1 where they differ)
CASES = {
    "allocate": ([ALLOCATED], [0], None),
    "no_transport": ([(ALLOCATE, b"")], [400], None),
    # RFC 8656 §7.2 step 4: a transport that is not supported is 442.
    "transport_0": ([(ALLOCATE, attr(REQUESTED_TRANSPORT, bytes(4)))], [442], [400]),
    "allocate_twice": ([ALLOCATED, ALLOCATED], [0, 437], None),
    "ipv6": ([(ALLOCATE, UDP + IPV6)], [0], None),
    "unknown_family": ([(ALLOCATE, UDP + IPV9)], [440], None),
    "even_port": ([(ALLOCATE, UDP + attr(EVEN_PORT, b"\0"))], [0], None),
    "even_pair": ([(ALLOCATE, UDP + attr(EVEN_PORT, b"\x80"))], [0], None),
    "even_port_and_token": ([(ALLOCATE, UDP + attr(EVEN_PORT, b"\x80") + TOKEN)], [400], None),
    "token_and_family": ([(ALLOCATE, UDP + IPV4 + TOKEN)], [400], None),
    # §7.2: a token that is not valid is 508; 404 is no code of STUN's.
    "unknown_token": ([(ALLOCATE, UDP + TOKEN)], [508], [404]),
    "dont_fragment": ([(ALLOCATE, UDP + attr(DONT_FRAGMENT, b""))], [0], None),
    "refresh_nothing": ([(REFRESH, KEEP)], [437], None),
    # §8.2: no allocation any more, 437; a client takes that for done.
    "release_twice": ([ALLOCATED, RELEASE, RELEASE], [0, 0, 437], [0, 0, 0]),
    "refresh_other_family": ([ALLOCATED, (REFRESH, IPV6 + KEEP)], [0, 443], None),
    "permit": ([ALLOCATED, (CREATE_PERMISSION, peer())], [0, 0], None),
    # §5: a request for an allocation that is not there is 437.
    "permit_without_allocation": ([(CREATE_PERMISSION, peer())], [437], [400]),
    "bind_without_allocation": ([bind(0x4000)], [437], [400]),
    "permit_nobody": ([ALLOCATED, (CREATE_PERMISSION, b"")], [0, 400], None),
    # §10.2: an address that is cut short is malformed; a group is nobody's peer.
    "permit_cut_address": ([ALLOCATED, (CREATE_PERMISSION, attr(XOR_PEER_ADDRESS, b"\0\1\1\1"))],
                           [0, 400], [0, 0]),
    "permit_multicast": ([ALLOCATED, (CREATE_PERMISSION, peer("224.0.0.1"))], [0, 403], [0, 0]),
    "bind": ([ALLOCATED, bind(0x4000)], [0, 0], None),
    "bind_below_range": ([ALLOCATED, bind(0x3FFF)], [0, 400], None),
    "bind_above_range": ([ALLOCATED, bind(0x8000)], [0, 400], None),
    "bind_without_number": ([ALLOCATED, (CHANNEL_BIND, peer())], [0, 400], None),
    "bind_without_peer": ([ALLOCATED, (CHANNEL_BIND, number(0x4000))], [0, 400], None),
    "bind_again": ([ALLOCATED, bind(0x4000), bind(0x4000)], [0, 0, 0], None),
    "number_to_another_peer": ([ALLOCATED, bind(0x4000), bind(0x4000, 10)], [0, 0, 400], None),
    "peer_to_another_number": ([ALLOCATED, bind(0x4000), bind(0x4001)], [0, 0, 400], None),
    "unknown_required": ([(ALLOCATE, UDP + attr(0x7777, b"abcd"))], [420], None),
    "unknown_optional": ([(ALLOCATE, UDP + attr(0xC777, b"abcd"))], [0], None),
}

TCP = attr(REQUESTED_TRANSPORT, bytes([6, 0, 0, 0]))
TCP_ALLOCATED = (ALLOCATE, TCP)
ID = attr(CONNECTION_ID, b"\1\2\3\4")
TICKET = attr(MOBILITY_TICKET, b"")
LIVE, DEAD = "live", "dead"  # stand for the ports of a peer that accepts, and of none

# The same over TCP. A method with LIVE or DEAD is a Connect to there.
TCP_CASES = {
    "tcp_allocate": ([TCP_ALLOCATED], [0], None),
    "tcp_even_port": ([(ALLOCATE, TCP + attr(EVEN_PORT, b"\0"))], [400], None),
    "tcp_dont_fragment": ([(ALLOCATE, TCP + attr(DONT_FRAGMENT, b""))], [400], None),
    "connect": ([TCP_ALLOCATED, LIVE], [0, 0], None),
    "connect_twice": ([TCP_ALLOCATED, LIVE, LIVE], [0, 0, 446], None),
    "connect_to_nobody": ([TCP_ALLOCATED, DEAD], [0, 447], None),
    # §5.2: no allocation, 437.
    "connect_without_allocation": ([LIVE], [437], [403]),
    "connect_on_udp_allocation": ([ALLOCATED, LIVE], [0, 403], None),
    "connect_without_peer": ([TCP_ALLOCATED, (CONNECT, b"")], [0, 400], None),
    "channel_on_tcp_allocation": ([TCP_ALLOCATED, bind(0x4000)], [0, 403], None),
    "permit_on_tcp_allocation": ([TCP_ALLOCATED, (CREATE_PERMISSION, peer())], [0, 0], None),
    # §5.4: 400; coturn closes the connection.
    "bind_unknown": ([(CONNECTION_BIND, ID)], [400], ["closed"]),
    "bind_without_id": ([(CONNECTION_BIND, b"")], [400], ["closed"]),
    "bind_on_control": ([TCP_ALLOCATED, (CONNECTION_BIND, ID)], [0, 400], None),
    "mobile_tcp": ([(ALLOCATE, UDP + TICKET)], [0], None),
}

SORI = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
tcp_allocations = yes
mobility = yes
relay_addresses = 127.0.0.1, ::1
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
[limits]
unauthenticated_per_second = 0
connects_per_second = 0
"""


def wait_for(port):
    binding = struct.pack("!HHI12s", 1, 0, MAGIC, b"are you up ?")
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.1)
            s.connect(("127.0.0.1", port))
            try:
                s.send(binding)
                s.recv(100)
                return
            except OSError:
                time.sleep(0.05)
    raise AssertionError("coturn does not answer")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    ours, theirs, folder = free_port(), free_port(), tmp_path_factory.mktemp("coturn")
    coturn = subprocess.Popen(
        ["turnserver", "-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-E", "::1", "-p", str(theirs),
         "--no-tls", "--no-dtls", "--no-cli", "--mobility", "--allow-loopback-peers", "-r", "sori", "-a",
         "-u", f"{USER}:{PASSWORD}", f"--pidfile={folder}/pid", f"--userdb={folder}/db",
         f"--log-file={folder}/log"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Daemon("sori-turn", SORI.format(port=ours), files={"users": f"{USER}:{PASSWORD}\n"}):
            wait_for(theirs)
            yield ours, theirs
    finally:
        coturn.kill()
        coturn.wait()


def codes(port, requests):
    with TurnClient(port, USER, PASSWORD) as c:
        result = [c.request(method, body) for method, body in requests]
        c.refresh(0)
        return result


@pytest.mark.parametrize("name", CASES)
def test_codes_are_coturns_or_explained(twins, name):
    requests, ours, theirs = CASES[name]
    assert codes(twins[0], requests) == ours
    assert codes(twins[1], requests) == (theirs or ours)


def tcp_codes(port, requests):
    with socket.create_server(("127.0.0.1", 0)) as live, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # and never listens
        at = {LIVE: live, DEAD: dead}
        with TurnClient(port, USER, PASSWORD, tcp=True, timeout_s=40) as c:
            try:
                return [c.connect(*at[r].getsockname()) if isinstance(r, str) else c.request(*r)
                        for r in requests]
            except ConnectionError:
                return ["closed"]


@pytest.mark.parametrize("name", TCP_CASES)
def test_codes_over_tcp_are_coturns_or_explained(twins, name):
    requests, ours, theirs = TCP_CASES[name]
    assert tcp_codes(twins[0], requests) == ours
    assert tcp_codes(twins[1], requests) == (theirs or ours)

"""Behind load balancers that speak PROXY protocol v2: haproxy for TCP and TLS, a small forwarder for
UDP and DTLS. Clients are whom the headers name; others are not believed.
SPDX-License-Identifier: BSD-3-Clause
"""
import re
import selectors
import socket
import struct
import subprocess
import threading

import pytest

from soridaemon import Daemon, free_port, make_cert, metric
from turnclient import TurnClient, parse, unxor
from udp_peer import peer  # noqa: F401 (a fixture)

USER, PASSWORD = "ann", "of green gables"
PROXY = "127.0.0.77"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
XOR_MAPPED_ADDRESS = 0x0020

CONFIG = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
listen_tls = 127.0.0.1:{tls}
relay_addresses = 127.0.0.1
proxy_protocol_from = {proxy}/32
threads = 2
[auth]
users_file = @FOLDER@/users
[limits]
unauthenticated_per_second = 1
unauthenticated_burst = 20
connects_per_second = 1
connects_burst = 20
handshake_timeout = 1
[clients]
deny_clients = 127.0.0.66, 198.51.100.0/24
[peers]
allow_loopback_peers = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
on_tcp_ports = yes
dtls = yes
[admin]
listen = 127.0.0.1:{admin}
"""

HAPROXY = """
global
    log stdout format raw local0
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen clear
    bind 127.0.0.1:{clear}
    server one 127.0.0.1:{port} source {proxy} send-proxy-v2 proxy-v2-options crc32c
listen tls
    bind 127.0.0.1:{secure}
    server one 127.0.0.1:{tls} source {proxy} send-proxy-v2
"""


class Relay:
    def metric(self, name):
        return metric(self.admin, "sori_turn_" + name)

    def refused(self, why):
        return self.metric(f'connections_refused_total{{reason="{why}"}}')

    def dropped(self, why):
        return self.metric(f'dropped_total{{reason="{why}"}}')


@pytest.fixture(scope="module")
def relay():
    r = Relay()
    r.port, r.tls, r.admin, r.clear, r.secure = (free_port() for _ in range(5))
    d = Daemon("sori-turn", CONFIG.format(port=r.port, tls=r.tls, admin=r.admin, proxy=PROXY),
               files={"users": f"{USER}:{PASSWORD}\n",
                      "haproxy.cfg": HAPROXY.format(port=r.port, tls=r.tls, clear=r.clear,
                                                    secure=r.secure, proxy=PROXY)})
    make_cert(d.folder)
    r.daemon = d
    with d:
        p = subprocess.Popen(["haproxy", "-db", "-f", f"{d.folder}/haproxy.cfg"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        wait_for_port(r.clear)
        yield r
        p.terminate()
        p.wait()


def wait_for_port(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    raise AssertionError(f"nobody listens on {port}")


def header(client, kind=0x12, extensions=b""):
    ip, port = client
    body = socket.inet_aton(ip) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", port, 3478)
    return SIGNATURE + bytes([0x21, kind]) + struct.pack("!H", len(body + extensions)) + body + extensions


class Forwarder(threading.Thread):
    """A UDP load balancer: one socket towards the relay for each client, headers on the way in."""

    def __init__(self, to):
        super().__init__(daemon=True)
        self.to, self.flows = ("127.0.0.1", to), {}
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.bell = socket.socketpair()
        self.wait = selectors.DefaultSelector()
        self.wait.register(self.front, selectors.EVENT_READ)
        self.wait.register(self.bell[0], selectors.EVENT_READ)

    def flow(self, client):
        if client not in self.flows:
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind((PROXY, 0))
            s.connect(self.to)
            self.flows[client] = s
            self.wait.register(s, selectors.EVENT_READ, client)
        return self.flows[client]

    def run(self):
        while True:
            for key, _ in self.wait.select():
                if key.fileobj is self.bell[0]:
                    return
                if key.data:
                    self.front.sendto(key.fileobj.recv(65535), key.data)
                else:
                    data, client = self.front.recvfrom(65535)
                    self.flow(client).send(header(client) + data)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.bell[1].send(b"x")
        self.join()
        for s in (self.front, *self.bell, *self.flows.values()):
            s.close()


def binding():
    return struct.pack("!HHI12s", 1, 0, 0x2112A442, b"proxied.....")


def mapped(s, prefix=b""):
    """Where the relay says that the client is; None when it does not answer."""
    s.settimeout(5)
    s.sendall(prefix + binding())
    answer = s.recv(2048)
    if not answer:
        return None
    kind, found = parse(answer)
    assert kind == 0x0101
    return unxor(found[XOR_MAPPED_ADDRESS])


def dial(port, source, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(5)
    s.bind((source, 0))
    s.connect(("127.0.0.1", port))
    return s


def ended(s):
    try:
        return s.recv(2048) == b""
    except ConnectionResetError:
        return True


def uclient(port, peer, *args):
    p = subprocess.run(["turnutils_uclient", "-e", "127.0.0.1", "-r", str(peer), "-n", "10", "-m",
                        "1", "-l", "170", "-z", "20", "-c", "-u", USER, "-w", PASSWORD, "-p",
                        str(port), *args, "127.0.0.1"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    text = p.stdout.decode("utf-8", "replace")
    assert p.returncode == 0 and re.findall(r"tot_recv_msgs=(\d+)", text)[-1:] == ["10"], text


# ---- streams, through haproxy ----

def test_haproxy_tcp_client_is_told_its_own_address(relay):
    with dial(relay.clear, "127.0.0.5") as s:
        assert mapped(s) == s.getsockname()


@pytest.mark.parametrize("mode", [["-t"], ["-t", "-S"]], ids=["tcp", "tls_on_tcp_port"])
def test_haproxy_relays(relay, peer, mode):
    uclient(relay.clear, peer, *mode)


def test_haproxy_relays_tls(relay, peer):
    uclient(relay.secure, peer, "-t", "-S")


def test_denied_client_is_denied_through_the_proxy(relay):
    before = relay.refused("client_denied")
    with dial(relay.clear, "127.0.0.66") as s:
        assert gets_nothing(s)
    assert relay.refused("client_denied") == before + 1


def gets_nothing(s):
    try:
        return mapped(s) is None
    except (ConnectionError, BrokenPipeError):
        return True


def test_connections_are_limited_by_client_not_by_proxy(relay):
    before, held = relay.refused("rate"), []
    for _ in range(60):
        s = dial(relay.clear, "127.0.0.8")
        s.sendall(binding())
        held.append(s)
    for s in held:
        try:
            s.recv(2048)
        except ConnectionError:
            pass
        s.close()
    assert relay.refused("rate") > before
    with dial(relay.clear, "127.0.0.10") as s:
        assert mapped(s) == s.getsockname()


@pytest.mark.parametrize("first", [binding(), b"PROXY TCP4 192.0.2.1 127.0.0.1 5 3478\r\n",
                                   header(("192.0.2.1", 5), kind=0x12), b""],
                         ids=["none", "version_1", "of_a_datagram", "silence"])
def test_the_proxy_must_send_the_header(relay, first):
    before = relay.refused("proxy_header")
    with dial(relay.port, PROXY) as s:
        s.sendall(first)
        assert ended(s)
    assert relay.refused("proxy_header") == before + 1


def test_others_are_direct_and_their_headers_are_not_believed(relay):
    with dial(relay.port, "127.0.0.9") as s:
        assert mapped(s) == s.getsockname()
    with dial(relay.port, "127.0.0.9") as s:
        s.sendall(header(("127.0.0.5", 5), kind=0x11) + binding())
        assert ended(s)


# ---- datagrams ----

def test_udp_client_is_told_its_own_address(relay):
    with Forwarder(relay.port) as f, dial(f.port, "127.0.0.5", socket.SOCK_DGRAM) as s:
        assert mapped(s) == s.getsockname()


@pytest.mark.parametrize("mode", [[], ["-s"], ["-S"]], ids=["channels", "send_data", "dtls"])
def test_udp_is_relayed(relay, peer, mode):
    with Forwarder(relay.port) as f:
        uclient(f.port, peer, *mode)


def test_data_follows_the_proxy_to_another_port(relay):
    """As when a load balancer forgets a flow: the next good request moves the way back. The other
    port may be another worker's, which does not know the allocation: try until it is not."""
    with Forwarder(relay.port) as f, dial(relay.port, "127.0.0.20", socket.SOCK_DGRAM) as peer, \
            TurnClient(f.port, USER, PASSWORD, source="127.0.0.21") as c:
        assert c.allocate() == 0 and c.permit("127.0.0.20") == 0
        client = c.sock.getsockname()
        at = peer.getsockname()
        assert c.bind_channel(0x4000, *at) == 0
        peer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as p:
            p.settimeout(5)
            p.bind(at)
            for _ in range(64):
                old = f.flows.pop(client)
                f.wait.unregister(old)
                old.close()
                if c.refresh(600) == 0:
                    break
            else:
                raise AssertionError("no port of the proxy's leads to the allocation")
            p.sendto(b"over the new port", c.relayed)
            assert c.sock.recv(2048)[4:] == b"over the new port"


def test_answers_are_limited_by_client_not_by_proxy(relay):
    before = relay.dropped("source_limit")
    with dial(relay.port, PROXY, socket.SOCK_DGRAM) as s:
        for i in range(100):
            s.send(header(("192.0.2.50", 1000 + i)) + binding())
        for i in range(19):  # of one burst of 20 at least
            s.recv(2048)
        s.settimeout(0.2)
        with pytest.raises(socket.timeout):
            while True:
                s.recv(2048)
        assert relay.dropped("source_limit") > before
        s.settimeout(5)
        assert mapped(s, header(("192.0.2.51", 7))) == ("192.0.2.51", 7)
        assert mapped(s, header(("192.0.2.52", 7), extensions=b"\4\0\3abc")) == ("192.0.2.52", 7)


def test_bad_datagrams_of_a_proxy_are_dropped_and_counted(relay):
    before = relay.dropped("proxy_header")
    bad = [binding(), header(("192.0.2.1", 5))[:20], header(("192.0.2.1", 5), kind=0x11) + binding(),
           header(("192.0.2.1", 5), extensions=b"\3\0\4\0\0\0\0") + binding()]
    with dial(relay.port, PROXY, socket.SOCK_DGRAM) as s:
        for d in bad:
            s.send(d)
        assert mapped(s, header(("192.0.2.60", 7))) == ("192.0.2.60", 7)
    assert relay.dropped("proxy_header") == before + len(bad)


def test_denied_udp_client_gets_nothing(relay):
    before = relay.dropped("client_denied")
    with dial(relay.port, PROXY, socket.SOCK_DGRAM) as s:
        s.send(header(("198.51.100.1", 5)) + binding())
        assert mapped(s, header(("192.0.2.70", 7))) == ("192.0.2.70", 7)
    assert relay.dropped("client_denied") == before + 1


def test_udp_header_of_others_is_not_believed(relay):
    with dial(relay.port, "127.0.0.30", socket.SOCK_DGRAM) as s:
        s.send(header(("192.0.2.80", 5)) + binding())
        assert mapped(s) == s.getsockname()

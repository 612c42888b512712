"""TURN over DTLS (RFC 7350): foreign clients, certificates, and what strangers can and cannot do.
SPDX-License-Identifier: BSD-3-Clause
"""
import os
import re
import socket
import struct
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port, make_cert, metric
from turnclient import REALM, parse
from udp_peer import peer  # noqa: F401 (a fixture)

USER, PASSWORD = "ann", "of green gables"

CONFIG = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp =
relay_addresses = 127.0.0.1
threads = 1
[auth]
users_file = @FOLDER@/users
[limits]
unauthenticated_per_second = 0
connects_per_second = 0
handshake_timeout = {handshake}
{limits}
[peers]
allow_loopback_peers = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
dtls = yes
{tls}
[admin]
listen = 127.0.0.1:{admin}
{more}
"""


class Relay:
    def __init__(self, limits="", tls="", handshake=5, names=(), more=""):
        self.port, self.admin = free_port(), free_port()
        self.daemon = Daemon("sori-turn", CONFIG.format(port=self.port, admin=self.admin,
                                                        limits=limits, tls=tls,
                                                        handshake=handshake, more=more),
                             files={"users": f"{USER}:{PASSWORD}\n"})
        make_cert(self.daemon.folder)
        for name in names:
            make_host_cert(self.daemon.folder, name)

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *what):
        return self.daemon.__exit__(*what)

    def metric(self, name):
        return metric(self.admin, "sori_turn_" + name)

    def dropped(self, reason):
        return self.metric(f'dropped_total{{reason="{reason}"}}')

    def wait_metric(self, name, value, timeout_s=10):
        end = time.monotonic() + timeout_s
        while self.metric(name) != value:
            assert time.monotonic() < end, (name, self.metric(name), value)
            time.sleep(0.02)

    def rss_kib(self):
        with open(f"/proc/{self.daemon.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def make_host_cert(folder, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(f"{folder}/{name}.key", 0o600)


def s_client(port, *args):
    """OpenSSL's own client: gives what it prints."""
    p = subprocess.Popen(["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{port}", *args],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = b""
    try:
        while b"Verify return code" not in out and b"alert" not in out:
            line = p.stdout.readline()
            if not line:
                break
            out += line
    finally:
        p.kill()
        p.wait()
        p.stdin.close()
        p.stdout.close()
    return out.decode()


def certificate(port, host=None):
    text = s_client(port, *(["-servername", host] if host else ["-noservername"]))
    return re.search(r"-----BEGIN.*?-----END CERTIFICATE-----\n", text, re.S).group(0)


def pem(folder, name):
    with open(f"{folder}/{name}.pem") as f:
        return f.read()


# ---- a hello by hand ----

def hello(cookie=b"", random=b"r" * 32, record=0, message=0, cut=None):
    """A ClientHello with ECDHE suites, whole or cut into fragments of `cut` bytes."""
    groups = struct.pack("!HHHHH", 10, 6, 4, 29, 23)
    signatures = struct.pack("!HHHHH", 13, 6, 4, 0x0403, 0x0804)
    extensions = groups + struct.pack("!HHBB", 11, 2, 1, 0) + signatures
    body = (b"\xfe\xfd" + random + b"\0" + bytes([len(cookie)]) + cookie +
            struct.pack("!HHH", 4, 0xC02B, 0xC02F) + b"\1\0" +
            struct.pack("!H", len(extensions)) + extensions)
    out = []
    for at in range(0, len(body), cut or len(body)):
        part = body[at:at + (cut or len(body))]
        fragment = (b"\1" + len(body).to_bytes(3, "big") + struct.pack("!H", message) +
                    at.to_bytes(3, "big") + len(part).to_bytes(3, "big") + part)
        out.append(b"\x16\xfe\xff\0\0" + (record + len(out)).to_bytes(6, "big") +
                   struct.pack("!H", len(fragment)) + fragment)
    return out if cut else out[0]


def dial(port, source="127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.bind((source, 0))
    s.connect(("127.0.0.1", port))
    return s


def cookie_of(answer):
    assert answer[0] == 22 and answer[13] == 3, answer
    return answer[28:28 + answer[27]]


HANDSHAKE = 22  # RFC 5246, ContentType


def begin(s, **more):
    """Gets a cookie and comes again with it; gives the server's first datagram. The port may have been an
    earlier client's, whose association ends then with an encrypted goodbye."""
    s.send(hello(**more))
    answer = s.recv(4096)
    s.send(hello(cookie_of(answer), record=1, message=1, **more))
    while True:
        answer = s.recv(4096)
        if answer[0] == HANDSHAKE:
            return answer


# ---- foreign clients ----

@pytest.fixture(scope="module")
def relay():
    with Relay() as r:
        yield r


MODES = {"channels": [], "one_port": ["-c"], "send_data": ["-c", "-s"], "large": ["-c", "-l", "1400"],
         "client_to_client": ["-y", "-c"]}


@pytest.mark.parametrize("mode", MODES)
def test_uclient_is_relayed(relay, peer, mode):
    p = subprocess.run(["turnutils_uclient", "-S", "-e", "127.0.0.1", "-r", str(peer), "-n", "10",
                        "-m", "2", "-l", "170", "-z", "20", "-u", USER, "-w", PASSWORD, "-p",
                        str(relay.port), *MODES[mode], "127.0.0.1"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    text = p.stdout.decode("utf-8", "replace")
    sent, received = (re.findall(rf"tot_{w}_msgs=(\d+)", text)[-1] for w in ("send", "recv"))
    assert p.returncode == 0 and sent == received and int(sent) >= 20, text
    relay.daemon.wait_log("allocation ended: .* transport=dtls ")


def test_alpn_is_chosen(relay):
    assert "ALPN protocol: stun.turn" in s_client(relay.port, "-alpn", "h2,stun.turn")
    assert "no application protocol" in s_client(relay.port, "-alpn", "h2")


def test_goodbye_ends_the_association():
    with Relay() as relay:  # of its own: elsewhere an earlier client's association may go meanwhile
        p = subprocess.Popen(["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{relay.port}"],
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        relay.wait_metric("dtls_associations", 1)
        relay.wait_metric("dtls_half_open", 0)
        p.stdin.write(b"Q\n")
        p.stdin.close()
        p.wait()
        relay.wait_metric("dtls_associations", 0)


def test_certificate_follows_the_name_and_the_file():
    extra = "more_certificates = @FOLDER@/two.example.pem:@FOLDER@/two.example.key"
    with Relay(tls=extra, names=["two.example"]) as r:
        folder = r.daemon.folder
        assert certificate(r.port) == pem(folder, "cert")
        assert certificate(r.port, "two.example") == pem(folder, "two.example")
        old, at = pem(folder, "cert"), len(r.daemon.lines)
        make_cert(folder)
        r.daemon.wait_log("certificates reloaded", since=at)
        end = time.monotonic() + 5
        while certificate(r.port) == old:
            assert time.monotonic() < end
        assert certificate(r.port) == pem(folder, "cert")


def test_realm_follows_the_name():
    realm = "[realm hosted]\nsni = turn.hosted.example\nusers_file = @FOLDER@/users"
    with Relay(more=realm) as r:
        for host, want in (("turn.hosted.example", b"hosted"), ("turn.example", b"sori")):
            p = subprocess.Popen(["openssl", "s_client", "-dtls1_2", "-quiet", "-servername", host,
                                  "-connect", f"127.0.0.1:{r.port}"], bufsize=0,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
            r.wait_metric("dtls_associations_total", 1 if want == b"hosted" else 2)
            p.stdin.write(struct.pack("!HHI12sHHI", 3, 8, 0x2112A442, b"allocate....", 0x0019, 4,
                                      17 << 24))
            kind, found = parse(p.stdout.read(2048))
            assert kind == 0x0113 and found[REALM] == want
            p.kill()
            p.wait()
            p.stdin.close()
            p.stdout.close()


# ---- strangers ----

def flood(port, hellos):
    """Sends hellos without a cookie, and returns when all have been handled."""
    with dial(port) as s:
        s.setblocking(False)
        for i in range(hellos):
            s.send(hello(random=i.to_bytes(32, "big")))
            if i % 50 == 0:
                try:
                    while True:
                        s.recv(4096)
                except BlockingIOError:
                    pass
        s.settimeout(5)
        while True:
            s.send(hello(random=b"z" * 32, record=77))
            if s.recv(4096)[5:11] == (77).to_bytes(6, "big"):
                break


def test_flood_without_cookies_costs_no_memory(relay):
    relay.wait_metric("dtls_half_open", 0)
    flood(relay.port, 2000)  # touches all buffers that the sockets share
    before, made = relay.rss_kib(), relay.metric("dtls_associations")
    failed = relay.metric("dtls_failed_total")
    flood(relay.port, 20000)
    assert relay.metric("dtls_associations") <= made and relay.metric("dtls_half_open") == 0
    assert relay.metric("dtls_failed_total") == failed
    if not os.environ.get("SAN"):  # sanitizers keep what was freed
        assert relay.rss_kib() - before < 1024


def test_answer_to_a_stranger_is_shorter_than_the_question(relay):
    with dial(relay.port) as s:
        s.send(hello())
        assert len(s.recv(4096)) == 44 < len(hello())


def test_cookie_is_bound_to_address_and_random(relay):
    bad = relay.dropped("dtls_cookie")
    with dial(relay.port) as s, dial(relay.port) as t:
        s.send(hello())
        cookie = cookie_of(s.recv(4096))
        t.send(hello(cookie))
        assert cookie_of(t.recv(4096)) != cookie
        s.send(hello(cookie, random=b"R" * 32))
        assert cookie_of(s.recv(4096)) != cookie
        assert relay.dropped("dtls_cookie") == bad + 2 and relay.metric("dtls_half_open") == 0
        s.send(hello(cookie, record=1, message=1))
        assert s.recv(4096)[13] == 2  # ServerHello
        assert relay.metric("dtls_half_open") == 1


def test_noise_is_counted_and_not_answered(relay):
    before = relay.dropped("dtls_hello"), relay.dropped("dtls_stray")
    noise = [*hello(cut=20), hello()[:60], b"\x16\xfe\xff", b"\x17\xfe\xfd" + bytes(60), b"\x3f"]
    with dial(relay.port) as s:
        for d in noise:
            s.send(d)
        s.send(hello(record=9))
        assert s.recv(4096)[5:11] == (9).to_bytes(6, "big")  # nothing before it
    parts = len(hello(cut=20))
    assert relay.dropped("dtls_hello") == before[0] + parts + 1
    assert relay.dropped("dtls_stray") == before[1] + 3


def test_what_cannot_be_read_yet_is_not_kept():
    """Records of the next epoch, and messages far ahead: OpenSSL would keep a buffer for each."""
    def record(seq, epoch, body):
        return (b"\x16\xfe\xfd" + struct.pack("!H", epoch) + seq.to_bytes(6, "big") +
                struct.pack("!H", len(body)) + body)

    def ahead(message):
        return (b"\x0b" + (16000).to_bytes(3, "big") + struct.pack("!H", message) + bytes(3) +
                (1).to_bytes(3, "big") + b"x")

    with Relay(handshake=30) as r:
        flood(r.port, 2000)
        clients = [dial(r.port) for _ in range(50)]
        before = r.rss_kib()
        for s in clients:
            assert begin(s)[13] == 2
            for i in range(120):
                s.send(record(i, 1, bytes(16000 if i % 2 else 40)))
            for i in range(1, 12):
                s.send(record(10 + i, 0, ahead(i)))
            s.send(hello(record=77))  # all before it has been handled
            assert s.recv(4096)[5:11] == (77).to_bytes(6, "big")
        assert r.metric("dtls_half_open") == 50
        assert r.dropped("dtls_record") >= 50 * 100
        if not os.environ.get("SAN"):
            assert (r.rss_kib() - before) / 50 < 300
        for s in clients:
            s.close()


def test_half_open_handshakes_are_capped_and_timed_out():
    with Relay(limits="dtls_half_open = 3", handshake=1) as r:
        clients = [dial(r.port) for _ in range(4)]
        for s in clients[:3]:
            assert begin(s)[13] == 2
        assert r.metric("dtls_half_open") == 3
        s = clients[3]
        s.send(hello())
        s.send(hello(cookie_of(s.recv(4096)), record=1, message=1))
        s.send(hello(record=5))
        assert s.recv(4096)[5:11] == (5).to_bytes(6, "big")
        assert r.dropped("dtls_half_open") == 1 and r.metric("dtls_half_open") == 3
        r.wait_metric("dtls_half_open", 0)
        assert r.metric("dtls_failed_total") == 3 and r.metric("dtls_associations") == 0
        assert begin(s)[13] == 2
        for s in clients:
            s.close()


def test_associations_are_capped_and_idle_ones_end():
    with Relay(limits="dtls_associations = 1\nidle_timeout = 1") as r:
        p = subprocess.Popen(["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{r.port}"],
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        r.wait_metric("dtls_associations_total", 1)
        with dial(r.port) as s:
            s.send(hello())
            s.send(hello(cookie_of(s.recv(4096)), record=1, message=1))
            s.send(hello(record=5))
            assert s.recv(4096)[5:11] == (5).to_bytes(6, "big")
            assert r.dropped("dtls_full") == 1
            r.wait_metric("dtls_associations", 0)
            assert begin(s)[13] == 2
        p.kill()
        p.wait()
        p.stdin.close()


def test_new_hello_replaces_the_old_handshake_after_its_cookie(relay):
    relay.wait_metric("dtls_half_open", 0)
    with dial(relay.port) as s:
        assert begin(s)[13] == 2
        assert relay.metric("dtls_half_open") == 1
        failed = relay.metric("dtls_failed_total")
        s.setblocking(False)
        try:
            while True:
                s.recv(4096)
        except BlockingIOError:
            pass
        s.settimeout(5)
        assert begin(s, random=b"n" * 32)[13] == 2
        assert relay.metric("dtls_half_open") == 1
        assert relay.metric("dtls_failed_total") == failed + 1


def test_lost_answers_are_sent_again(relay):
    relay.wait_metric("dtls_half_open", 0)
    with dial(relay.port) as s:
        s.send(hello())
        cookie = cookie_of(s.recv(4096))
        s.send(hello(cookie, record=1, message=1))
        first = s.recv(4096)
        s.send(hello(cookie, record=2, message=1))  # the client's, once more, harms nothing
        again = b""
        while again[13:14] != b"\2":  # the ServerHello once more, after a second
            again = s.recv(4096)
        assert again[25:60] == first[25:60]
        assert relay.metric("dtls_half_open") == 1

"""sori-turn as a program: exit statuses, options, what listens, metrics, floods, broken streams.
SPDX-License-Identifier: BSD-3-Clause
"""
import os
import socket
import struct
import time
import urllib.request

import pytest

from soridaemon import ROOT, Daemon, free_port, metric, run_to_exit

MAGIC = 0x2112A442


def binding(tid=b"twelve bytes"):
    return struct.pack("!HHI12s", 1, 0, MAGIC, tid)


@pytest.fixture(scope="module")
def relay():
    port, admin = free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = 1
[auth]
users_file = @FOLDER@/users
[limits]
idle_timeout = 1
connections = 8
[admin]
listen = 127.0.0.1:{admin}
""", files={"users": "ann:x\n"})
    d.udp, d.admin = port, admin
    with d:
        yield d


def test_exit_statuses(tmp_path):
    assert run_to_exit("sori-turn", ["--help"])[0] == 0
    assert run_to_exit("sori-turn", ["--version"])[0] == 0
    assert run_to_exit("sori-turn", ["--print-config"])[0] == 0
    assert run_to_exit("sori-turn", ["--no-such-option"])[0] == 64
    assert run_to_exit("sori-turn", ["stray"])[0] == 64
    code, text = run_to_exit("sori-turn", [])
    assert code == 78 and "open relay" in text
    code, text = run_to_exit("sori-turn", ["--config", str(tmp_path / "missing.ini")])
    assert code == 78 and "missing.ini" in text
    bad = tmp_path / "bad.ini"
    bad.write_text("[turn]\nstun_only = yes\nthreads = many\n")
    code, text = run_to_exit("sori-turn", ["--config", str(bad), "--check-config"])
    assert code == 78 and "bad.ini:3" in text
    bad.write_text("[turn]\nstun_only = yes\n")
    assert run_to_exit("sori-turn", ["--config", str(bad), "--check-config"])[0] == 0
    bad.write_text("[turn]\nstun_only = yes\nlisten_udp = 192.0.2.1:3478\n")
    code, text = run_to_exit("sori-turn", ["--config", str(bad)])
    assert code == 78 and "192.0.2.1:3478" in text


def test_readable_secret_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o644)
    ini = tmp_path / "t.ini"
    ini.write_text(f"[auth]\nsecret_file = {secret}\n")
    assert run_to_exit("sori-turn", ["--config", str(ini), "--check-config"])[0] == 78
    secret.chmod(0o600)
    assert run_to_exit("sori-turn", ["--config", str(ini), "--check-config"])[0] == 0


def test_committed_configuration_is_the_table():
    with open(os.path.join(ROOT, "config", "turn.ini"), encoding="utf-8") as f:
        assert f.read() == run_to_exit("sori-turn", ["--print-config"])[1]


def test_ready_and_metrics_are_served(relay):
    with urllib.request.urlopen(f"http://127.0.0.1:{relay.admin}/readyz", timeout=5) as r:
        assert r.status == 200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.sendto(binding(), ("127.0.0.1", relay.udp))
        s.recv(100)
    assert metric(relay.admin, 'sori_turn_requests_total{method="binding"}') >= 1


def test_flood_from_one_source_is_answered_sparingly(relay):
    before = metric(relay.admin, 'sori_turn_dropped_total{reason="source_limit"}')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)
        s.connect(("127.0.0.1", relay.udp))
        start, answers = time.monotonic(), 0
        for i in range(2000):
            s.send(binding(b"%12d" % i))
        try:
            while True:
                s.recv(100)
                answers += 1
        except socket.timeout:
            pass
        elapsed = time.monotonic() - start
    assert answers <= 10 + 10 * elapsed + 1
    assert metric(relay.admin, 'sori_turn_dropped_total{reason="source_limit"}') > before


def is_served(port, source):
    """Whether a new connection from this source address gets a Binding answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        s.bind((source, 0))
        try:
            s.connect(("127.0.0.1", port))
            s.send(binding())
            return s.recv(100)[:2] == b"\x01\x01"
        except ConnectionError:
            return False


def test_connections_of_one_source_are_limited():
    port, admin = free_port(), free_port()
    with Daemon("sori-turn", f"""
[turn]
stun_only = yes
listen_udp =
listen_tcp = 127.0.0.1:{port}
threads = 1
[limits]
connects_per_second = 1
connects_burst = 5
[admin]
listen = 127.0.0.1:{admin}
"""):
        start = time.monotonic()
        served = sum(is_served(port, "127.0.0.1") for _ in range(40))
        assert 5 <= served <= 5 + time.monotonic() - start + 1
        refused = metric(admin, 'sori_turn_connections_refused_total{reason="rate"}')
        assert refused == 40 - served
        assert is_served(port, "127.0.0.2")  # one source's flood is not another's


def test_denied_clients_get_nothing():
    port, admin = free_port(), free_port()
    with Daemon("sori-turn", f"""
[turn]
stun_only = yes
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = 1
[clients]
allow_clients = 127.0.0.0/24
deny_clients = 127.0.0.2
[admin]
listen = 127.0.0.1:{admin}
"""):
        for source, want in (("127.0.0.1", True), ("127.0.0.2", False), ("127.0.1.1", False)):
            assert is_served(port, source) == want
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(5 if want else 0.3)
                s.bind((source, 0))
                s.sendto(binding(), ("127.0.0.1", port))
                try:
                    assert s.recv(100) and want
                except socket.timeout:
                    assert not want
        assert metric(admin, 'sori_turn_dropped_total{reason="client_denied"}') == 2
        assert metric(admin, 'sori_turn_connections_refused_total{reason="client_denied"}') == 2


def test_stream_is_answered_in_pieces_and_closed_on_noise(relay):
    with socket.create_connection(("127.0.0.1", relay.udp), 5) as s:
        for byte in binding():
            s.send(bytes([byte]))
        assert s.recv(100)[:2] == b"\x01\x01"
        s.send(binding(b"first.......") + binding(b"second......"))
        got = b""
        while len(got) < 64:
            got += s.recv(100)
        assert got[8:20] == b"first......." and got[40:52] == b"second......"
    with socket.create_connection(("127.0.0.1", relay.udp), 5) as s:
        s.settimeout(5)
        s.send(b"\x80 is no first byte of ours")
        try:
            assert s.recv(100) == b""
        except ConnectionResetError:
            pass


def ask(family, address):
    """The address that a Binding from a fresh socket comes back with, and the socket's own."""
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect(address)
        s.send(binding())
        answer = s.recv(100)
        length = 4 if family == socket.AF_INET else 16
        mask = struct.pack("!I", MAGIC) + b"twelve bytes"
        ip = bytes(a ^ b for a, b in zip(answer[28:28 + length], mask))
        port = struct.unpack("!H", answer[26:28])[0] ^ (MAGIC >> 16)
        return (socket.inet_ntop(family, ip), port), s.getsockname()[:2]


def test_wildcards_stand_for_every_address():
    port = free_port()
    with Daemon("sori-turn", f"[turn]\nstun_only = yes\nlisten_tcp =\n"
                             f"listen_udp = 0.0.0.0:{port}, [::]:{port}\n") as d:
        assert f"listening on udp 127.0.0.1:{port}" in d.log()
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if f"{host}" in d.log() or f"[{host}]" in d.log():
                seen, own = ask(family, (host, port))
                assert seen == own


def test_idle_stream_is_closed_whatever_it_asks(relay):
    with socket.create_connection(("127.0.0.1", relay.udp), 5) as s:
        s.settimeout(10)
        start = time.monotonic()
        try:
            while True:
                s.send(binding())
                if not s.recv(100):
                    break
        except OSError:
            pass
        assert 0.5 < time.monotonic() - start < 5


def test_only_declared_sockets_are_open(relay):
    inodes = set()
    for fd in os.listdir(f"/proc/{relay.pid}/fd"):
        target = os.readlink(f"/proc/{relay.pid}/fd/{fd}")
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for kind in ("udp", "tcp", "udp6", "tcp6"):
        with open(f"/proc/{relay.pid}/net/{kind}", encoding="ascii") as f:
            for line in f.readlines()[1:]:
                field = line.split()
                if field[9] in inodes and (kind[:3] == "udp" or field[3] == "0A"):
                    found.add((kind, int(field[1].split(":")[1], 16)))
    assert found == {("udp", relay.udp), ("tcp", relay.udp), ("tcp", relay.admin)}

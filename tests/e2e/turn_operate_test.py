"""Operating sori-turn: drain, control socket, quotas, records of living allocations.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import struct
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from soridaemon import BUILD, Daemon, free_port, make_cert, metric, run_to_exit
from turnclient import ALTERNATE_SERVER, TurnClient

USER, PASSWORD = "ann", "of green gables"


def relay(turn="", more=""):
    port, admin = free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
{turn or "threads = 2"}
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
[admin]
listen = 127.0.0.1:{admin}
{more}
""", files={"users": f"{USER}:{PASSWORD}\nbob:builder\n"})
    d.port, d.admin_port = port, admin
    return d


def client(d, **options):
    return TurnClient(d.port, USER, PASSWORD, **options)


def ready(d):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{d.admin_port}/readyz", timeout=5) as r:
            return r.status == 200
    except urllib.error.HTTPError as e:
        assert e.code == 503
        return False


def assert_ends(d, within_s):
    start = time.monotonic()
    assert d.process.wait(within_s + 5) == 0
    assert time.monotonic() - start < within_s, d.log()


# ---- drain ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_drain_keeps_what_lives_and_ends_with_the_last(number):
    with relay() as d, client(d) as old, client(d) as late, client(d, tcp=True) as stream:
        assert old.allocate() == 0 and ready(d)
        d.signal(number)
        d.wait_log("draining: 1 allocations")
        assert not ready(d)
        assert late.allocate() == 508
        assert stream.allocate() == 508  # new connections are still answered
        assert old.refresh(600) == 0
        assert old.permit("127.0.0.1") == 0
        assert metric(d.admin_port, "sori_turn_draining") == 1
        assert d.process.poll() is None
        assert old.refresh(0) == 0
        assert_ends(d, 2)


def test_drain_ends_after_its_time():
    with relay("drain_timeout = 1") as d, client(d) as c:
        assert c.allocate() == 0
        start = time.monotonic()
        d.signal(signal.SIGTERM)
        assert_ends(d, 3)
        assert time.monotonic() - start > 0.9
        assert "stopping with 1 allocations" in d.log()
        assert "why=shutdown" in d.log()


@pytest.mark.parametrize("turn,signals", [
    ("", [signal.SIGTERM, signal.SIGTERM]), ("", [signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM]),
    ("", [signal.SIGINT]), ("drain_timeout = 0", [signal.SIGTERM])])
def test_the_impatient_are_served_at_once(turn, signals):
    with relay(turn) as d, client(d) as c:
        assert c.allocate() == 0
        for n, number in enumerate(signals):
            if n > 0:
                d.wait_log("draining")
                time.sleep(0.3)
                assert d.process.poll() is None
            d.signal(number)
        assert_ends(d, 2)


def test_idle_relay_ends_at_once():
    with relay() as d:
        d.signal(signal.SIGTERM)
        assert_ends(d, 2)


def test_drain_sends_new_clients_elsewhere():
    with relay("alternate_servers = 203.0.113.9:3479") as d, client(d) as old, client(d) as late:
        assert old.allocate() == 0
        d.signal(signal.SIGTERM)
        d.wait_log("draining")
        assert late.allocate() == 300
        assert late.last[ALTERNATE_SERVER] == struct.pack("!BBH4B", 0, 1, 3479, 203, 0, 113, 9)


def test_full_relay_sends_new_clients_elsewhere():
    port = free_port()
    with relay(f"""alternate_servers = 203.0.113.9:3479
alternate_when_full = yes
min_port = {port}
max_port = {port}""") as d, client(d) as first, client(d) as late:
        assert first.allocate() == 0
        assert late.allocate() == 300
        assert late.last[ALTERNATE_SERVER] == struct.pack("!BBH4B", 0, 1, 3479, 203, 0, 113, 9)
        assert first.refresh(0) == 0
        assert late.allocate() == 0


# ---- control socket ----

CONTROL = "control = @FOLDER@/control"


def ctl(d, *words, expect=0):
    """What sori-turnctl prints, line by line."""
    p = subprocess.run([os.path.join(BUILD, "sori-turnctl"), "--socket",
                        os.path.join(d.folder, "control"), *words], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
    assert p.returncode == expect, (words, p)
    return [json.loads(line) for line in p.stdout.decode().splitlines()]


def test_control_socket_is_private_and_leaves_nothing_behind():
    with relay(more=CONTROL) as d:
        path = os.path.join(d.folder, "control")
        mode = os.stat(path).st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
        d.signal(signal.SIGTERM)
        assert_ends(d, 2)
        assert not os.path.exists(path)


def test_stale_socket_is_replaced_and_a_live_one_is_not():
    d = relay(more=CONTROL)
    left = socket.socket(socket.AF_UNIX)
    left.bind(os.path.join(d.folder, "control"))
    left.close()
    with d:
        assert ctl(d, "status")[-1]["ok"]
        again = relay(more=f"control = {d.folder}/control")
        code, text = run_to_exit("sori-turn", ["--config", again.config])
        again.kill()
        assert code == 78 and "control" in text
        assert ctl(d, "status")[-1]["ok"]


def test_control_lists_kills_and_tells_quotas():
    with relay(more=CONTROL) as d, client(d) as ann, client(d, tcp=True) as stream, \
            TurnClient(d.port, "bob", "builder") as bob:
        assert ann.allocate() == stream.allocate() == bob.allocate() == 0
        status = ctl(d, "status")[-1]
        assert (status["allocations"], status["threads"], status["draining"]) == (3, 2, False)
        *rows, last = ctl(d, "list")
        assert last == {"ok": True, "shown": 3, "left_out": 0}
        assert sorted(r["transport"] for r in rows) == ["tcp", "udp", "udp"]
        *rows, _ = ctl(d, "list", "bob")
        assert len(rows) == 1 and rows[0]["relayed"] == "%s:%d" % bob.relayed
        quota = ctl(d, "quota", "ann")[-1]
        assert (quota["in_use"], quota["user_in_use"], quota["allocations_per_user"]) == (3, 2, 32)

        assert ctl(d, "kill", rows[0]["allocation"]) == [{"ok": True}]
        d.wait_log("why=killed")
        assert bob.refresh(600) == 437
        assert ann.refresh(600) == 0
        assert ctl(d, "kill", rows[0]["allocation"], expect=1)[-1]["error"] == "no such allocation"
        assert ctl(d, "kill", "99.1", expect=1)[-1]["error"] == "no such allocation"
        assert ctl(d, "quota", "bob")[-1]["user_in_use"] == 0


def test_control_sets_the_log_level_and_drains():
    with relay(more=CONTROL) as d, client(d) as c, client(d) as late:
        assert c.allocate() == 0
        assert ctl(d, "log-level", "loud", expect=1)[-1]["ok"] is False
        ctl(d, "log-level", "debug")
        assert ctl(d, "status")[-1]["log_level"] == "debug"
        ctl(d, "drain")
        d.wait_log("draining: 1 allocations")
        ctl(d, "drain")
        assert late.allocate() == 508
        assert ctl(d, "status")[-1]["draining"] is True
        assert c.refresh(0) == 0
        assert_ends(d, 2)


def test_control_survives_noise_and_idlers():
    with relay(more=CONTROL) as d:
        path = os.path.join(d.folder, "control")
        for noise in (b"\n", b"GET / HTTP/1.1\r\n\r\n", b"{" * 4000 + b"\n", b"x" * 100000):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(path)
                try:
                    s.sendall(noise)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except (BrokenPipeError, ConnectionResetError):
                    pass
        with socket.socket(socket.AF_UNIX) as idler:
            idler.connect(path)
            assert ctl(d, "status")[-1]["ok"]  # after the idler's five seconds


def test_turnctl_exit_statuses():
    assert run_to_exit("sori-turnctl", ["--help"])[0] == 0
    assert run_to_exit("sori-turnctl", ["--version"]) == (0, run_to_exit(
        "sori-turn", ["--version"])[1].replace("sori-turn", "sori-turnctl"))
    for wrong in ([], ["no-such"], ["kill"], ["status", "x"], ["--no-such-option"]):
        assert run_to_exit("sori-turnctl", wrong)[0] == 64
    assert run_to_exit("sori-turnctl", ["-s", "/nonexistent/control", "status"])[0] == 69


# ---- quotas ----

def test_quotas_hold_and_are_counted():
    limits = """
[limits]
bandwidth_per_user = 64000
packets_per_second = 50
new_peers_per_second = 1
new_peers_burst = 2
"""
    with relay("threads = 1", limits) as d, client(d) as c, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(0.5)
        assert c.allocate() == 0
        assert c.bind_channel(0x4000, *peer.getsockname()) == 0
        assert c.permit("127.0.0.2") == 0
        assert c.permit("127.0.0.3", "127.0.0.4") == 508
        assert metric(d.admin_port, "sori_turn_new_peers_refused_total") == 1

        def arrive(n, size):
            start, got = time.monotonic(), 0
            for _ in range(n):
                c.send_channel(0x4000, bytes(size))
            with contextlib.suppress(socket.timeout):
                while got < n:
                    got += len(peer.recv(2048)) > 0
            return got, time.monotonic() - start

        got, took = arrive(200, 4)
        assert 50 <= got <= 50 + 50 * took + 1
        assert metric(d.admin_port, 'sori_turn_dropped_total{reason="packet_rate"}') == 200 - got
        time.sleep(1.1)
        got, took = arrive(50, 1920)  # 96 kB at 64 kB/s, a second's worth at once
        assert 32 <= got <= (64000 + 64000 * (took + 1.1)) / 1920
        refused = metric(d.admin_port, 'sori_turn_dropped_total{reason="user_bandwidth"}')
        assert refused == 50 - got


# ---- records ----

def test_record_is_written_while_the_allocation_lives():
    with relay(more="[log]\nusage_interval = 1\nusers = plain") as d, client(d) as c, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        assert c.allocate() == 0
        assert c.bind_channel(0x4000, *peer.getsockname()) == 0
        c.send_channel(0x4000, b"hello")
        d.wait_log(r"allocation alive: user=ann call=- transport=udp seconds=1 up_packets=1 up_bytes=5 ")
        d.wait_log(r"allocation alive: .* seconds=[23] up_packets=1 ")
        assert c.refresh(0) == 0
        d.wait_log(r"allocation ended: user=ann .* why=released")
        at = len(d.lines)
        time.sleep(1.3)
        assert not any("allocation alive" in line for line in d.lines[at:])


# ---- certificates ----

def certificate(port, host=None):
    """What a new TLS connection that names this host is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        context.set_alpn_protocols(["stun.turn"])
        with context.wrap_socket(s, server_hostname=host) as t:
            assert t.selected_alpn_protocol() == "stun.turn"
            return t.getpeercert(binary_form=True)


def test_renewed_certificates_are_served_without_a_signal():
    tls = free_port()
    d = relay(f"listen_tls = 127.0.0.1:{tls}",
              "[tls]\ncert_file = @FOLDER@/cert.pem\nkey_file = @FOLDER@/key.pem")
    make_cert(d.folder)
    with d:
        first = certificate(tls)
        at = len(d.lines)
        d.add_file("cert.pem", "no certificate")
        d.wait_log("reload refused", since=at)
        assert certificate(tls) == first
        make_cert(d.folder)
        d.wait_log("reloaded", since=at)
        wait_until(lambda: certificate(tls) != first)
        second, at = certificate(tls), len(d.lines)
        d.add_file("stray", "not ours")
        time.sleep(1)
        assert not any("reload" in line for line in d.lines[at:]) and certificate(tls) == second


def test_certificate_follows_the_host_that_the_client_names():
    tls = free_port()
    hosts = {"cert": "IP:127.0.0.1,DNS:one.example", "b": "DNS:two.example,DNS:one.example",
             "c": "DNS:*.three.example"}
    d = relay(f"listen_tls = 127.0.0.1:{tls}",
              "[tls]\ncert_file = @FOLDER@/cert.pem\nkey_file = @FOLDER@/cert.key\n"
              "more_certificates = @FOLDER@/b.pem:@FOLDER@/b.key, @FOLDER@/c.pem:@FOLDER@/c.key")
    for name, alt in hosts.items():
        make_cert_for(d.folder, name, alt)
    with d:
        def pem(name):
            with open(os.path.join(d.folder, name + ".pem"), encoding="ascii") as f:
                return ssl.PEM_cert_to_DER_cert(f.read())
        for host, want in ((None, "cert"), ("one.example", "cert"), ("TWO.example", "b"),
                           ("x.three.example", "c"), ("three.example", "cert"),
                           ("x.y.three.example", "cert"), ("nobody.example", "cert")):
            assert certificate(tls, host) == pem(want), host
        before = pem("b")
        make_cert_for(d.folder, "b", hosts["b"])
        wait_until(lambda: certificate(tls, "two.example") != before)
        assert certificate(tls, "two.example") == pem("b")


def make_cert_for(folder, name, alt):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alt}",
         "-keyout", os.path.join(folder, name + ".key"), "-out",
         os.path.join(folder, name + ".pem")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, umask=0o077)


def wait_until(true, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)

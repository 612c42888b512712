"""Port 443 serves every transport, what a client speaks shows in its first byte; and the daemon needs
no capability but the one for ports below 1024.
SPDX-License-Identifier: BSD-3-Clause
"""
import re
import socket
import ssl
import subprocess

import pytest

from soridaemon import Daemon, free_port, make_cert, run_to_exit
from turnclient import TurnClient
from udp_peer import peer  # noqa: F401 (a fixture)

SECRET = "a secret of the test"
USER, PASSWORD = "ann", "of green gables"

CONFIG = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
relay_addresses = 127.0.0.1
realm = sori
threads = 2
[auth]
secret_file = @FOLDER@/secret
users_file = @FOLDER@/users
[limits]
unauthenticated_per_second = 1000
unauthenticated_burst = 1000
connects_per_second = 0
[peers]
allow_loopback_peers = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
on_tcp_ports = yes
dtls = yes
"""


@pytest.fixture(scope="module")
def port():
    port = 443
    d = Daemon("sori-turn", CONFIG.format(port=port),
               files={"secret": SECRET + "\n", "users": f"{USER}:{PASSWORD}\n"},
               prefix=["setpriv", "--bounding-set", "-all,+net_bind_service"])
    make_cert(d.folder)
    with d:
        yield port


def binding(tid):
    return b"\x00\x01\x00\x00\x21\x12\xa4\x42" + tid


@pytest.mark.parametrize("transport", ["stun_udp", "stun_tcp", "stun_tls"])
def test_stun_is_answered(port, transport):
    kind = socket.SOCK_DGRAM if transport == "stun_udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as raw:
        raw.settimeout(5)
        raw.connect(("127.0.0.1", port))
        s = raw
        if transport == "stun_tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["stun.nat-discovery"])
            s = context.wrap_socket(raw)
            assert s.selected_alpn_protocol() == "stun.nat-discovery"
        s.send(binding(b"one port ..."))
        assert s.recv(2048)[:2] == b"\x01\x01"


@pytest.mark.parametrize("mode", [[], ["-t"], ["-t", "-S"], ["-S"]],
                         ids=["udp", "tcp", "tls", "dtls"])
def test_turn_is_relayed(port, peer, mode):
    p = subprocess.run(["turnutils_uclient", "-e", "127.0.0.1", "-r", str(peer), "-n", "10", "-m",
                        "2", "-l", "170", "-z", "20", "-c", "-u", USER, "-w", PASSWORD, "-p",
                        str(port), *mode, "127.0.0.1"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    text = p.stdout.decode("utf-8", "replace")
    assert p.returncode == 0 and re.findall(r"tot_recv_msgs=(\d+)", text)[-1] == "20", text


def test_a_silent_connection_does_not_hold_up_others(port):
    with socket.create_connection(("127.0.0.1", port)), \
            TurnClient(port, USER, PASSWORD, tcp=True) as c:
        assert c.allocate() == 0


@pytest.mark.parametrize("option", ["on_tcp_ports", "dtls"])
def test_needs_a_certificate(tmp_path, option):
    ini = tmp_path / "turn.ini"
    ini.write_text("[turn]\nstun_only = yes\n[tls]\n" + option + " = yes\n")
    code, text = run_to_exit("sori-turn", ["--config", str(ini), "--check-config"])
    assert code == 78 and "cert_file" in text

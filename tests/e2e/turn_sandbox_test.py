"""sori-turn under its systemd unit's system call filter, and where io_uring is not to be had.
SPDX-License-Identifier: BSD-3-Clause
"""
import os
import signal
import socket

import pytest

import sandbox
from soridaemon import Daemon, free_port, make_cert
from turnclient import TurnClient

ROOT = os.environ["SORI_ROOT"]
UNIT = os.path.join(ROOT, "deploy", "systemd", "sori-turn.service")
PREFIX = ["/usr/bin/python3", sandbox.__file__]


def config(port, tls, admin, io="auto"):
    return f"""
[turn]
listen_udp = 0.0.0.0:{port}
listen_tcp = 127.0.0.1:{port}
listen_tls = 127.0.0.1:{tls}
relay_addresses = 127.0.0.1
io = {io}
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
dtls = yes
[admin]
listen = 127.0.0.1:{admin}
control = @FOLDER@/control
"""


def start(unit, io="auto"):
    port = free_port()
    daemon = Daemon("sori-turn", config(port, free_port(), free_port(), io),
                    files={"users": "ann:secret\n"}, prefix=[*PREFIX, unit])
    daemon.port = port
    make_cert(daemon.folder)
    return daemon


def relay_something(daemon):
    with TurnClient(daemon.port, "ann", "secret") as client, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        assert client.allocate() == 0
        assert client.bind_channel(0x4000, *peer.getsockname()) == 0
        client.send_channel(0x4000, b"there")
        assert peer.recvfrom(100)[0] == b"there"


def test_works_within_the_filter_of_its_unit():
    with start(UNIT) as daemon:
        daemon.wait_log("datagrams move by io_uring")
        relay_something(daemon)
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("reloaded")
        relay_something(daemon)


@pytest.mark.parametrize("io", ["auto", "epoll", "io_uring"])
def test_without_io_uring_epoll_does_it_unless_it_was_demanded(io, tmp_path):
    unit = tmp_path / "no-io-uring.service"
    with open(UNIT, encoding="utf-8") as f:
        unit.write_text(f.read() + "\nSystemCallFilter=~io_uring_setup\nSystemCallErrorNumber=EPERM\n")
    daemon = start(str(unit), io)
    if io == "io_uring":
        with pytest.raises(AssertionError, match="no io_uring: Operation not permitted"):
            daemon.start()
        daemon.kill()
        return
    with daemon:
        daemon.wait_log(r"datagrams move by epoll" + (r" \(no io_uring: " if io == "auto" else "$"))
        relay_something(daemon)

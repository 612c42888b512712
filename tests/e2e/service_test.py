"""Sori as a service: what the units allow, what daemons tell the service manager, sockets that stay
open over a restart.

No systemd runs here: the test is the manager, with the sockets of sd_notify(3) and sd_listen_fds(3).
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import glob
import os
import re
import signal
import socket
import subprocess
import tempfile

import pytest

import activate
from soriclient import Client
from soridaemon import BUILD, Daemon, free_port
from soriserver import Server
from turnclient import TurnClient

ROOT = os.environ["SORI_ROOT"]
UNITS = sorted(glob.glob(os.path.join(ROOT, "deploy/systemd/*.service")))
MOST_EXPOSURE = 15  # tenths

SERVER = """
[server]
listen_tls = 127.0.0.1:{tls}
listen_clear = 127.0.0.1:{clear}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
"""
TURN = """
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
relay_addresses = 127.0.0.1
threads = 2
drain_timeout = 0
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
"""
SFU = """
[sfu]
listen = 127.0.0.1
port = {port}
threads = 2
drain_timeout = 0
[control]
listen = unix:@FOLDER@/control
secret_file = @FOLDER@/secret
"""


def systemd_analyze(*words):
    return subprocess.run(["systemd-analyze", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, timeout=60, check=False)


@pytest.mark.parametrize("unit", UNITS, ids=os.path.basename)
def test_the_sandbox_of_each_unit_is_tight(unit):
    run = systemd_analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}", unit)
    assert b"Overall exposure" in run.stdout, run.stdout
    assert run.returncode == 0, run.stdout.decode()


def test_units_are_understood(tmp_path):
    """Nothing that systemd does not know, and nothing it warns of."""
    for unit in glob.glob(os.path.join(ROOT, "deploy/systemd/*")):
        with open(unit, encoding="utf-8") as f:
            text = re.sub(r"/usr/local/bin/(sori-\w+)", lambda m: os.path.join(BUILD, m.group(1)), f.read())
        (tmp_path / os.path.basename(unit)).write_text(text)
    run = systemd_analyze("verify", "--man=no", *map(str, tmp_path.glob("sori-*")))
    assert run.returncode == 0 and not re.search(rb"^sori|/sori-[a-z]+\.(service|socket|timer):", run.stdout,
                                                 re.M), run.stdout.decode()


class Manager:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self, abstract=False, watchdog_us=None):
        self.folder = tempfile.TemporaryDirectory()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"@sori-{os.getpid()}-{id(self)}" if abstract else os.path.join(self.folder.name, "notify")
        self.socket.bind("\0" + name[1:] if abstract else name)
        self.env = {"NOTIFY_SOCKET": name}
        if watchdog_us:
            self.env["WATCHDOG_USEC"] = str(watchdog_us)

    def next(self, other_than=()):
        """The next message, as a dict."""
        self.socket.settimeout(10)
        while True:
            said = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))
            if not set(said) & set(other_than):
                return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.folder.cleanup()


def daemon(name, manager):
    if name == "sori-server":
        return Server(SERVER, env=manager.env).d
    if name == "sori-turn":
        return Daemon(name, TURN.format(port=free_port()), files={"users": "ann:secret\n"}, env=manager.env)
    return Daemon(name, SFU.format(port=free_port()), files={"secret": "0123456789abcdef" * 4 + "\n"},
                  env=manager.env)


@pytest.mark.parametrize("name", ["sori-server", "sori-turn", "sori-sfu"])
def test_tells_when_it_is_ready_alive_and_stopping(name):
    with Manager(watchdog_us=200_000) as manager, daemon(name, manager) as d:
        assert manager.next() == {"READY": "1"} or name == "sori-server"
        for _ in range(5):
            assert manager.next(["READY"]) == {"WATCHDOG": "1"}
        d.signal(signal.SIGTERM)
        said = manager.next(["WATCHDOG", "READY"])
        assert said["STOPPING"] == "1" and int(said["EXTEND_TIMEOUT_USEC"]) >= 1_000_000
        d.process.wait(10)


@pytest.mark.parametrize("name", ["sori-server", "sori-turn"])
def test_tells_of_a_reload(name):
    with Manager(abstract=True) as manager, daemon(name, manager) as d:
        assert manager.next() == {"READY": "1"}
        d.signal(signal.SIGHUP)
        said = manager.next()
        assert said["RELOADING"] == "1" and int(said["MONOTONIC_USEC"]) > 0
        assert manager.next() == {"READY": "1"}


@pytest.mark.parametrize("name", ["sori-server", "sori-turn"])
@pytest.mark.parametrize("env", [{"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}])
def test_does_not_start_for_a_manager_that_would_wait_in_vain(name, env):
    with Manager() as manager:
        manager.env = env
        d = daemon(name, manager)
        with pytest.raises(AssertionError, match="cannot be used"):
            d.start()
        d.kill()


def listening(port, kind=socket.SOCK_STREAM, reuse=False):
    s = socket.socket(socket.AF_INET, kind)
    if reuse:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", port))
    if kind == socket.SOCK_STREAM:
        s.listen(100)
    return s


def activated(sockets):
    fds = [s.fileno() for s in sockets]
    return {"prefix": ["/usr/bin/python3", activate.__file__, ",".join(map(str, fds))], "pass_fds": fds}


async def hello(url):
    client = Client(url, "alice")
    await client.connect()
    await client.socket.close()


def test_server_takes_over_its_port_and_nobody_is_refused_while_it_restarts():
    first = Server(SERVER)
    with listening(first.clear) as port:
        how = activated([port])
        first.d.prefix, first.d.pass_fds = how["prefix"], how["pass_fds"]
        with first:
            first.d.wait_log(f"127.0.0.1:{first.clear} was open already")
            asyncio.run(hello(first.ws))
        # Between the two: the connection waits in the queue.
        with socket.create_connection(("127.0.0.1", first.clear), 5) as early:
            early.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            second = Server(SERVER, **how)
            second.d.add_file("daemon.ini", SERVER.format(tls=second.tls, clear=first.clear).replace(
                "@FOLDER@", second.d.folder))
            with second:
                early.settimeout(5)
                assert b"200 OK" in early.recv(4096)
                asyncio.run(hello(first.ws))


def test_a_socket_that_no_option_names_is_told():
    stray = free_port()
    with listening(stray) as port, Server(SERVER, **activated([port])) as s:
        s.d.wait_log(f"127.0.0.1:{stray} was handed over, but no option names that address")
        asyncio.run(hello(s.ws))


def test_relay_takes_a_socket_for_each_thread():
    port = free_port()
    sockets = [listening(port, socket.SOCK_DGRAM, True), listening(port, socket.SOCK_DGRAM, True), listening(port)]
    d = Daemon("sori-turn", TURN.format(port=port), files={"users": "ann:secret\n"}, **activated(sockets))
    with d:
        d.wait_log(f"udp 127.0.0.1:{port} was open already")
        d.wait_log(f"tcp 127.0.0.1:{port} was open already")
        for tcp in (False, True, False, True):
            with TurnClient(port, "ann", "secret", tcp=tcp) as client:
                assert client.allocate() == 0
        # The test's own descriptors get nothing: the daemon has the same sockets, not others.
        with open("/proc/net/udp", encoding="ascii") as f:
            assert sum(f":{port:04X} " in line for line in f) == 2
    for s in sockets:
        s.close()


def test_more_sockets_than_can_be(tmp_path):
    (tmp_path / "turn.ini").write_text("[turn]\nstun_only = yes\nlisten_udp = 127.0.0.1:1\n")
    p = subprocess.run(["sh", "-c", 'LISTEN_PID=$$ exec "$0" --config "$1"', os.path.join(BUILD, "sori-turn"),
                        str(tmp_path / "turn.ini")], env=dict(os.environ, LISTEN_FDS="65"), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=15, check=False)
    assert p.returncode == 78 and b"LISTEN_FDS" in p.stdout, p.stdout

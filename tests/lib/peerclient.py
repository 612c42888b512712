"""Builds the clients of tests/clients, made of other people's TURN and ICE stacks, when they are out
of date, and starts what they talk to.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import glob
import os
import re
import subprocess

import pytest

from soridaemon import BUILD, ROOT, Daemon, free_port, make_cert, wait_udp

SOURCES = os.path.join(ROOT, "tests", "clients")
PASSWORD = "of green gables"
CONFIG = """
[turn]
listen_udp = {host}:{port}
listen_tcp = {host}:{port}
relay_addresses = {host}
threads = 2
{turn}
[auth]
users_file = @FOLDER@/users
[limits]
unauthenticated_per_second = 1000
unauthenticated_burst = 1000
[peers]
{peers}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
on_tcp_ports = yes
dtls = yes
[log]
users = plain
"""

# For a relay and clients whose clocks run so many times faster than ours; see fast_clock().
SPEED = 50


def fast_clock():
    """The environment of a program whose clock runs SPEED times faster (libfaketime)."""
    if os.environ.get("SAN"):
        pytest.skip("sanitizers and faketime both want to be loaded first")
    return {"LD_PRELOAD": glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0],
            "FAKETIME": f"+0 x{SPEED}"}


def relay(users, *, host="127.0.0.1", turn="", peers="allow_loopback_peers = yes", **more):
    """A sori-turn that serves UDP, TCP, TLS and DTLS on one port, .port; all users have PASSWORD."""
    port = free_port(host=host)
    d = Daemon("sori-turn", CONFIG.format(host=host, port=port, turn=turn, peers=peers),
               files={"users": "".join(f"{user}:{PASSWORD}\n" for user in users)}, **more)
    make_cert(d.folder, host)
    d.port = port
    return d


@contextlib.contextmanager
def media_address():
    """An address that is not loopback's, for clients that do not look at loopback interfaces. Only in
    a network namespace of the test's own."""
    host = "10.77.0.1"
    for words in ("link add media0 type veth peer name media1", f"addr add {host}/24 dev media0",
                  "link set media0 up", "link set media1 up", "route add default dev media0"):
        subprocess.run(["ip", *words.split()], check=True)
    try:
        yield host
    finally:
        subprocess.run(["ip", "link", "del", "media0"], check=True)


def record(daemon, user):
    """The relay's record of an allocation of this user that ended, as {name: value}."""
    return dict(re.findall(r"(\w+)=(\S+)", daemon.wait_log(rf"allocation ended: user={user} ")))


def _build(source, command, env=None):
    """Path of the program made of the source by command(source, program)."""
    source = os.path.join(SOURCES, source)
    program = os.path.join(BUILD, "tests", "clients", os.path.splitext(os.path.basename(source))[0])
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(program), exist_ok=True)
        built = subprocess.run(command(source, program), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=SOURCES,
                               env=dict(os.environ, **(env or {})))
        assert built.returncode == 0, built.stdout.decode("utf-8", "replace")
    return program


def build_c(source, *, packages=(), libraries=()):
    flags = []
    if packages:
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages], check=True,
                               stdout=subprocess.PIPE).stdout.decode().split()
    return _build(source, lambda src, out: [
        "gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", out,
        src, *flags, *libraries])


def build_go(source):
    """From Debian's packages only: nothing is fetched. The cache is kept beside the other objects."""
    return _build(source, lambda src, out: ["go", "build", "-o", out, src],
                  {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOFLAGS": "",
                   "GOCACHE": os.path.join(BUILD, "go-cache")})


@contextlib.contextmanager
def echoing_peer(*hosts):
    """Debian's turnutils_peer on a port of these hosts; gives the port."""
    hosts = hosts or ("127.0.0.1",)
    port = free_port(host=hosts[0])
    listen = [word for host in hosts for word in ("-L", host)]
    p = subprocess.Popen(["turnutils_peer", *listen, "-p", str(port)],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_udp(port)
        yield port
    finally:
        p.kill()
        p.wait()


def run(command, timeout_s=60, env=None):
    """Runs a client to its end; gives (exit status, output)."""
    try:
        p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=timeout_s,
                           env=dict(os.environ, **(env or {})))
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode("utf-8", "replace") + f"\nstopped after {timeout_s} s"
    return p.returncode, p.stdout.decode("utf-8", "replace")

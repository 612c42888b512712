"""People with media (tests/clients/fault_person.mjs) and what serves them, for tests of faults: one sori-server, relays
and SFUs that can be killed.

    with Net() as net, Services(net.address, relays=2) as s:
        ann = Talker(s, "ann", relay_only=True)

SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import select
import subprocess
import sys
import time

from impairnet import ROOT, die_with_parent, stop
from soriclient import SECRET, token
from soridaemon import Daemon, free_port
from soriserver import Server

ANSWER_S = 40

SERVER = """
[server]
listen_tls =
listen_clear = {host}:{clear}
clear_anywhere = yes
[auth]
hs256_secret_file = @FOLDER@/secret
[turn]
urls = {urls}
secret_file = @FOLDER@/secret
{sfus}
[admin]
listen = 127.0.0.1:{admin}
[limits]
handshakes_per_s = 0
invites_per_10s = 0
invites_per_hour = 0
invites_per_pair_per_min = 0
{extra}
"""
TURN = """
[turn]
listen_udp = {host}:{port}
listen_tcp = {host}:{port}
relay_addresses = {host}
[auth]
secret_file = @FOLDER@/secret
[limits]
unauthenticated_per_second = 0
[peers]
allow_private_peers = yes
allow_own_addresses = yes
"""
SFU = """
[sfu]
listen = {host}
port = {port}
threads = 1
drain_timeout = 0
[control]
listen = 127.0.0.1:{control}
secret_file = @FOLDER@/secret
"""


class Services:
    """sori-server with these relays and SFUs; each has .d-like Daemon, a port and the URL clients get."""

    def __init__(self, host, relays=0, sfus=0, transports=("udp",), extra="", sfu_server=""):
        self.host = host
        self.relays, self.sfus = [], []
        files = {"secret": SECRET + "\n"}
        for _ in range(relays):
            port = free_port(host=host)
            d = Daemon("sori-turn", TURN.format(host=host, port=port), files=files)
            d.port = port
            self.relays.append(d)
        for _ in range(sfus):
            port, control = free_port(host=host), free_port()
            d = Daemon("sori-sfu", SFU.format(host=host, port=port, control=control), files=files)
            d.port, d.control = port, control
            self.sfus.append(d)
        urls = ", ".join(f"turn:{host}:{d.port}?transport={t}" for d in self.relays for t in transports)
        nodes = ", ".join(f"n{i}=127.0.0.1:{d.control}" for i, d in enumerate(self.sfus))
        lines = f"[sfu]\nnodes = {nodes}\nsecret_file = @FOLDER@/secret\n{sfu_server}" if nodes else ""
        self.server = Server(SERVER, host=host, urls=urls, sfus=lines, extra=extra)
        self.url = f"ws://{host}:{self.server.clear}/ws"

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        try:
            for d in self.relays + self.sfus:
                self.stack.enter_context(_ending(d))
            self.stack.enter_context(self.server)
        except BaseException:
            self.stack.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *a):
        return self.stack.__exit__(*a)


@contextlib.contextmanager
def _ending(daemon):
    """A daemon that may have been killed in between."""
    with contextlib.ExitStack() as stack:
        daemon.__enter__()
        stack.callback(daemon.kill)
        yield daemon


class Talker:
    """One person; inside(argv) puts it into another namespace."""

    def __init__(self, services, name, relay_only=False, inside=lambda argv: argv):
        self.name = name
        self.process = subprocess.Popen(inside(["node", os.path.join(ROOT, "tests/clients/fault_person.mjs")]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        preexec_fn=die_with_parent)
        self.hello = dict(url=services.url, token=token(name), device=name, relayOnly=relay_only)

    def ready(self):
        """Waits for the program, and connects it."""
        assert self._line() == {"ready": True}
        self("connect", **self.hello)
        return self

    def _line(self):
        if not select.select([self.process.stdout], [], [], ANSWER_S)[0]:
            raise AssertionError(f"{self.name}: no answer in {ANSWER_S} s")
        return json.loads(self.process.stdout.readline() or '{"error": "it ended"}')

    def ask(self, do, **arguments):
        """Writes a command; answer() waits for what comes of it."""
        self.process.stdin.write((json.dumps(dict(arguments, do=do)) + "\n").encode())
        self.process.stdin.flush()

    def answer(self):
        got = self._line()
        assert "error" not in got, f"{self.name}: {got['error']}"
        return got

    def __call__(self, do, **arguments):
        self.ask(do, **arguments)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        stop(self.process)
        self.process.stdout.close()


@contextlib.contextmanager
def talkers(services, *names, **how):
    """Several, started side by side."""
    people = [Talker(services, name, **how) for name in names]
    try:
        yield [p.ready() for p in people]
    finally:
        for p in people:
            p.close()


def quiet_again(people, most_s, calm_s=1.0):
    """Waits until everybody has heard media for a while; gives the longest silence of each (s)."""
    worst = [0.0] * len(people)
    calm_since = None
    deadline = time.monotonic() + most_s
    while True:
        silent = 0.0
        for i, p in enumerate(people):
            got = p("gap")
            worst[i] = max(worst[i], got["gap_ms"] / 1000)
            silent = max(silent, got["silent_ms"] / 1000)
        now = time.monotonic()
        calm_since = (calm_since or now) if silent < 0.25 else None
        if calm_since and now - calm_since > calm_s:
            return worst
        assert now < deadline, f"no media for {silent:.1f} s"
        time.sleep(0.05)

"""What the tests of faults share: daemons that can be killed and come back, figures, seed, short and long form.

FAULTS=long (make faults) asks for the load of the promises, otherwise a small one in seconds. FAULT_SEED
repeats a run. FAULT_FIGURES names the file that figures are added to. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import os
import signal
import time
import urllib.error
import urllib.request

from soridaemon import Daemon
from soriserver import Server
from truth import Crowd

LONG = os.environ.get("FAULTS") == "long"
SEED = int(os.environ.get("FAULT_SEED", "1"))

CONFIG = """
[server]
listen_tls = 127.0.0.1:{tls}
listen_clear = 127.0.0.1:{clear}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
[turn]
urls = turn:127.0.0.1:3478
secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
[limits]
handshakes_per_s = 0
login_failures_per_10min = 0
messages_per_s = 1000
messages_burst = 1000
invites_per_10s = 0
invites_per_hour = 0
invites_per_pair_per_min = 0
{extra}
"""


def sized(short, long):
    return long if LONG else short


def figure(name, value):
    """One figure of the last lines of `make faults`; value None: it was not measured."""
    text = "missing" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    print(f"figure {name}={text}", flush=True)
    if os.environ.get("FAULT_FIGURES"):
        with open(os.environ["FAULT_FIGURES"], "a", encoding="ascii") as f:
            f.write(f"{name}={text}\n")


def say(text):
    print(f"  {text}", flush=True)


def crash(daemon: Daemon):
    """kill -9, and gone; its folder stays."""
    daemon.process.kill()
    daemon.process.wait()
    _close(daemon)


def leave(daemon: Daemon, number=signal.SIGTERM, timeout_s=15):
    """Asks it to end, and waits; its folder stays."""
    daemon.process.send_signal(number)
    code = daemon.process.wait(timeout_s)
    _close(daemon)
    assert code == 0, code


def _close(daemon):
    daemon._reader.join(5)
    daemon.process.stdout.close()
    daemon.old = getattr(daemon, "old", []) + [line for line in daemon.lines if line is not None]
    daemon.lines.clear()


@contextlib.contextmanager
def frozen(daemon: Daemon):
    """SIGSTOP, until the end of the block."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def metrics(port):
    """All of an admin listener: {name with labels: value}."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as r:
        lines = r.read().decode().splitlines()
    return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


async def elsewhere(function, *args):
    """Runs what waits, so that the clients go on."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def run(test, extra="", prefix=(), env=None, **crowd):
    """Runs test(server, crowd) with clients in calls on a server of its own; gives the verdict."""
    async def go(server):
        async with Crowd([server.wss], seed=SEED, **crowd) as c:
            await test(server, c)
            await c.quiet()
        v = c.verdict()
        say(", ".join(f"{k}={round(x, 3) if isinstance(x, float) else x}" for k, x in v.items() if x is not None))
        return v
    with Server(CONFIG, extra=extra, prefix=prefix, env=env) as server:
        return asyncio.run(go(server))


def unharmed(v):
    """Nothing happened to anybody's calls and messages."""
    assert v["messages_lost"] == v["messages_doubled"] == v["gaps"] == v["calls_dropped"] == v["away"] == 0, v
    assert v["said"] > 0 and v["setups_failed"] == 0, v


@contextlib.contextmanager
def within(seconds, what):
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert took <= seconds, f"{what} took {took:.2f} s, not {seconds}"

"""make run and make cluster: they get ready, what dies is told while the rest goes on, and nothing is left
behind. SPDX-License-Identifier: BSD-3-Clause"""
import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest

from callscene import answer, connect, dial, ended, rings
from soriclient import SECRET, Client
from soridaemon import BUILD

ROOT = os.environ["SORI_ROOT"]
ONE, TWO = "127.0.0.1", "127.0.0.2"
PR_SET_CHILD_SUBREAPER = 36


def hear_sigint():
    """As a terminal starts programs. Who is started in the background ignores it, and hands that on: a
    shell's trap cannot take it back."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Script:
    """One of deploy/dev, in a folder of its own; its processes become ours when it dies."""

    def __init__(self, name):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.folder, self.name = tempfile.mkdtemp(prefix="dev-"), name
        os.chmod(self.folder, 0o755)
        self.path("token.secret", SECRET)
        self.lines, self.news = [], threading.Condition()

    def path(self, file, text=None):
        path = os.path.join(self.folder, file)
        if text is not None:
            with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600), encoding="ascii") as f:
                f.write(text)
        return path

    def __enter__(self):
        self.process = subprocess.Popen([os.path.join(ROOT, "deploy/dev", self.name)], cwd=ROOT,
                                        env=dict(os.environ, BUILD=BUILD, RUN_DIR=self.folder),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, preexec_fn=hear_sigint)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_):
        for pid in descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        with contextlib.suppress(ChildProcessError):  # those that have become ours
            while True:
                os.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()
        with self.news:
            self.lines.append("(ended)")
            self.news.notify_all()

    def hear(self, text, timeout_s=30):
        with self.news:
            assert self.news.wait_for(lambda: any(text in x or x == "(ended)" for x in self.lines), timeout_s), self.lines
            assert any(text in x for x in self.lines), self.lines

    def pid(self, name):
        with open(self.path(f"{name}.pid"), encoding="ascii") as f:
            return int(f.read())

    def kill(self, name, number=signal.SIGKILL):
        os.kill(self.pid(name), number)


def descendants(pid=None):
    """Processes that we, or ours, have started and that run."""
    found = []
    for task in os.listdir(f"/proc/{pid or 'self'}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid or 'self'}/task/{task}/children", encoding="ascii") as f:
                for child in map(int, f.read().split()):
                    found += [child, *descendants(child)]
    return found


def readyz(host):
    """What the node says; "" when it says nothing."""
    try:
        with urllib.request.urlopen(f"http://{host}:8081/readyz", timeout=5) as r:
            return r.read().decode()
    except urllib.error.HTTPError as e:
        return e.read().decode()
    except OSError:
        return ""


def until(what, timeout_s=15):
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def call(here, there, caller, callee, relays=()):
    """A whole call between users who dialed in at two addresses; the callee is given these relays."""
    x, y = Client(f"ws://{here}:8080/ws", caller), Client(f"ws://{there}:8080/ws", callee)
    for c in (x, y):
        await c.connect(close_timeout=0.1)
    deadline = time.monotonic() + 5
    while (reply := await dial(x, callee))[1]["type"] != "call.invite":
        assert reply[1]["data"]["retryable"] and time.monotonic() < deadline, reply
        await asyncio.sleep(0.1)
    name = reply[0]
    await rings(y, call=name)
    reply = await answer(y, name)
    urls = " ".join(url for s in reply["data"]["iceServers"] for url in s["urls"])
    assert all(f"turn:{r}:" in urls for r in relays), reply
    await x.until("call.accepted")
    await connect(x, y, name)
    await x.request("call.hangup", name, {"reason": "hangup"})
    await ended(y, name, "hangup", by=caller)
    for c in (x, y):
        await c.socket.close()


def page_leads_to_the_other_node(host, other):
    """As a browser has it when a name was picked. Its processes are not to become ours."""
    browser = ["unshare", "-rpf", "--mount-proc", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
               "--virtual-time-budget=2000", f"http://{host}:8080/?name=alice"]
    page = subprocess.run(browser, capture_output=True, text=True, timeout=30, check=True).stdout
    note = re.search(r'<p id="nodes".*?</p>', page, re.S)[0]
    assert "hidden" not in note and f'<a href="http://{other}:8080/"' in note, note
    assert f'href="http://{other}:8080/?name=bob">Open a second tab as bob at {other}:8080</a>' in page


def leaves_nothing(script):
    script.process.send_signal(signal.SIGINT)
    assert script.process.wait(15) == 0, script.lines
    script.hear("stopped")
    assert not descendants(), [open(f"/proc/{p}/cmdline", encoding="utf-8").read() for p in descendants()]


def test_a_cluster_goes_on_when_parts_of_it_die():
    with Script("cluster.sh") as s:
        s.hear("Ctrl-C stops everything")
        text = "".join(s.lines)
        for url in (f"http://{ONE}:8080/", f"http://{TWO}:8080/"):
            assert url in text
            with urllib.request.urlopen(url, timeout=5) as page:
                assert b"<title>" in page.read()
        for url in (f"http://{ONE}:8081/", f"http://{TWO}:8081/"):
            assert url in text
        page_leads_to_the_other_node(ONE, TWO)
        page_leads_to_the_other_node(TWO, ONE)
        asyncio.run(call(ONE, TWO, "alice", "bob", relays=(ONE, TWO)))
        asyncio.run(call(TWO, ONE, "carol", "dave", relays=(ONE, TWO)))
        s.kill("node-2")
        s.hear("node-2 was ended by SIGKILL; the others go on")
        assert readyz(ONE) == "ready\n" and readyz(TWO) == ""
        asyncio.run(call(ONE, ONE, "emil", "fay"))
        s.kill("redis-1")
        s.hear("redis-1 was ended by SIGKILL")
        until(lambda: readyz(ONE).startswith("ready, degraded"))
        until(lambda: readyz(ONE) == "ready\n")  # the Sentinels have made redis-2 the master
        s.kill("cluster", signal.SIGUSR1)
        s.hear("node-2 runs again")
        until(lambda: readyz(TWO) == "ready\n")
        asyncio.run(call(ONE, TWO, "gus", "hana"))
        leaves_nothing(s)


def test_ports_that_are_taken_are_named():
    with socket.create_server((TWO, 7882)), Script("cluster.sh") as s:
        assert s.process.wait(10) == 1
        s.hear("127.0.0.2:7882/tcp")
        s.hear("SFU_PORT=7882")
        assert not descendants()


def test_one_machine_ends_with_any_of_its_daemons():
    with Script("run.sh") as s:
        s.hear("Ctrl-C stops everything")
        assert readyz(ONE) == "ready\n"
        s.kill("turn")
        assert s.process.wait(15) == 1
        s.hear("a daemon ended")
        s.hear("stopped")
        assert not descendants()


def test_one_machine_stops():
    with Script("run.sh") as s:
        s.hear("Ctrl-C stops everything")
        leaves_nothing(s)
        assert not re.search("ended", "".join(s.lines[:-1]))


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))

"""sorictl against a real sori-server: what it shows and does, who may speak to the socket, noise.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import json
import os
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import pytest

from soriclient import Client
from soridaemon import BUILD, free_port
from soriserver import Server

CONFIG = """
[server]
listen_tls =
listen_clear = 127.0.0.1:{clear}
node_id = here
[auth]
hs256_secret_file = @FOLDER@/secret
[sfu]
nodes = media=127.0.0.1:{sfu} region=eu
secret_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
control = @FOLDER@/control
"""
LEDGER = """
[ledger]
file = @FOLDER@/ledger.db
token_key_file = @FOLDER@/secret
"""
OFFER = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
ANSWER = {"answer": {"type": "answer", "sdp": "v=0"}}


@pytest.fixture(scope="module")
def server():
    with Server(CONFIG, sfu=free_port()) as s:
        yield s


def ctl(server, *words, expect=0):
    """The lines of the answer; the last one is of the whole."""
    p = subprocess.run([os.path.join(BUILD, "sorictl"), "--socket", os.path.join(server.d.folder, "control"), *words],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20,
                       check=False)
    assert p.returncode == expect, (p.stdout, p.stderr)
    return [json.loads(line) for line in p.stdout.splitlines()]


async def ask(server, *words, expect=0):
    return await asyncio.get_running_loop().run_in_executor(None, lambda: ctl(server, *words, expect=expect))


def test_socket_is_its_owners(server):
    assert stat.S_IMODE(os.stat(os.path.join(server.d.folder, "control")).st_mode) == 0o600


def test_status(server):
    (status,) = ctl(server, "status")
    assert status["ok"] and status["ready"] and not status["draining"] and status["node"] == "here"
    assert status["calls"]["live"] == 0 and status["nodes"][0]["node"] == "media"
    assert not status["nodes"][0]["up"] and status["nodes"][0]["region"] == "eu"


def test_calls_are_shown_and_ended(server):
    async def go():
        ann, ben = Client(server.ws, "ann"), Client(server.ws, "ben")
        await ann.connect()
        await ben.connect()
        call = str(uuid.uuid4())
        await ann.request("call.invite", call, OFFER, to="ben")
        await ben.until("call.incoming")
        listed, last = await ask(server, "calls")
        assert listed["call"] == call and listed["state"] == "inviting" and last == {
            "ok": True, "shown": 1, "left_out": 0}
        await ben.request("call.answer", call, ANSWER)
        listed, _ = await ask(server, "calls", "ben")
        assert (listed["caller"], listed["callee"], listed["callee_device"]) == ("ann", "ben", "dev-1")
        assert len(await ask(server, "calls", "eve")) == 1
        await ask(server, "end", call)
        for side in (ann, ben):
            assert (await side.until("call.ended"))["data"]["reason"] == "admin"
        assert (await ask(server, "end", call, expect=1))[0]["error"] == "no such call"
        await ann.socket.close()
        await ben.socket.close()

    asyncio.run(go())


def test_nodes_and_tokens(server):
    (node, last) = ctl(server, "nodes")
    assert node["node"] == "media" and last["shown"] == 1
    assert ctl(server, "tokens", "ann") == [{"ok": True, "shown": 0, "left_out": 0}]


def test_records_are_held(server):
    (none,) = ctl(server, "hold", "ann", expect=1)
    assert none["error"] == "there is no ledger"
    with Server(CONFIG + LEDGER, sfu=free_port()) as s:
        began = time.time() * 1000 - 1000
        assert ctl(s, "holds") == [{"ok": True, "shown": 0, "left_out": 0}]
        for user in ("ben", "ann"):
            assert ctl(s, "hold", user)[-1]["ok"]
        (twice,) = ctl(s, "hold", "ann", expect=1)
        assert twice["error"] == "this user's records are held"
        *held, last = ctl(s, "holds")
        assert last["ok"] and [h["user"] for h in held] == ["ann", "ben"]
        assert all(began < h["since_ms"] < began + 20000 for h in held)
        assert ctl(s, "unhold", "ann")[-1]["ok"]
        assert ctl(s, "unhold", "ann", expect=1)[0]["error"] == "this user's records are not held"
        assert [h["user"] for h in ctl(s, "holds")[:-1]] == ["ben"]
        with socket.socket(socket.AF_UNIX) as one:  # an operator who asks and goes
            one.connect(os.path.join(s.d.folder, "control"))
            one.sendall(b'{"command":"holds"}\n' * 50)
        assert ctl(s, "status")[0]["ok"]


def test_log_level(server):
    ctl(server, "log-level", "debug")
    assert ctl(server, "status")[0]["log_level"] == "debug"
    server.d.wait_log("log level is debug")
    ctl(server, "log-level", "info")
    assert ctl(server, "log-level", "loud", expect=1)[0]["error"].startswith("level: want")


def test_status_page_and_its_data(server):
    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}{path}", timeout=5) as r:
            return r.headers, r.read().decode()

    headers, page = get("/")
    assert "Sori status" in page and "default-src 'self'" in headers["Content-Security-Policy"]
    assert "text/javascript" in get("/status.js")[0]["Content-Type"]
    assert "text/css" in get("/status.css")[0]["Content-Type"]
    deadline = time.monotonic() + 10
    while True:  # it is made from the moment somebody asks
        try:
            status = json.loads(get("/status.json")[1])
            break
        except urllib.error.HTTPError as early:
            assert early.code == 503 and time.monotonic() < deadline
    assert status["node"] == "here" and "ann" not in json.dumps(status)
    # The public listener has none of it.
    with socket.create_connection(("127.0.0.1", server.clear), 5) as s:
        s.sendall(b"GET /status.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"404" in s.recv(4096)


def connect(server):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(os.path.join(server.d.folder, "control"))
    return s


def test_survives_noise_and_idlers(server):
    idle = [connect(server) for _ in range(8)]
    with connect(server) as late:  # more than are served: closed at once
        assert late.recv(1) == b""
    for s in idle:
        s.close()
    deadline = time.monotonic() + 5
    while True:
        with connect(server) as s:
            try:
                s.sendall(b"\xff\x00{}\n" + b"{\"command\":\"status\"}\n" * 3)
                answers = s.makefile("rb")
                assert json.loads(answers.readline())["ok"] is False
                assert all(json.loads(answers.readline())["ok"] for _ in range(3))
                break
            except (ConnectionError, json.JSONDecodeError):
                assert time.monotonic() < deadline
    with connect(server) as s:
        try:
            s.sendall(b"x" * 10000)
            assert s.recv(1) == b""
        except ConnectionError:
            pass
    ctl(server, "status")


def test_exit_statuses(server, tmp_path):
    ctl(server, "nonsense", expect=64)
    ctl(server, "end", expect=64)
    ctl(server, "end", "7", expect=1)
    p = subprocess.run([os.path.join(BUILD, "sorictl"), "-s", str(tmp_path / "none"), "status"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10, check=False)
    assert p.returncode == 69 and b"No such file" in p.stdout


def test_drain_sends_clients_elsewhere_and_ends():
    with Server(CONFIG, sfu=free_port()) as s:
        async def go():
            ann = Client(s.ws, "ann")
            await ann.connect()
            await ask(s, "drain", "1")
            said = await ann.until("server.goaway")
            assert said["data"]
            (status,) = await ask(s, "status")
            assert status["draining"] and not status["ready"]
            assert await ann.closed() == 1012

        asyncio.run(go())
        s.d.process.wait(10)
        assert not os.path.exists(os.path.join(s.d.folder, "control"))

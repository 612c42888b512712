"""sori-turn's files of records: they agree with its counters, a kill -9 costs little, a full disk nothing.
SPDX-License-Identifier: BSD-3-Clause
"""
import base64
import glob
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import tempfile
import time

import pytest

from soridaemon import Daemon, free_port, metric, run_to_exit
from turnclient import TurnClient

SECRET = "0123456789abcdef0123456789abcdef"
CALL = "6f1e2a34-0000-4000-8000-00000000000"


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="sori-usage-")
    yield path
    shutil.rmtree(path)


def rest(call, user):
    name = f"{int(time.time()) + 600}:{call}:{user}"
    return name, base64.b64encode(hmac.new(SECRET.encode(), name.encode(), hashlib.sha1).digest()).decode()


def relay(place, more="", log="usage_interval = 1", prefix=()):
    port, admin = free_port(), free_port()
    d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp = 127.0.0.1:{port}
threads = 2
[auth]
secret_file = @FOLDER@/secret
[limits]
unauthenticated_burst = 1000
allocations_per_user = 10000
[peers]
allow_loopback_peers = yes
allow_own_addresses = yes
[admin]
listen = 127.0.0.1:{admin}
[log]
users = plain
{log}
[usage]
directory = {place}
node = relay-1
region = kr
{more}
""", files={"secret": SECRET}, prefix=prefix)
    d.port, d.admin = port, admin
    return d


def records(place):
    """Every line of every file is whole JSON; of a file that a crash has cut, all but the last."""
    found = []
    for path in sorted(glob.glob(f"{place}/usage-*.ndjson")):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        assert text.endswith("\n"), path
        found += [json.loads(line) for line in text.splitlines()]
    return found


def sums(rows):
    """What each allocation has relayed: (to peer, to client), each counted once."""
    most = {}
    for r in rows:
        up, down = most.get(r["alloc"], (0, 0))
        most[r["alloc"]] = (max(up, r["up_bytes"]), max(down, r["down_bytes"]))
    return sum(up for up, _ in most.values()), sum(down for _, down in most.values())


def counted(d):
    return tuple(metric(d.admin, f'sori_turn_relayed_bytes_total{{direction="{way}"}}')
                 for way in ("to_peer", "to_client"))


def until(what, timeout_s=8):
    deadline = time.monotonic() + timeout_s
    while True:
        result = what()
        if result:
            return result
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Call:
    """One side of a call through the relay, the peer a plain socket."""

    def __init__(self, d, n, tcp=False):
        self.client = TurnClient(d.port, *rest(f"{CALL}{n}", f"user-{n}"), tcp=tcp)
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.peer.settimeout(5)
        assert self.client.allocate() == 0
        assert self.client.bind_channel(0x4000, *self.peer.getsockname()) == 0

    def talk(self, packets, size=84):  # a multiple of 4: no padding over TCP
        for _ in range(packets):
            self.client.send_channel(0x4000, bytes(size))
            data, relayed = self.peer.recvfrom(2048)
            assert len(data) == size
            self.peer.sendto(bytes(2 * size), relayed)
            if self.client.sock.type == socket.SOCK_DGRAM:
                assert len(self.client.sock.recv(4096)) == 4 + 2 * size
            else:
                assert len(self.client.exactly(4 + 2 * size)) == 4 + 2 * size

    def end(self):
        assert self.client.refresh(0) == 0
        self.close()

    def close(self):
        self.client.sock.close()
        self.peer.close()


def test_files_agree_with_the_counters_over_a_kill(place):
    total = [0, 0]
    with relay(place) as d:
        calls = [Call(d, 0), Call(d, 1, tcp=True), Call(d, 2)]
        calls[0].talk(300)
        calls[1].talk(200)
        calls[0].end()
        calls[2].talk(100)
        # Alive records have told what the counters say, more than once for the same allocations.
        until(lambda: sums(records(place)) == counted(d))
        before = len(records(place))
        until(lambda: len(records(place)) >= before + 2)
        assert sums(records(place)) == counted(d)
        calls[2].talk(1)  # what comes between the last record and the end is lost
        for way, n in enumerate(counted(d)):
            total[way] += n
        d.process.send_signal(signal.SIGKILL)
        d.process.wait(5)
        d.kill()
        for c in calls[1:]:
            c.close()
    with relay(place) as d:
        calls = [Call(d, 3), Call(d, 4)]
        calls[0].talk(250)
        calls[1].talk(150)
        calls[0].end()
        for way, n in enumerate(counted(d)):
            total[way] += n
    rows = records(place)  # the last one's end came with the process's
    for got, want in zip(sums(rows), total):
        assert want * 0.99 <= got <= want
    last = {r["alloc"]: r for r in rows}
    assert len(last) == 5 and len({r["id"] for r in rows}) == len(rows)
    assert {r["call"] for r in rows} == {f"{CALL}{n}" for n in range(5)}
    assert sorted(r.get("why", "") for r in last.values()) == ["", "", "released", "released", "shutdown"]
    assert {(r["v"], r["node"], r["region"]) for r in rows} == {(1, "relay-1", "kr")}
    assert {r["transport"] for r in rows if r["call"] == f"{CALL}1"} == {"tcp"}
    assert all(os.stat(f).st_mode & 0o077 == 0 for f in glob.glob(f"{place}/*"))


def test_files_end_at_their_size_and_old_ones_go(place):
    old, kept = (f"{place}/usage-{day}-00000000000000aa-0001.ndjson" for day in ("20200101", "29990101"))
    for path in (old, kept, f"{place}/usage-20200101.txt"):
        with open(path, "w", encoding="ascii") as f:
            f.write('{"v":1}\n' if path == kept else "")
    with relay(place, "file_size = 65536\nkeep_days = 30", log="usage = off") as d:
        with TurnClient(d.port, *rest(CALL + "0", "ann"), tcp=True) as c:
            for _ in range(400):
                assert c.allocate() == 0 and c.refresh(0) == 0
        until(lambda: metric(d.admin, 'sori_turn_usage_records_total{result="written"}') == 400)
        assert "allocation ended" not in d.log()
    files = sorted(glob.glob(f"{place}/usage-2*-*-*.ndjson"))
    assert not os.path.exists(old) and os.path.exists(f"{place}/usage-20200101.txt") and kept in files
    files.remove(kept)
    assert len(files) >= 2 and all(os.path.getsize(f) <= 65536 for f in files)
    assert len({r["id"] for r in records(place) if "id" in r}) == 400


def test_a_full_disk_makes_records_wait(place):
    prefix = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=256k tmpfs {place} && exec "$@"', "sh"]
    with relay(place, "buffer = 150", log="usage = off", prefix=prefix) as d:
        inside = f"/proc/{d.pid}/root{place}"
        with TurnClient(d.port, *rest(CALL + "0", "ann"), tcp=True) as c:
            def make(n):
                for _ in range(n):
                    assert c.allocate() == 0 and c.refresh(0) == 0

            make(3)
            until(lambda: len(records(inside)) == 3)
            with open(f"{inside}/filler", "wb") as f, pytest.raises(OSError):
                while True:
                    os.write(f.fileno(), bytes(512))
            make(100)
            d.wait_log("records cannot be written .*No space left on device.* make room")
            written = metric(d.admin, 'sori_turn_usage_records_total{result="written"}')
            assert written < 103 and metric(d.admin, "sori_turn_usage_writable") == 0
            records(inside)  # no line is cut
            os.unlink(f"{inside}/filler")
            d.wait_log("records are written again")
            until(lambda: len(records(inside)) == 103)
            assert metric(d.admin, 'sori_turn_usage_records_total{result="lost"}') == 0
            with open(f"{inside}/filler", "wb") as f, pytest.raises(OSError):
                while True:
                    os.write(f.fileno(), bytes(512))
            make(400)  # more than wait: the oldest are lost, and counted
            until(lambda: metric(d.admin, 'sori_turn_usage_records_total{result="lost"}') > 100)
            os.unlink(f"{inside}/filler")
            until(lambda: metric(d.admin, "sori_turn_usage_records_waiting") == 0)
            lost = metric(d.admin, 'sori_turn_usage_records_total{result="lost"}')
            assert len(records(inside)) + lost == 503


def test_a_directory_that_is_not_there_is_told(place):
    d = relay(f"{place}/none")
    code, out = run_to_exit("sori-turn", ["--config", d.config])
    shutil.rmtree(d.folder)
    assert code == 78 and "[usage] directory" in out and "make it" in out

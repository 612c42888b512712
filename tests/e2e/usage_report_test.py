"""sori-report from a real sori-server's ledger and real sori-turns' records: its sums are what the relays counted.
SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import base64
import csv
import glob
import hashlib
import hmac
import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid

import jsonschema
import pytest

from soriclient import SECRET, Client
from soridaemon import Daemon, free_port, make_cert, metric
from soriserver import Server
from turnclient import TurnClient

BUILD, ROOT = os.environ["SORI_BUILD"], os.environ["SORI_ROOT"]
OFFER = {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}}
HEARD = {"intervalMs": 1000, "rttMs": 40, "jitterMs": 3, "bufferMs": 50, "received": 50, "lost": 0, "inBps": 24000,
         "codec": "opus", "frameMs": 20, "path": "turn", "final": True, "network": "cellular"}
ANSWER = {"answer": {"type": "answer", "sdp": "v=0"}}
SERVER = """
[server]
listen_tls = 127.0.0.1:{tls}
listen_clear = 127.0.0.1:{clear}
region = kr
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[auth]
hs256_secret_file = @FOLDER@/secret
[turn]
urls = turn:127.0.0.1:{turn}?transport=udp
secret_file = @FOLDER@/secret
[call]
ring_timeout = 5
[ledger]
file = {place}/ledger.db
token_key_file = @FOLDER@/secret
[privacy]
history = {history}
[limits]
handshakes_per_s = 1000
handshakes_burst = 1000
"""


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="sori-report-")
    os.mkdir(f"{path}/relay")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def validator():
    with open(f"{ROOT}/docs/usage-report.schema.json", encoding="utf-8") as f:
        schema = json.load(f)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class Relay:
    """A sori-turn with a port and a process that may be another one tomorrow."""

    def __init__(self, place):
        self.place, self.port, self.admin = place, free_port(), free_port()
        self.tls, self.total, self.d = free_port(), [0, 0], None

    def start(self):
        self.d = Daemon("sori-turn", f"""
[turn]
listen_udp = 127.0.0.1:{self.port}
listen_tcp = 127.0.0.1:{self.port}
listen_tls = 127.0.0.1:{self.tls}
threads = 2
[auth]
secret_file = @FOLDER@/secret
[limits]
unauthenticated_burst = 1000
[peers]
allow_loopback_peers = yes
allow_own_addresses = yes
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
[admin]
listen = 127.0.0.1:{self.admin}
[log]
users = plain
usage_interval = 1
[usage]
directory = {self.place}/relay
region = kr
""", files={"secret": SECRET})
        make_cert(self.d.folder)
        return self.d.start()

    def count(self):
        """Adds what this process has relayed to the total."""
        for way, name in enumerate(("to_peer", "to_client")):
            self.total[way] += metric(self.admin, f'sori_turn_relayed_bytes_total{{direction="{name}"}}')

    def written(self):
        most = {}
        for path in glob.glob(f"{self.place}/relay/*.ndjson"):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    r = json.loads(line)
                    most[r["alloc"]] = max(most.get(r["alloc"], 0), r["up_bytes"] + r["down_bytes"])
        return sum(most.values())


def report(*args, code=0):
    run = subprocess.run([f"{BUILD}/sori-report", *map(str, args)], capture_output=True, timeout=30, check=False)
    assert run.returncode == code, run.stderr.decode()
    return run.stdout.decode(), run.stderr.decode()


def credential(answer):
    server = answer["data"]["iceServers"][0]
    return server["username"], server["credential"]


def relay_login():
    """A credential as sori-server grants it."""
    name = f"{int(time.time()) + 600}:6f1e2a34-0000-4000-8000-000000000001:ann"
    return name, base64.b64encode(hmac.new(SECRET.encode(), name.encode(), hashlib.sha1).digest()).decode()


def talk(port, login, packets, **how):
    """One side's allocation, and voice through it both ways; gives the client, still allocated."""
    c = TurnClient(port, *login, **how)
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.settimeout(5)
    assert c.allocate() == 0 and c.bind_channel(0x4000, *peer.getsockname()) == 0
    for _ in range(packets):
        c.send_channel(0x4000, bytes(72))
        data, relayed = peer.recvfrom(2048)
        peer.sendto(data, relayed)
        assert len(c.exactly(76) if "tcp" in how or "tls" in how else c.sock.recv(2048)) == 76
    peer.close()
    return c


async def begin(server, n):
    """A call that is answered; gives its two clients, its id and the caller's credential."""
    alice, bob = Client(server.ws, f"alice-{n}"), Client(server.ws, f"bob-{n}")
    call = str(uuid.uuid4())
    await alice.connect()
    await bob.connect()
    login = credential(await alice.request("call.invite", call, OFFER, to=f"bob-{n}"))
    await bob.until("call.incoming")
    await bob.request("call.ringing", call)
    await bob.request("call.answer", call, ANSWER)
    await alice.until("call.accepted")
    for c in (alice, bob):
        await c.send("call.state", call, {"connectionState": "connected"})
    return alice, bob, call, login


async def end(who, *more, reason="hangup"):
    alice, bob, call, _ = who
    await alice.request("call.hangup", call, {"reason": reason} if reason != "hangup" else {})
    await bob.until("call.ended")
    for c in (alice, bob):
        await c.socket.close()
    for c in more:
        assert c.refresh(0) == 0
        c.sock.close()


async def decline(server):
    alice, bob = Client(server.ws, "alice-x"), Client(server.ws, "bob-x")
    call = str(uuid.uuid4())
    await alice.connect()
    await bob.connect()
    await alice.request("call.invite", call, OFFER, to="bob-x")
    await bob.until("call.incoming")
    await bob.request("call.reject", call)
    await alice.until("call.ended")
    for c in (alice, bob):
        await c.socket.close()


def until(what, timeout_s=8):
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run_calls(place, history="yes"):
    """Seven calls: over UDP, TCP, TLS, over a relay that is killed, two past the relay (one of them without
    media), one declined. Gives the relay, whose total is what its processes counted."""
    relay = Relay(place)
    relay.start()

    async def before(server):
        udp, killed = await begin(server, 1), await begin(server, 2)
        one = talk(relay.port, udp[3], 150)
        two = talk(relay.port, killed[3], 100)
        await asyncio.sleep(1.1)  # the calls last a whole second
        await end(udp, one)
        return killed, two

    async def after(server, killed):
        tcp, tls, direct, failed = [await begin(server, n) for n in (3, 4, 5, 6)]
        three = talk(relay.port, tcp[3], 120, tcp=True)
        four = talk(relay.tls, tls[3], 80, tls=True)
        await decline(server)
        await asyncio.sleep(1.1)
        await end(killed)
        await tcp[0].request("call.quality", tcp[2], HEARD)
        await end(tcp, three)
        await end(tls, four)
        await end(direct)
        await end(failed, reason="media_failed")

    async def go(server):
        killed, two = await before(server)
        relay.count()
        until(lambda: relay.written() == sum(relay.total))  # alive records have told it
        relay.d.signal(signal.SIGKILL)
        relay.d.process.wait(5)
        relay.d.kill()
        two.sock.close()
        relay.start()
        await after(server, killed)
        relay.count()
        relay.by_transport = {t: metric(relay.admin, f'sori_turn_relay_bytes_total{{direction="to_peer",transport="{t}"}}')
                              for t in ("udp", "tcp", "tls", "dtls")}

    with Server(SERVER, turn=relay.port, place=place, history=history) as server:
        asyncio.run(go(server))
    relay.d.stop()
    return relay


def days(start):
    """The days that the test may have touched, and a time at which they are over."""
    def day(at):
        return time.strftime("%Y-%m-%d", time.gmtime(at))
    return ["--from", day(start), "--to", day(time.time()), "--now", (int(time.time()) // 86400 + 1) * 86400]


def paths(doc):
    return {p["path"]: p for p in doc["paths"]}


def near(got, want):
    assert abs(got - want) <= 0.01 * want, (got, want)


def test_sums_are_what_the_relays_counted(place, validator):
    start = time.time()
    relay = run_calls(place)
    with open(f"{place}/key", "w", opener=lambda p, f: os.open(p, f, 0o600), encoding="ascii") as f:
        f.write("0" * 64)
    with open(f"{place}/report.ini", "w", encoding="ascii") as f:
        f.write(f"[report]\nuser_key_file = {place}/key\n[tariff]\ntiers = 0:1000\n[fixed]\nmonthly = host=31\n")
    os.mkdir(f"{place}/archive")
    args = ["--ledger", f"{place}/ledger.db", "--relay", f"{place}/relay", "--config", f"{place}/report.ini",
            "--archive", f"{place}/archive", *days(start)]
    _, told = report(*args, "--json", f"{place}/r.json", "--csv", f"{place}/r.csv", "--html", f"{place}/r.html")
    assert told == ""
    with open(f"{place}/r.json", encoding="utf-8") as f:
        text = f.read()
    doc = json.loads(text)
    validator.validate(doc)

    total, traffic = doc["totals"], doc["totals"]["traffic"]
    near(traffic["up_bytes"], relay.total[0])
    near(traffic["down_bytes"], relay.total[1])
    assert traffic["up_bytes"] == 72 * (150 + 100 + 120 + 80)
    assert relay.by_transport == {"udp": 0, "tcp": 72 * 120, "tls": 72 * 80, "dtls": 0}  # of the last process
    assert total["calls"] == {"answered": 6, "declined": 1, "missed": 0, "busy": 0, "cancelled": 0, "failed": 0,
                              "unreachable": 0}
    by = paths(doc)
    assert {p: v["calls"]["answered"] for p, v in by.items()} == {
        "p2p": 1, "turn-udp": 2, "turn-tcp": 1, "turn-tls": 1, "turn-dtls": 0, "sfu": 0, "unknown": 1}
    assert by["p2p"]["path_inferred"] == 1 and by["unknown"]["ice_failed"] == 1
    assert total["answer_rate"] == 0.857 and total["relay_share"] == 0.8 and total["ice_failure_rate"] == 0.167
    assert total["latency"]["invite_to_ringing"]["count"] >= 6
    with sqlite3.connect(f"file:{place}/ledger.db?mode=ro", uri=True) as db:
        talked = db.execute("SELECT SUM((end_ms-answer_ms)/1000) FROM cdr WHERE answer_ms>0").fetchone()[0]
    assert total["seconds"] == talked >= 5
    out = traffic["wire_out_bytes"]
    near(total["cost"]["traffic"], out / 1e6)  # 1000 a gigabyte
    assert 0.9 <= total["cost"]["fixed"] <= 2.3 and by["turn-udp"]["traffic"]["up_packets"] == 250
    what = {w["name"]: w for w in doc["what_if"]}
    assert what["silence"]["wire_out_bytes"] < out and what["relay_share_more"]["wire_out_bytes"] > out
    heard = [r for d in doc["days"] for r in d["rows"] if r["codec"] == "opus"]
    assert [(r["path"], r["traffic"]["up_bytes"], r["calls"]["answered"]) for r in heard] == [("turn-tcp", 72 * 120, 1)]
    assert heard[0]["mos"]["legs"] == 1 and 4 < heard[0]["mos"]["mean"] < 4.5
    assert heard[0]["networks"] == total["networks"]
    assert total["networks"] == {"cellular": {"legs": 1, "ice_failed": 0, "mos_mean": heard[0]["mos"]["mean"]}}
    assert len(doc["users"]) == 4 and {r["region"] for d in doc["days"] for r in d["rows"]} == {"kr"}

    with open(f"{place}/r.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert sum(int(r["up_bytes"]) for r in rows) == traffic["up_bytes"]
    assert sum(int(r["answered"]) for r in rows) == 6
    near(sum(float(r["cost_USD"]) for r in rows), total["cost"]["traffic"])
    assert sum(int(r["cellular_legs"]) for r in rows) == 1 and all(r["wifi_legs"] == "0" for r in rows)
    with open(f"{place}/r.html", encoding="utf-8") as f:
        page = f.read()
    assert page.count("<svg") >= 3 and "default-src 'none'" in page
    assert "<td>cellular<td>1<td>0<td>" in page
    assert "http:" not in page and "https:" not in page and "<script" not in page and "src=" not in page
    for stranger in ("alice", "bob"):
        assert stranger not in text + page

    again_is_the_same(place, args, doc)
    what_is_purged_still_counts(place, args, doc, validator)


def again_is_the_same(place, args, doc):
    def archive():
        found = {}
        for name in sorted(glob.glob(f"{place}/archive/*")):
            with open(name, "rb") as f:
                found[name] = f.read()
        return found

    first = archive()
    assert len(first) == len(doc["days"]) and not any(b"alice" in v or b"bob" in v for v in first.values())
    out, _ = report(*args, "--json", "-")
    again = json.loads(out)
    again["inputs"]["archived_days"] = 0
    assert again == doc and archive() == first


def what_is_purged_still_counts(place, args, doc, validator):
    """Files of records are gone, and so are the calls: the archive has them."""
    for path in glob.glob(f"{place}/relay/*"):
        os.unlink(path)
    with sqlite3.connect(f"{place}/ledger.db") as db:
        db.execute("DELETE FROM cdr")
        db.execute("DELETE FROM cdr_party")
    out, _ = report(*args, "--json", "-")
    later = json.loads(out)
    validator.validate(later)
    assert all(d["archived"] for d in later["days"])
    assert later["totals"]["networks"] == doc["totals"]["networks"]
    assert later["totals"]["traffic"] == doc["totals"]["traffic"] and later["totals"]["calls"] == doc["totals"]["calls"]
    # Without the archive the ledger's daily sums know the calls, and no path.
    bare, _ = report("--ledger", f"{place}/ledger.db", *args[args.index("--from"):], "--json", "-")
    bare = json.loads(bare)
    assert bare["totals"]["calls"] == doc["totals"]["calls"] and bare["totals"]["seconds"] == doc["totals"]["seconds"]
    assert bare["totals"]["ice_failed"] == doc["totals"]["ice_failed"] == 1
    assert paths(bare)["unknown"]["calls"]["answered"] == 6


def test_calls_without_history_are_summed_up(place, validator):
    start = time.time()
    relay = run_calls(place, history="no")
    with sqlite3.connect(f"file:{place}/ledger.db?mode=ro", uri=True) as db:
        assert db.execute("SELECT COUNT(*) FROM cdr").fetchone()[0] == 0
    out, _ = report("--ledger", f"{place}/ledger.db", "--relay", f"{place}/relay", *days(start))
    doc = json.loads(out)
    validator.validate(doc)
    near(doc["totals"]["traffic"]["down_bytes"], relay.total[1])
    assert doc["totals"]["calls"]["answered"] == 6 and doc["totals"]["calls"]["declined"] == 1
    by = paths(doc)
    assert sum(by[p]["calls"]["answered"] for p in by if p.startswith("turn")) == 4
    assert doc["totals"]["seconds"] >= 5 and doc["totals"]["ice_failed"] == 1


def test_bytes_on_the_network_are_estimated_within_one_percent(place):
    """In this network namespace there is one device, lo, which counts each IP packet once."""
    def lo():
        with open("/proc/net/dev", encoding="ascii") as f:
            return next(int(line.split(":")[1].split()[0]) for line in f if line.strip().startswith("lo:"))

    start = time.time()
    relay = Relay(place)
    relay.start()
    before = lo()
    c = talk(relay.port, relay_login(), 5000)
    after = lo()
    c.refresh(0)
    c.sock.close()
    relay.d.stop()
    out, _ = report("--relay", f"{place}/relay", *days(start))
    traffic = json.loads(out)["totals"]["traffic"]
    near(traffic["wire_in_bytes"] + traffic["wire_out_bytes"], after - before)
    assert json.loads(out)["totals"]["calls"]["answered"] == 1  # without a ledger


def test_the_ledger_is_read_where_nothing_can_be_written(place):
    """Beside its server, and when that has ended; by one who can only read."""
    def read_only(*args):
        inside = f'mount --bind {place} {place} && mount -o remount,ro,bind {place} && exec "$@"'
        run = subprocess.run(["unshare", "-m", "sh", "-c", inside, "sh", f"{BUILD}/sori-report", "--ledger",
                              f"{place}/ledger.db", *map(str, args)], capture_output=True, timeout=30, check=False)
        assert run.returncode == 0, run.stderr.decode()
        return json.loads(run.stdout)["totals"]["calls"]["declined"]

    start = time.time()
    with Server(SERVER, turn=free_port(), place=place, history="yes") as server:
        asyncio.run(decline(server))
        until(lambda: read_only(*days(start)) == 1)
    assert read_only(*days(start)) == 1


# ---- bad input ----

RECORD = {"v": 1, "id": "0000000000000abc-7", "alloc": "0000000000000abc-9", "time": 1790000000, "event": "ended",
          "node": "", "region": "kr", "realm": "sori", "user": "ann",
          "call": "6f1e2a34-0000-4000-8000-000000000001", "transport": "udp", "relay": "udp", "family": "ipv4",
          "seconds": 60, "up_packets": 3000, "up_bytes": 216000, "down_packets": 3000, "down_bytes": 216000}
NOW = ["--from", "2026-09-21", "--to", "2026-09-21", "--now", 1790100000]


def write_records(place, *rows):
    with open(f"{place}/relay/a.ndjson", "w", encoding="utf-8") as f:
        for row in rows:
            f.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


def test_what_cannot_be_used_is_counted(place, validator):
    write_records(place, RECORD, RECORD, json.dumps(RECORD)[:150], "x" * 20000, "", {**RECORD, "v": 2},
                  {**RECORD, "up_bytes": 2 ** 52}, {**RECORD, "alloc": "0000000000000abc-1", "time": 1890000000},
                  "\0\0\0\0")
    with open(f"{place}/relay/b.ndjson", "w", encoding="utf-8") as f:
        f.write(json.dumps({**RECORD, "alloc": "0000000000000abc-2"})[:-20])  # cut by a crash
    out, told = report("--relay", f"{place}/relay", *NOW)
    doc = json.loads(out)
    validator.validate(doc)
    assert doc["inputs"]["skipped"] == {"damaged": 4, "version": 1, "absurd": 1, "future": 1, "outside": 0,
                                        "archives": 0}
    assert "4 damaged lines, 1 of another version, 1 that cannot be, 1 records of days to come" in told
    assert doc["totals"]["traffic"]["up_bytes"] == 216000


def test_names_of_strangers_do_no_harm(place, validator):
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", 'a"b,c', "</table><script>alert(1)</script>", "' onload='x",
             "\u202e", "\x1b[31m", "x\r\ny", "&lt;"]
    write_records(place, *({**RECORD, "alloc": f"0000000000000abc-{i}", "region": n, "user": n}
                           for i, n in enumerate(names)))
    report("--relay", f"{place}/relay", *NOW, "--json", f"{place}/r.json", "--csv", f"{place}/r.csv", "--html",
           f"{place}/r.html", "--prometheus", f"{place}/r.prom")
    with open(f"{place}/r.prom", encoding="utf-8", newline="\n") as f:
        lines = f.read().removesuffix("\n").split("\n")
    assert all(re.fullmatch(r"# (HELP|TYPE) .*|\w+(\{(\w+=\"([^\"\\]|\\.)*\",?)*\})? [0-9.]+", n, re.S) for n in lines)
    assert sum(int(n.split()[-1]) for n in lines if "direction=\"out\"" in n) == 612000 * len(names)
    with open(f"{place}/r.json", encoding="utf-8") as f:
        doc = json.load(f)
    validator.validate(doc)
    assert {r["region"] for d in doc["days"] for r in d["rows"]} == set(names)
    with open(f"{place}/r.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.reader(f))
    assert {len(r) for r in rows} == {len(rows[0])} and len(rows) == 1 + len(names)
    regions = [r[2] for r in rows[1:]]
    assert not any(r[0] in "=+-@\t\r" for r in regions)
    assert {r[1:] if r[0] == "'" and r[1:] in names else r for r in regions} == set(names)
    with open(f"{place}/r.html", encoding="utf-8") as f:
        page = f.read()
    assert "<script" not in page and "</table><script" not in page and "\x1b" not in page
    assert "&lt;/table&gt;&lt;script&gt;" in page and "&amp;lt;" in page


def test_what_is_wrong_is_told(place):
    def fails(code, word, *args):
        _, told = report(*args, code=code)
        assert word in told and "Sanitizer" not in told, told

    fails(64, "give --ledger")
    fails(64, "usage:", "--nothing")
    fails(64, "a day, such as", "--relay", place, "--from", "yesterday")
    fails(64, "behind the last day", "--relay", place, "--from", "2026-02-01", "--to", "2026-01-01")
    fails(66, "No such file", "--relay", f"{place}/none")
    fails(66, "unable to open", "--ledger", f"{place}/none.db")
    with open(f"{place}/other.db", "wb") as f:
        f.write(b"SQLite format 3\0" + os.urandom(5000))
    fails(65, "other.db", "--ledger", f"{place}/other.db")
    with sqlite3.connect(f"{place}/foreign.db") as db:
        db.execute("CREATE TABLE t(x)")
    fails(65, "no ledger of sori-server", "--ledger", f"{place}/foreign.db")
    with sqlite3.connect(f"{place}/newer.db") as db:
        db.execute("PRAGMA application_id=0x536f7269")
        db.execute("PRAGMA user_version=99")
    fails(65, "of version 99", "--ledger", f"{place}/newer.db")
    write_records(place, RECORD)
    fails(73, "cannot write", "--relay", f"{place}/relay", "--json", f"{place}/none/r.json")
    for text, word in (("[tariff]\ntiers = 5:1", "the first from 0"), ("[tariff]\ntiers = cheap", "FROM:PRICE"),
                       ("[tariff]\ningress = -1", "a price"), ("[fixed]\nmonthly = host", "NAME=COST"),
                       ("[report]\ncurrency = $", "letters only"), ("[region kr]\ntiers = 0:x", "[region kr]"),
                       ("[whatif]\nsilence = 101", "from 0 to 100"), ("[nothing]\nx = 1", "nothing")):
        with open(f"{place}/bad.ini", "w", encoding="ascii") as f:
            f.write(text + "\n")
        fails(78, word, "--config", f"{place}/bad.ini", "--check-config")
    with open(f"{place}/small.ini", "w", encoding="ascii") as f:
        f.write("[report]\nmost_records = 1000\n")
    write_records(place, *({**RECORD, "alloc": f"0000000000000abc-{i}"} for i in range(1001)))
    fails(70, "report fewer days", "--relay", f"{place}/relay", "--config", f"{place}/small.ini", *NOW)


def test_a_damaged_archive_is_left_out(place):
    os.mkdir(f"{place}/archive")
    write_records(place, RECORD)
    args = ["--relay", f"{place}/relay", "--archive", f"{place}/archive", *NOW, "--json", "-"]
    report(*args)
    name = f"{place}/archive/usage-day-2026-09-21.ndjson"
    with open(name, encoding="utf-8") as f:
        text = f.read()
    for damaged in (text[:-30], text.replace("usage-day/1", "usage-day/9"), text.replace('"up_bytes":216000', '"up_bytes":-1'),
                    "\n".join(text.splitlines()[:1] + text.splitlines()[2:]) + "\n", "", "x"):
        with open(name, "w", encoding="utf-8") as f:
            f.write(damaged)
        out, told = report(*args)
        assert json.loads(out)["inputs"]["skipped"]["archives"] == 1 and "left out" in told
        with open(name, encoding="utf-8") as f:
            assert f.read() == text  # made anew from what is there


def test_a_call_over_midnight_keeps_its_quality(place):
    midnight = 1789948800  # the end of 2026-09-20
    with sqlite3.connect(f"{place}/old.db") as db:  # as of version 1, with what is needed
        db.executescript("""
            PRAGMA application_id=0x536f7269; PRAGMA user_version=1;
            CREATE TABLE cdr(call_id, kind, media, created_ms, ring_ms, answer_ms, end_ms, state, end_reason, path, region);
            CREATE TABLE quality_leg(call_id, codec, path, samples, mos_avg, at_ms);
            CREATE TABLE usage_day(day, region, path, media, state, calls, seconds, relayed_bytes)""")
        for n, start in enumerate((midnight - 600, midnight + 600)):
            db.execute("INSERT INTO cdr VALUES(?, '1:1', 'audio', ?, 0, ?, ?, 'answered', 'hangup', 'p2p', 'kr')",
                       (bytes([n]) * 16, start * 1000, (start + 5) * 1000, (start + 905) * 1000))
            db.execute("INSERT INTO quality_leg VALUES(?, 'opus', 'p2p', 9, ?, ?)",
                       (bytes([n]) * 16, 4000 + n, (start + 905) * 1000))
    for day, mos in (("2026-09-20", 4.0), ("2026-09-21", 4.001)):
        out, _ = report("--ledger", f"{place}/old.db", "--from", day, "--to", day, "--now", 1790100000)
        rows = [(r["path"], r["codec"], r["calls"]["answered"], r["mos"]["legs"], r["mos"]["mean"])
                for d in json.loads(out)["days"] for r in d["rows"]]
        assert rows == [("p2p", "opus", 1, 1, mos)]


def test_other_ways_in(place):
    write_records(place, RECORD)
    with open(f"{place}/relay/a.ndjson", "rb") as f:
        run = subprocess.run([f"{BUILD}/sori-report", "-r", "-", *map(str, NOW)], stdin=f, capture_output=True,
                             timeout=30, check=True)
    assert json.loads(run.stdout)["totals"]["traffic"]["up_bytes"] == 216000
    out, _ = report("--relay", f"{place}/relay/a.ndjson", "--days", 3, "--to", "2026-09-22", "--now", 1790100000)
    assert json.loads(out)["from"] == "2026-09-20" and len(json.loads(out)["days"]) == 1
    assert report("--version")[0].startswith("sori-report ") and "usage:" in report("--help")[0]
    assert "is valid" in report("--check-config", "--config", f"{ROOT}/config/report.ini")[0]
    assert report("--print-config")[0] == io.open(f"{ROOT}/config/report.ini", encoding="utf-8").read()

"""Call quality over real sockets: clients' reports, wild ones, what the SFU says of a room, the record on disk,
the metrics. SPDX-License-Identifier: BSD-3-Clause
"""
import asyncio
import contextlib
import re
import sqlite3
import urllib.request
import uuid

from room_socket_test import run, two
from soriclient import Client
from soridaemon import free_port

LEDGER = """
[ledger]
file = @FOLDER@/ledger.db
token_key_file = @FOLDER@/secret
[admin]
listen = 127.0.0.1:{admin}
"""
UP = {"connectionState": "connected"}
GOOD = {"intervalMs": 1000, "rttMs": 40, "jitterMs": 3, "bufferMs": 50, "received": 50, "lost": 0, "sent": 50,
        "samples": 48000, "concealed": 0, "concealments": 0, "inBps": 32000, "codec": "opus", "fec": True,
        "local": "host", "remote": "srflx", "network": "wifi"}


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as r:
        return r.read().decode()


def value(text, series):
    return float(re.search(rf"^{re.escape(series)} ([0-9.]+)$", text, re.M).group(1))


async def until_kept(client, good, timeout=5):
    """Asks for the history until its first call is as wanted: the ledger writes when it can."""
    end = asyncio.get_running_loop().time() + timeout
    while True:
        m = await client.request("history.list")
        calls = m["data"]["calls"]
        if calls and good(calls[0]):
            return calls[0]
        assert asyncio.get_running_loop().time() < end, calls
        await asyncio.sleep(0.05)


async def talking(server):
    alice, bob = Client(server.ws, "alice"), Client(server.ws, "bob")
    await alice.connect()
    await bob.connect()
    call = str(uuid.uuid4())
    await alice.request("call.invite", call, {"offer": {"type": "offer", "sdp": "v=0"}, "metadata": {"isVideo": False}},
                        to="bob")
    await bob.until("call.incoming")
    await bob.request("call.ringing", call)
    await bob.request("call.answer", call, {"answer": {"type": "answer", "sdp": "v=0"}})
    for c in (alice, bob):
        await c.send("call.state", call, UP)
    return alice, bob, call


def test_a_call_is_reported_and_kept():
    admin = free_port()

    async def test(server, sfus):
        alice, bob, call = await talking(server)
        r = (await alice.request("call.quality", call, GOOD))["data"]
        assert r["path"] == "p2p" and r["samples"] == 1 and r["clamped"] == 0 and 4 < r["mos"] <= 4.5, r
        r = (await alice.request("call.quality", call, {**GOOD, "concealed": 9600, "concealments": 3}))["data"]
        assert r["samples"] == 2 and r["mosMin"] < 3 and r["mosAvg"] > r["mosMin"], r
        await alice.request("call.hangup", call)
        await bob.until("call.ended")
        r = (await bob.request("call.quality", call, {**GOOD, "final": True, "remote": "relay"}))["data"]
        assert r["path"] == "turn"
        q = (await until_kept(alice, lambda c: "quality" in c))["quality"]
        assert q["leg"] == "heard" and q["codec"] == "opus" and q["path"] == "p2p" and q["samples"] == 2
        assert q["worst"] == "loss" and q["rttMs"] == 40 and q["mosMin"] <= q["mosP10"]
        kept = await until_kept(bob, lambda c: "quality" in c and c["path"] == "turn")  # one end went over the relay
        assert kept["quality"]["samples"] == 1 and kept["outcome"] == "answered"
        text = metrics(admin)
        assert value(text, 'sori_quality_reports_total{result="accepted"}') == 3
        assert value(text, 'sori_quality_mos_count{path="p2p",codec="opus"}') == 2
        assert value(text, 'sori_quality_mos_bucket{path="turn",codec="opus",le="+Inf"}') == 1
        assert value(text, 'sori_quality_bad_total{what="loss"}') == 1
    run(test, nodes=0, extra=LEDGER.format(admin=admin))


def test_wild_reports_disturb_nobody():
    admin = free_port()

    async def test(server, sfus):
        alice, bob, call = await talking(server)
        eve = Client(server.ws, "eve")
        await eve.connect()

        async def refused(client, data, code):
            m = await client.request("call.quality", call, data)
            assert m["type"] == "error" and m["data"]["code"] == code, (data, m)
        await refused(eve, GOOD, "call.not_found")
        for bad in ({"rttMs": -1}, {"rttMs": 1.5}, {"lost": "many"}, {"path": "moon"}, {"intervalMs": 0}, {"codec": []}):
            await refused(alice, {**GOOD, **bad}, "bad_request")
        await refused(alice, {**GOOD, "pad": "x" * 1100}, "too_large")
        await alice.raw('{"type":"call.quality","id":"nan","callId":"%s","data":{"intervalMs":1000,"rttMs":NaN}}' % call)
        assert (await alice.until("error"))["data"]["code"] == "bad_json"
        r = (await alice.request("call.quality", call, {
            "intervalMs": 10**15, "rttMs": 10**18, "received": 1, "lost": 10**12, "silenceMs": 10**9}))["data"]
        assert r["clamped"] >= 4 and r["mos"] == 1 and r["rttMs"] == 10_000, r
        for _ in range(40):
            m = await alice.request("call.quality", call, GOOD)
        assert m["data"]["code"] == "rate_limited" and m["data"]["retryAfterMs"] > 0
        # The call goes on as if nothing had been, and bob's word about it is his own.
        await alice.send("call.info", call, {"audioMuted": True})
        assert (await bob.until("call.info"))["data"] == {"audioMuted": True}
        r = (await bob.request("call.quality", call, GOOD))["data"]
        assert r["samples"] == 1 and r["mosMin"] > 4
        await bob.request("call.hangup", call)
        assert (await until_kept(bob, lambda c: "quality" in c))["quality"]["mosMin"] > 4
        text = metrics(admin)
        assert value(text, 'sori_quality_reports_total{result="clamped"}') >= 1
        assert value(text, 'sori_quality_reports_total{result="refused"}') >= 8
    run(test, nodes=0, extra=LEDGER.format(admin=admin))


def test_a_stay_in_a_room_is_kept_as_the_sfu_judged_it():
    admin = free_port()

    async def test(server, sfus):
        alice, bob, a, b = await two(server)
        s, ids = sfus[0], (a["participantId"], b["participantId"])
        for mos in (430, 310, 400):
            await s.event("quality", room="standup", participants=[
                {"participant": ids[0], "score": 4, "mos": mos}, {"participant": "nobody", "score": 1, "mos": 100}])
            assert (await alice.told("room.quality"))["participants"][0]["mos"] == mos / 100
            await asyncio.sleep(0.12)  # each holds for a while
        await alice.room("leave")
        stay = await until_kept(alice, lambda c: "ended" in c)
        assert stay["role"] == "member" and stay["group"] and stay["path"] == "sfu" and "peer" not in stay
        assert stay["outcome"] == "answered" and stay["endedBy"] == "member" and stay["reason"] == "hangup"
        q = stay["quality"]
        assert q["leg"] == "sfu" and q["path"] == "sfu" and q["samples"] == 3
        assert q["mosMin"] == 3.1 and 3.1 < q["mosAvg"] < 4.3
        (his,) = (await bob.request("history.list"))["data"]["calls"]
        assert his["callId"] != stay["callId"] and "ended" not in his  # he is still there
        await bob.request("session.close")
        assert value(metrics(admin), 'sori_quality_mos_count{path="sfu",codec="opus"}') == 3
    run(test, extra=LEDGER.format(admin=admin))


STAYS = """SELECT p.user_id, c.end_reason, c.end_ms - c.answer_ms, q.samples FROM cdr c JOIN cdr_party p USING(call_id)
    LEFT JOIN quality_leg q USING(call_id, user_id) WHERE c.end_ms>0 ORDER BY p.user_id"""
SUMS = "SELECT path, state, sum(calls), sum(seconds) FROM usage_day GROUP BY path, state"


def rows(file, sql):
    with contextlib.closing(sqlite3.connect(file)) as db:
        return db.execute(sql).fetchall()


async def judged(server, sfus):
    """Two in a room, alice judged by the SFU."""
    alice, _, a, _ = await two(server)
    await asyncio.sleep(0.05)
    for _ in range(2):
        await sfus[0].event("quality", room="standup", participants=[
            {"participant": a["participantId"], "score": 4, "mos": 400}])
        await alice.told("room.quality")
        await asyncio.sleep(0.05)


def test_who_is_in_a_room_when_the_server_stops_has_a_record(tmp_path):
    file = tmp_path / "ledger.db"
    run(judged, extra=LEDGER.replace("@FOLDER@/ledger.db", str(file)).format(admin=free_port()))
    alice, bob = rows(file, STAYS)
    assert alice[:2] == ("alice", "server_error") and 100 <= alice[2] < 5000 and alice[3] == 2
    assert bob[:2] == ("bob", "server_error") and bob[3] is None
    ((path, state, calls, _),) = rows(file, SUMS)
    assert (path, state, calls) == ("sfu", "answered", 2)


def test_a_stay_that_a_crash_cut_ends_with_the_last_word(tmp_path):
    file = tmp_path / "ledger.db"

    async def test(server, sfus):
        await judged(server, sfus)
        for _ in range(500):
            if rows(file, "SELECT 1 FROM quality_leg"):
                break
            await asyncio.sleep(0.01)
        assert rows(file, "SELECT count(*), sum(end_ms) FROM cdr") == [(2, 0)]
        server.d.process.kill()
        server.d.process.wait()
        server.d._reader.join()
        server.d.lines.clear()
        await asyncio.get_running_loop().run_in_executor(None, server.d.start)
        alice, bob = rows(file, STAYS)
        assert alice[:2] == ("alice", "server_error") and 0 < alice[2] < 5000, alice
        assert bob[:3] == ("bob", "server_error", 0)
        assert rows(file, SUMS) == [("sfu", "answered", 2, 0)]
    run(test, extra=LEDGER.replace("@FOLDER@/ledger.db", str(file)).format(admin=free_port()))
    assert rows(file, SUMS) == [("sfu", "answered", 2, 0)]  # once

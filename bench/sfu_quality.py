#!/usr/bin/python3
"""make bench-sfu-quality: what calls through bad networks sound and look like with sori-sfu.

    bench/sfu_quality.py [--quick] [concealed freeze switch cap speaker onset keyframes move: only these]

Real clients (libwebrtc in Node and headless Chromium, tests/clients/media_client.mjs) each sit in a
network namespace behind the project's impairer (tests/lib/impairnet.py); who only has to send or to
count is bench/load/sfu_engine. BUILD names the folder of the binaries (build/gcc), BENCH_SECONDS the
length of a call (15: all rows take less than nine minutes). bench/README.md has the rest. SPDX-License-Identifier: BSD-3-Clause
"""
import sys
BENCH_DIR = sys.path[0]
del sys.path[0]  # this folder: our neighbours' names are those of others' modules
sys.path.append(BENCH_DIR)
import json
import os
import platform
import shlex
import statistics
import subprocess
import time

from sfu_rig import ROOT  # it finds tests/lib
from sfu_costs import careful
from sfuscene import AUDIO, FPS, LAYERS, VIDEO, Scene

QUICK = "--quick" in sys.argv[1:]
ONLY = [a for a in sys.argv[1:] if not a.startswith("-")]
CALL_S = 12 if QUICK else int(os.environ.get("BENCH_SECONDS", "15"))
SEEDS = (1,) if QUICK else (1, 2, 3)
RTT_80 = "both delay 40ms"


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def wait_picture(eye, most_s=20):
    """Until frames have come for two seconds; how long the first took."""
    start = time.monotonic()
    while eye("gaps")["frames"] == 0:
        assert time.monotonic() - start < most_s, f"no picture within {most_s} s"
        time.sleep(0.1)
    took = time.monotonic() - start
    time.sleep(2)
    return took


# --- the rows

def concealed_call(loss, protected, kind="wrtc"):
    """One call: who talks has a good network; of who listens, one for each seed, each loses this share both
    ways. Gives for each the share of concealed samples, and of lost packets after all repair."""
    lines = {} if protected else {"audio": "red = off\nnack = no\nfec = no\nmirror_loss = off"}
    with Scene(**lines) as s:
        s.client(kind, "call", RTT_80, audio="send", red=protected, nack=protected)
        ears = [s.client(kind, "call", f"{RTT_80} loss {loss}%", 10 * seed, slots=1, red=protected, nack=protected)
                for seed in SEEDS]
        time.sleep(6)
        before = [ear.heard() for ear in ears]
        time.sleep(CALL_S)
        found = []
        for ear, was in zip(ears, before):
            samples, hidden, pkts, lost = (b - a for a, b in zip(was, ear.heard()))
            assert samples > 0.9 * 48000 * CALL_S, f"only {samples} samples were heard"
            found.append((hidden / samples, lost / max(pkts + lost, 1)))
        return found


def concealed(quick):
    found = {}
    for loss in (5, 10, 20):
        calls = {p: concealed_call(loss, p) for p in (True, False)}
        share = {p: statistics.median(c[0] for c in calls[p]) for p in calls}
        print(f"concealed: {loss} % loss, RTT 80 ms, {CALL_S} s, seeds {SEEDS}: {', '.join(f'{100 * c[0]:.2f}' for c in calls[True])} % "
              f"of the samples (lost after repair {', '.join(f'{100 * c[1]:.2f}' for c in calls[True])} %); without RED, NACK, FEC "
              f"{', '.join(f'{100 * c[0]:.2f}' for c in calls[False])} %: {share[True] / max(share[False], 1e-9):.2f} of it (goal 0.33)",
              flush=True)
        found[f"concealed_{loss}"] = share[True]
    return found


def freeze(quick):
    """720p at 5 and 10 % loss: the longest time between two frames."""
    found = {}
    for loss in (5, 10):
        worst = []
        for seed in SEEDS[:1] if loss == 5 else SEEDS[:2]:
            with Scene() as s:
                s.film("show", 1)
                eye = s.client("chromium", "show", f"{RTT_80} loss {loss}%", seed, video=1)
                took = wait_picture(eye)
                eye("gaps")
                time.sleep(CALL_S)
                got = eye("gaps")
                stats = eye("stats")["video"][0]
                asked = s.engine("stat", 1)
                assert got["frames"] > 0.5 * FPS * CALL_S, f"only {got['frames']} frames"
                worst.append(max(g[0] for g in got["gaps"]))
                print(f"freeze: {loss} % loss, seed {seed}: {got['frames'] / CALL_S:.1f} frames/s, longest gap {worst[-1]:.0f} ms, first picture after {took:.1f} s, "
                      f"freezes {stats.get('freezeCount')}, NACKs {stats.get('nackCount')}, key frames asked of the publisher "
                      f"{asked['pli'] + asked['fir']}", flush=True)
        found[f"freeze_ms_{loss}"] = max(worst)
    return found


def switch(quick):
    """Between layers by wish, on a network that is known to be good: how long the picture stands."""
    with Scene(video="start_bitrate = 5000000") as s:
        track = s.film("show", 1, [name for name, *_ in LAYERS])
        eye = s.client("chromium", "show", "both delay 20ms", video=1)
        wait_picture(eye)
        time.sleep(3)
        stops, widths = [], set()
        for i in range(6 if quick else 16):
            layer = (2, 0, 1, 2, 1, 0)[i % 6]
            eye("gaps")
            s.sfu.ctl.request("subscribe", "show", eye.name, tracks=[{"track": track, "wanted": True, "layer": layer}])
            time.sleep(2)
            gaps = eye("gaps")["gaps"]
            assert gaps, "the picture stands"
            stops.append(max(g[0] for g in gaps))
            widths.add(gaps[-1][2])
        print(f"switch: {len(stops)} layer switches, longest gap median {statistics.median(stops):.0f} ms, p95 "
              f"{percentile(stops, 0.95):.0f}, max {max(stops):.0f} (a frame takes {1000 // FPS}); widths seen {sorted(widths)}", flush=True)
        assert len(widths) == 3, f"layers did not switch: widths {widths}"
    return {"switch_freeze_ms": percentile(stops, 0.95)}


def cap(quick):
    """The downlink goes from 2.5 to 0.5 Mbit/s and back."""
    low, high, each = 500_000, 2_500_000, 10 if quick else 14
    found = []
    for seed in SEEDS[:2]:
        with Scene() as s:
            s.film("show", 1, [name for name, *_ in LAYERS])
            s.client("wrtc", "show", "", audio="send")
            eye = s.client("chromium", "show", f"{RTT_80}\ndown rate 2500kbit queue 300ms", seed, slots=1, video=1)
            time.sleep(each)
            heard, begin = eye.heard(), time.monotonic() - eye.path.started
            eye.path.set("down rate 500kbit")
            time.sleep(each)
            heard = [b - a for a, b in zip(heard, eye.heard())]
            again = time.monotonic() - eye.path.started
            eye.path.set("down rate 2500kbit")
            time.sleep(each)
            series = eye.path.series()
            rows = [(r[0] / 1e6, r[1] * 8 * 1e6 / series["bucket_us"], r[4] / 1000) for r in series["down"]]
            # Below the cap from the end of the last half second that was above it.
            above = [t for t, _, _ in rows if begin <= t < again - 0.5 and
                     statistics.mean(v for u, v, _ in rows if t <= u < t + 0.5) > low and t < begin + each / 2]
            seconds = max(above) + 0.5 - begin if above else 0.0
            steady = statistics.mean(v for t, v, _ in rows if begin + each / 2 <= t < again)
            queue = [w for t, _, w in rows if begin + 2 <= t < again]
            back = next((t - again for t, _, _ in rows if t >= again and
                         statistics.mean(v for u, v, _ in rows if t <= u < t + 1) > 0.5 * high), None)
            found.append(seconds)
            print(f"cap: seed {seed}: below 0.5 Mbit/s after {seconds:.2f} s, then {steady / low:.2f} of it; wait in the queue p95 "
                  f"{percentile(queue, 0.95):.0f} ms; audio lost {100 * heard[3] / max(heard[2] + heard[3], 1):.2f} %, concealed "
                  f"{100 * heard[1] / max(heard[0], 1):.2f} %; the highest layer is back {'never' if back is None else f'after {back:.1f} s'}",
                  flush=True)
    return {"cap_seconds": statistics.median(found)}


def speaker(quick):
    """From the first loud packet of another talker to the event at the server."""
    with Scene() as s:
        for n in range(4):
            s.talker("talk", n, level=80)
        time.sleep(1)
        took = []
        for i in range(8 if quick else 30):
            now, last = i % 4, (i - 1) % 4
            s.engine("level", last, 80)
            since, begin = len(s.sfu.ctl.events), time.monotonic()
            s.engine("level", now, 15)
            e = s.sfu.ctl.wait("speakers", lambda e: e.get("dominant") == f"p{now}", since, 5)
            took.append((e["at"] - begin) * 1000)
            time.sleep(1.5)
        print(f"speaker: {len(took)} changes, announced after {statistics.median(took):.0f} ms, p95 {percentile(took, 0.95):.0f}, max "
              f"{max(took):.0f} (packets come every 20 ms)", flush=True)
    return {"speaker_ms": percentile(took, 0.95)}


def onset(quick):
    """Six sources, three slots: how much of what somebody says first is not forwarded?"""
    with Scene() as s:
        for n in range(6):
            s.talker("talk", n, level=30 if n < 3 else 90)
        s.sfu.join("talk", 10, [(AUDIO, i, "recvonly", None) for i in range(3)])
        s.engine.wait_up([10])
        s.engine("open", 10)
        time.sleep(3)
        clipped, missed, loud = [], 0, [0, 1, 2]
        for i in range(6 if quick else 14):
            quiet = next(n for n in range(6) if n not in loud and n != (loud[-1] + 3) % 6)
            s.engine("level", loud.pop(0), 90)
            time.sleep(2.5)
            s.engine("mark")
            first = s.engine("level", quiet, 15)["next"]
            loud.append(quiet)
            time.sleep(0.6)
            heard = {t: f for t, f, _ in s.engine("heard", 10)["heard"]}
            if quiet in heard:
                clipped.append(20 * max(0, heard[quiet] - first))
            else:
                missed += 1
        print(f"onset: {len(clipped)} talkers began beside two others (3 slots): cut off median {statistics.median(clipped):.0f} ms, p95 "
              f"{percentile(clipped, 0.95):.0f} (goal 20), {missed} not forwarded within 0.6 s", flush=True)
    return {}


def keyframes(quick):
    """100 join within one second; how often is the publisher asked for a key frame? The engine's receivers
    send no feedback: their downlink is taken to be wide."""
    with Scene(video="start_bitrate = 20000000") as s:
        s.film("show", 1)
        s.sfu.join("show", 2, [(VIDEO, 0, "recvonly", None)])
        s.engine.wait_up([2])
        time.sleep(2)
        before = s.engine("stat", 1)
        begin = time.monotonic()
        for n in range(100, 200):
            s.sfu.join("show", n, [(VIDEO, 0, "recvonly", None)])
            time.sleep(max(0, begin + (n - 99) * 0.01 - time.monotonic()))
        took = time.monotonic() - begin
        s.engine.wait_up(range(100, 200))
        time.sleep(2)
        after = s.engine("stat", 1)
        asked = after["pli"] + after["fir"] - before["pli"] - before["fir"]
        quiet = sum(s.engine("stat", n)["pkts"] == 0 for n in range(100, 200))
        print(f"keyframes: 100 joined within {took:.1f} s: the publisher was asked for {asked} key frames; {quiet} got no packet",
              flush=True)
        assert quiet == 0
    return {"keyframes_100_joiners": asked}


def move(quick):
    """A client's address changes under a call, told by an authenticated check; and by ICE restart."""
    with Scene() as s:
        s.talker("call", 1)
        s.sfu.join("call", 2, [(AUDIO, 0, "recvonly", None)])
        s.engine.wait_up([2])
        time.sleep(1)
        gaps = {1: [], 2: []}
        for _ in range(5 if quick else 12):
            for n in gaps:
                s.engine("mark")
                time.sleep(0.3)
                s.engine("move", n)
                time.sleep(0.7)
                gaps[n].append(max(x["gap_us"] for x in s.engine("stat", 2)["streams"]) / 1000)
        print(f"move: the talker's address changes: gap p95 {percentile(gaps[1], 0.95):.0f} ms; the listener's: "
              f"{percentile(gaps[2], 0.95):.0f} ms (packets come every 20)", flush=True)
        restarts = []
        for seed in SEEDS[:2]:
            ear = s.client("chromium", "call", "both delay 20ms", seed, slots=1)
            lte = ear.place.add_path("both delay 30ms", seed + 1)
            time.sleep(4)
            begin = time.monotonic()
            ear.place.switch(lte)
            ear.restart()
            told = time.monotonic() - begin
            time.sleep(4)
            series = lte.series()
            first = next(r[0] / 1e6 for r in series["up"] if r[0] / 1e6 > begin - lte.started and r[1] > 0)
            rows = series["down"]
            # From the first 100 ms with at least 4 packets' worth: not checks and handshakes.
            found = next((r[0] / 1e6 for r, nxt in zip(rows, rows[1:]) if r[0] / 1e6 > first and r[2] + nxt[2] > 4 * 100), None)
            restarts.append(1000 * (found - first) if found is not None else 5000)
            print(f"  Wi-Fi to LTE with ICE restart: answered after {1000 * told:.0f} ms, the client's first check after "
                  f"{1000 * (first + lte.started - begin):.0f}, media on the new path {restarts[-1]:.0f} ms later (RTT 60 ms, "
                  f"in steps of 50; goal 300)", flush=True)
    return {"move_gap_ms": max(percentile(g, 0.95) for g in gaps.values())}


GOALS = (("concealed_5", 0.005), ("concealed_10", 0.015), ("concealed_20", 0.04), ("freeze_ms_10", 500), ("switch_freeze_ms", 200),
         ("cap_seconds", 1.0), ("speaker_ms", 200), ("keyframes_100_joiners", 2), ("move_gap_ms", 150))


def main():
    describe = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False).stdout.decode().strip()
    print(f"{os.cpu_count()} cores, Linux {platform.release()}; sori {describe or 'no commit'}; calls of {CALL_S} s", flush=True)
    found = {}
    for name, row in (("speaker", speaker), ("onset", onset), ("keyframes", keyframes), ("move", move), ("concealed", concealed), ("freeze", freeze),
                      ("switch", switch), ("cap", cap)):
        if not ONLY or name in ONLY:
            found.update(careful(name, row, QUICK))
    for name, goal in GOALS:
        value = found.get(name)
        print(f"goal {name} at most {goal}: {'not measured' if value is None else 'reached' if value <= goal else 'missed'}")
    for name, _ in GOALS:
        print(f"FIGURE {name}={'missing' if found.get(name) is None else format(found[name], '.4g')}")


if __name__ == "__main__":
    if os.environ.get("BENCH_SFU_NETNS"):
        main()
    else:
        inner = shlex.join([sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
        sys.exit(subprocess.run(["unshare", "-rn", "sh", "-c", f"ip link set lo up && exec {inner}"],
                                env=dict(os.environ, BENCH_SFU_NETNS="1"), check=False).returncode)

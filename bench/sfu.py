#!/usr/bin/python3
"""make bench-sfu: what forwarded packets, joins and connections cost sori-sfu; Debian's Janus and the bare
limit of this machine beside it.

    bench/sfu.py [--quick] [audio40 video8 srtp core hotpath join memory workers calls churn scale: only these]

Servers run in one network namespace of their own, pinned to one core, and take the same load from
bench/load/sfu_engine, which has the other core and another namespace behind a veth pair. Receivers are
black holes: nftables counts and drops their media before any socket. BUILD names the folder of the
binaries (build/gcc), SORI_SFU_OTHER another sori-sfu to run in the same rounds, BENCH_SECONDS the length
of a round (3), BENCH_ROUNDS how many (3), BENCH_JOINS how many `churn` makes (10,000), BENCH_SRTP where libsrtp2 with OpenSSL is or is to be built. bench/README.md has the
rest. SPDX-License-Identifier: BSD-3-Clause
"""
import sys
BENCH_DIR = sys.path[0]
del sys.path[0]  # this folder: our neighbours' names are those of others' modules
sys.path.append(BENCH_DIR)
import json
import os
import platform
import re
import resource
import shlex
import statistics
import subprocess
import time

import sfu_costs
from sfu_costs import busy
from sfu_rig import (AUDIO, BUILD, CLIENT_IP, CORES, LEVEL_ID, LOAD_CORE, MID_ID, ROOT,
                     SERVER_CORE, VIDEO, Engine, Janus, Sori, Wire, openssl_srtp, taskset)

QUICK = "--quick" in sys.argv[1:]
ONLY = [a for a in sys.argv[1:] if not a.startswith("-")]
ROUNDS, SECONDS = (1, 2) if QUICK else (int(os.environ.get("BENCH_ROUNDS", "3")), int(os.environ.get("BENCH_SECONDS", "3")))
IDLE_S = 1 if QUICK else 2
SORI, OTHER, JANUS, JANUS_TUNED, BARE = "sori-sfu", "other", "janus", "janus tuned", "bare"
ROOM = 4711
HAVE_SORI = os.path.exists(os.path.join(BUILD, "sori-sfu"))


def make(name, wire, engine, **more):
    if name in (JANUS, JANUS_TUNED):
        return Janus(wire, engine, name == JANUS_TUNED, **more)
    # No receiver says what its downlink takes: nothing is to be saved.
    more.setdefault("video", "start_bitrate = 20000000\nreceiver_max_bitrate = 1000000000")
    return Sori(wire, engine, name, binary=os.environ["SORI_SFU_OTHER"] if name == OTHER else None, **more)


def known(servers):
    """Those that can run here."""
    return [s for s in servers if not (s == SORI and not HAVE_SORI or s == OTHER and "SORI_SFU_OTHER" not in os.environ
                                       or s == JANUS_TUNED and not openssl_srtp())]


class FanOut:
    """One publisher, many receivers: packets a second, bytes of payload, packets in a burst."""

    def __init__(self, name, media, receivers, pps, size, burst, servers):
        self.name, self.media, self.receivers = name, media, receivers
        self.pps, self.size, self.burst = pps, size, burst
        self.servers, self.rounds = known(servers), []

    def start(self, server, engine):
        """The server with everybody in the room; gives it and the datagram's bytes when one receiver is
        looked at closely: what arrives must be whole, authentic and in step."""
        s = make(server, engine.wire, engine)
        try:
            room = s.room(ROOM)
            feed = s.publish(room, 0, [self.media], 1000)
            engine.wait_up([0])
            options = [f"mid={MID_ID}:0"] + ([f"level={LEVEL_ID}:20"] if self.media is AUDIO else ["vp8=1", "clock=90000"])
            engine("pub", 0, 1000, self.media["pt"], 50 * self.burst, self.size, self.burst, *options)
            time.sleep(0.3)
            for n in range(1, self.receivers + 1):
                s.receive(room, n, feed, [self.media])
            engine.wait_up(range(1, self.receivers + 1))
            for n in range(1, self.receivers + 1):
                engine("open", n)
            time.sleep(1.2)
            engine("mark")
            time.sleep(1.0)
            stats = [engine("stat", n) for n in range(1, self.receivers + 1)]
            low = min(r["pkts"] for r in stats)
            assert low > 40 * self.burst and not any(r["forged"] for r in stats), (server, low, stats[0])
            size = sum(r["bytes"] for r in stats) / sum(r["pkts"] for r in stats)
            tag = 10 if stats[0]["profile"] == 1 else 16
            engine("unpub", 0)
            for n in range(1, self.receivers + 1):
                engine("count", n)
            return s, size + tag, stats[0]["profile"], options
        except BaseException:
            s.close()
            raise

    def measure(self, server, wire):
        if server == BARE:
            return self.measure_bare(wire)
        wire.black_hole(False)
        engine = Engine(wire)
        engine.wire = wire
        s = None
        try:
            s, size, profile, options = self.start(server, engine)
            wire.black_hole(True)
            time.sleep(0.5)
            idle = busy(s.server, IDLE_S)
            engine("pub", 0, 1000, self.media["pt"], self.pps, self.size, self.burst, *options)
            time.sleep(0.5)
            engine("mark")
            before = wire.counted()
            cpu, start = s.server.cpu_s(), time.monotonic()
            time.sleep(SECONDS)
            cpu, took = s.server.cpu_s() - cpu, time.monotonic() - start
            pps, runs = wire.rates(before, size)
            gen = engine("stat")
            want = gen["sent"] * self.receivers * 1e6 / gen["us"]
            return {"us": (cpu / took - idle) * 1e6 / max(pps, 1), "pps": pps, "core": cpu / took, "idle": idle,
                    "lost": 1 - pps / want, "late": gen["late"], "run": pps / max(runs, 1), "profile": profile}
        finally:
            if s:
                s.close()
            engine.close()

    def measure_bare(self, wire):
        """Encrypt and send, nothing else; the same core, the same black hole."""
        wire.black_hole(True)
        before = wire.counted()
        out = subprocess.run(
            taskset(SERVER_CORE, [os.path.join(BUILD, "bench/load/sfu_bare"), CLIENT_IP, 20000, self.receivers, self.pps,
                                  self.size, self.burst, SECONDS, "gso" if self.burst > 1 else "mmsg"]),
            check=True, stdout=subprocess.PIPE).stdout
        n = json.loads(out)
        runs = wire.counted()[0] - before[0]
        return {"us": n["cpu_us"] / n["sent"], "pps": n["sent"] * 1e6 / n["took_us"], "core": n["cpu_us"] / n["took_us"], "idle": 0,
                "lost": n["failed"] / max(n["sent"], 1), "late": 0, "run": n["sent"] / max(runs, 1), "profile": 7}

    def run(self, rounds=None):
        print(f"{self.name}: 1 publisher, {self.receivers} receivers, {self.pps} packets/s of {self.size} B in bursts of "
              f"{self.burst}, {SECONDS} s a round", flush=True)
        wire = Wire()
        try:
            for i in range(rounds or ROUNDS):
                r = {}
                for server in self.servers:
                    try:
                        n = self.measure(server, wire)
                    except (RuntimeError, AssertionError, OSError) as e:
                        print(f"  round {i + 1}: {server:11} FAILED: {e}", flush=True)
                        continue
                    r[server] = n
                    print(f"  round {i + 1}: {server:11} {n['us']:6.2f} us CPU a packet, {100 * n['core']:3.0f} % of its core "
                          f"(idle {100 * n['idle']:.1f} %), {n['pps'] / 1000:.1f} k packets/s in runs of "
                          f"{n['run']:.1f}, lost {100 * n['lost']:.2f} %, SRTP profile {n['profile']}"
                          + (f", generator late {n['late']} times" if n["late"] else ""), flush=True)
                self.rounds.append(r)
        finally:
            wire.close()
        for server in self.servers:
            v = sorted(r[server]["us"] for r in self.rounds if server in r)
            if v:
                print(f"  {server:11} median {statistics.median(v):.2f} us (min {v[0]:.2f}, max {v[-1]:.2f})", flush=True)

    def median(self, server):
        v = [r[server]["us"] for r in self.rounds if server in r]
        return statistics.median(v) if v else None

    def ratio(self, to, of=SORI):
        v = [r[of]["us"] / r[to]["us"] for r in self.rounds if of in r and to in r]
        return statistics.median(v) if v else None


def commit():
    p = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, check=False)
    return p.stdout.decode().strip() or "no commit"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        found = re.search(r"model name\s*: (.*)", f.read())
    return found.group(1) if found else platform.machine()


def version(package):
    p = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, check=False)
    return p.stdout.decode() or "unknown"


ALL_SERVERS = SORI, OTHER, JANUS, JANUS_TUNED, BARE
GOALS = (  # name, goal, whether more is better
    ("audio40_vs_janus", 0.25, False), ("audio40_vs_janus_tuned", 0.5, False), ("audio40_vs_limit", 1.4, False),
    ("video8_vs_janus_tuned", 0.25, False), ("video8_vs_limit", 1.8, False), ("srtp_vs_evp", 1.15, False),
    ("srtp_5000_sessions_ratio", 1.1, False), ("calls_per_core", 1200, True), ("join_cpu_ms", 1.5, False),
    ("first_audio_ms", 60, False), ("audio_pc_bytes", 65536, False), ("video_pc_bytes", 262144, False),
    ("allocs_per_packet", 0, False), ("workers2_speedup", 1.9, True))


def scale():
    """CPU per packet over receivers; gives {server: [(receivers, us)]}."""
    points = {}
    for receivers, pps in (10, 1000), (40, 1000), (160, 250):
        load = FanOut(f"audio{receivers}", AUDIO, receivers, pps, 160, 1, (SORI, JANUS, JANUS_TUNED, BARE))
        load.run(1)
        for server in load.servers:
            if load.median(server) is not None:
                points.setdefault(server, []).append((receivers, load.median(server)))
    return points


def plot(points):
    try:
        import matplotlib  # Debian's python3-matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return
    fig, axes = pyplot.subplots(figsize=(7, 4.5))
    for server, values in points.items():
        axes.plot(*zip(*values), marker="o", label=server)
    axes.set(xscale="log", yscale="log", xlabel="receivers (10 and 40: 1,000 packets/s of 160 B; 160: 250)",
             ylabel="server CPU per forwarded packet, µs", xticks=[10, 40, 160], xticklabels=["10", "40", "160"])
    axes.legend()
    path = os.path.join(ROOT, "build", "bench-sfu.png")
    fig.savefig(path, dpi=120, bbox_inches="tight")
    print(f"plot: {os.path.relpath(path, ROOT)}")


def wanted(name):
    return not ONLY or name in ONLY


def audio40(_quick):
    load = FanOut("audio40", AUDIO, 40, 1000, 160, 1, ALL_SERVERS)
    load.run()
    return {"audio40_vs_janus": load.ratio(JANUS), "audio40_vs_janus_tuned": load.ratio(JANUS_TUNED),
            "audio40_vs_limit": load.ratio(BARE)}


def video8(_quick):
    load = FanOut("video8", VIDEO, 40, 1000, 1200, 8, (SORI, OTHER, JANUS_TUNED, BARE))
    load.run()
    return {"video8_vs_janus_tuned": load.ratio(JANUS_TUNED), "video8_vs_limit": load.ratio(BARE)}


def scale_plot(_quick):
    plot(scale())
    return {}


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{cpu_model()}, {len(CORES)} cores, Linux {platform.release()}; sori {commit()}, janus {version('janus')} "
          f"with libsrtp2 {version('libsrtp2-1')}{', and built with OpenSSL' if openssl_srtp() else ''}; server on core "
          f"{SERVER_CORE}, load on core {LOAD_CORE}", flush=True)
    found = {}
    rows = [("audio40", audio40), ("video8", video8), ("srtp", lambda _quick: sfu_costs.srtp()),
            ("core", lambda _quick: sfu_costs.core())]
    if HAVE_SORI:
        rows += [("hotpath", sfu_costs.hotpath), ("join", sfu_costs.joins), ("memory", sfu_costs.memory),
                 ("workers", sfu_costs.workers), ("calls", sfu_costs.calls), ("churn", sfu_costs.churn)]
    for name, measure in (*rows, ("scale", scale_plot)):
        if wanted(name):
            found.update(sfu_costs.careful(name, measure, QUICK))
    for name, goal, more in GOALS:
        value = found.get(name)
        verdict = "not measured" if value is None else "reached" if (value >= goal if more else value <= goal) else "missed"
        print(f"goal {name} at {'least' if more else 'most'} {goal}: {verdict}")
    for name, _, _ in GOALS:
        print(f"FIGURE {name}={'missing' if found.get(name) is None else format(found[name], '.4g')}")


if __name__ == "__main__":
    if os.environ.get("BENCH_SFU_NETNS"):
        main()
    else:
        openssl_srtp()  # outside: apt wants the network
        inner = shlex.join([sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
        sys.exit(subprocess.run(["unshare", "-n" if os.geteuid() == 0 else "-rn", "sh", "-c", f"ip link set lo up && exec {inner}"],
                                env=dict(os.environ, BENCH_SFU_NETNS="1"), check=False).returncode)

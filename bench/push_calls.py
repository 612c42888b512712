"""The part of bench/push.py that calls: a real sori-server, callees that sleep, and a push each.

bench/load/push_wire is both ends of it on one clock: callers on wss, and Apple. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import select
import statistics
import subprocess
import tempfile
import time
import urllib.request

import h2server
from apnsworld import TEAM, TOPIC, make_key
from signal_rig import busy_s, pinned, stop
from soridaemon import free_port

CALLERS, RATE = 300, 1000
# A round is disturbed, and done again, when others take more than so many percent of our cores.
OTHERS_MAX = 3
TRIES, QUIET_S = 2, 30
CONFIG = """
[server]
listen_tls = 127.0.0.1:{tls}
[tls]
cert_file = {cert}
key_file = {key}
[auth]
hs256_secret_file = {folder}/secret
[call]
ring_timeout = 30
[push]
ring_secret_file = {folder}/secret
[ledger]
file = {folder}/ledger.db
token_key_file = {folder}/secret
[apns]
production = localhost:{apple}
ca_file = {ca}
[app {topic}]
team_id = {team}
key_id = KEY1234567
key_file = {folder}/apns.p8
[admin]
listen = 127.0.0.1:{admin}
[limits]
handshakes_per_s = 100000
handshakes_burst = 100000
messages_per_s = 100000
messages_burst = 100000
invites_per_10s = 0
invites_per_hour = 0
invites_per_pair_per_min = 0
records_per_min = 0
[log]
level = warn
"""


def cpu_s(*pids):
    """CPU time of all threads of the processes."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total / 1e9


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


class Rig:
    """Server and generator on a core each, callers connected."""

    def __init__(self, build, server_core, load_core, folder):
        self.cores = {server_core, load_core}
        self.tls, self.admin, apple = free_port(), free_port(), free_port()
        pem, key = h2server.certificates().good
        with open(f"{folder}/secret", "w", encoding="ascii") as f:
            f.write("0123456789abcdef0123456789abcdef")
        os.chmod(f"{folder}/secret", 0o600)
        make_key(f"{folder}/apns.p8")
        with open(f"{folder}/server.ini", "w", encoding="utf-8") as f:
            f.write(CONFIG.format(folder=folder, cert=pem, key=key, ca=h2server.certificates().ca, tls=self.tls,
                                  apple=apple, admin=self.admin, topic=TOPIC, team=TEAM))
        self.load = self.server = None
        try:
            self.load = subprocess.Popen(
                [f"{build}/bench/load/push_wire", f"127.0.0.1:{self.tls}", f"{folder}/secret", str(apple), pem, key,
                 TOPIC, str(CALLERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                preexec_fn=pinned(load_core))
            if self.line(20) != "listening":
                raise RuntimeError("push_wire does not listen")
            self.server = subprocess.Popen([f"{build}/sori-server", "--config", f"{folder}/server.ini"],
                                           stdin=subprocess.DEVNULL, preexec_fn=pinned(server_core))
            self.wait_ready()
            self.ask("callers")
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        until = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=1) as r:
                    if r.read() == b"ready\n":
                        return
            except OSError:
                pass
            if self.server.poll() is not None or time.monotonic() > until:
                raise RuntimeError("sori-server is not ready")
            time.sleep(0.05)

    def line(self, seconds):
        # One line an answer: nothing can be left in the text buffer when select() is asked.
        if not select.select([self.load.stdout], [], [], seconds)[0]:
            raise RuntimeError("push_wire does not answer")
        text = self.load.stdout.readline()
        if not text:
            raise RuntimeError(f"push_wire ended with {self.load.wait(10)}")
        return text.strip()

    def ask(self, command, seconds=60):
        self.load.stdin.write(command + "\n")
        self.load.stdin.flush()
        return json.loads(self.line(seconds))

    def run(self, rate, seconds, *sets):
        """Calls at this pace; with p50, p99, max (us), and others: the share of the time that our cores worked for
        anybody else, in percent."""
        pids = self.server.pid, self.load.pid
        mine, busy = cpu_s(*pids), busy_s(self.cores)
        r = self.ask(f"run {rate} {seconds} {' '.join(sets)}", seconds + 60)
        others = busy_s(self.cores) - busy - (cpu_s(*pids) - mine)
        r["others"] = max(0, others / r["seconds"] / len(self.cores) * 100)
        v = sorted(r["latency_us"])
        return r | {"p50": percentile(v, 0.5), "p99": percentile(v, 0.99), "max": v[-1]}

    def stop(self):
        if self.load:
            with contextlib.suppress(OSError):
                self.load.stdin.close()
            stop(self.load)
        if self.server:
            stop(self.server)


@contextlib.contextmanager
def rig(*args):
    with tempfile.TemporaryDirectory(prefix="sori-bench-calls-") as folder:
        r = Rig(*args, folder)
        try:
            yield r
        finally:
            r.stop()


def show(what, r):
    print(f"  {what:44} n {r['calls']:6}  p50 {r['p50']:6} us  p99 {r['p99']:6} us  max {r['max']:7} us  "
          f"{r['alerts']:5} alerts, {r['late']} began late, {r['others']:.1f} % of the time others{'' if is_quiet(r) else '; DISTURBED'}", flush=True)


KINDS = {"alone": (f"calls alone, {RATE} a second", ["voip"]),
         "alerts": ("as many alerts", ["good"]),
         "storm": ("as many alerts, half of them to bad tokens", ["good", "bad"])}


def invite_round(r, kind, seconds):
    text, sets = KINDS[kind]
    if kind == "storm":  # each bad token can be called bad once
        r.ask(f"callees bad {RATE * seconds // 2} bad")
    before = r.ask("apple")["rejected"]
    x = r.run(RATE, seconds, *sets)
    x["rejected"] = r.ask("apple")["rejected"] - before
    x["whole"] = len(sets) == 1 or x["alerts"] >= 0.99 * x["calls"]
    show(text, x)
    return x


def is_quiet(x):
    """Nobody disturbed it, and all its alerts were sent."""
    return x["others"] <= OTHERS_MAX and x["whole"]


def wait_for_quiet(cores, until):
    """Returns when nobody else uses our cores, or at the given time. (The generator itself waits with a timeout.)"""
    while time.monotonic() < until:
        before, start = busy_s(cores), time.monotonic()
        time.sleep(0.5)
        if busy_s(cores) - before < 0.05 * len(cores) * (time.monotonic() - start):
            return


def bench_invites(r, rounds, seconds, figures):
    """Rounds of calls alone, calls with as many alerts, and the same with half of the alerts' tokens bad: in turn,
    until so many of each were not disturbed, or TRIES times as many. Quiet ones count if there are any."""
    r.ask("callees voip 500 voip")
    r.ask("callees good 500 alert")
    r.run(RATE, 1, "voip")  # warms up
    done, until = {k: [] for k in KINDS}, time.monotonic() + QUIET_S
    for _ in range(TRIES * rounds):
        for kind, got in done.items():
            if sum(map(is_quiet, got)) < rounds:
                wait_for_quiet(r.cores, until)
                got.append(invite_round(r, kind, seconds))
    done = {k: [x for x in v if x["whole"]] for k, v in done.items()}
    rejected = [x["rejected"] for x in done["storm"]]
    if not all(done.values()) or min(rejected) == 0:
        raise RuntimeError(f"there was no storm: {rejected} alerts rejected")
    p99 = {k: statistics.median([x["p99"] for x in v if is_quiet(x)] or [x["p99"] for x in v])
           for k, v in done.items()}
    figures["invite_to_wire_p99_us"] = round(p99["alone"])
    figures["storm_ratio"] = round(p99["storm"] / p99["alerts"], 2)
    print(f"  medians of p99: alone {p99['alone']:.0f} us, with alerts {p99['alerts']:.0f} us, in the storm "
          f"{p99['storm']:.0f} us, {statistics.median(rejected):.0f} alerts of a round rejected")


def bench_hole(r, holes, figures):
    """What the worst call costs when the connection with most calls becomes a black hole, again and again."""
    worst = []
    for _ in range(holes):
        if not r.ask("hole")["hole"]:
            raise RuntimeError("no connection carries calls")
        x = r.run(50, 5, "voip")
        worst.append(x["max"] / 1000)
        slow = sum(1 for v in x["latency_us"] if v > 100000)
        print(f"  n {x['calls']}, {slow} calls over 100 ms, worst {worst[-1]:.0f} ms, {r.ask('apple')['connections']} "
              "connections afterwards", flush=True)
    figures["blackhole_ms"] = round(max(worst))

#!/usr/bin/python3
"""make bench-cluster: what calls between users of two nodes cost, beside calls of one node.

    bench/cluster.py [--quick]

Two real sori-servers and a real Redis share one core, the load generator has another, in a network
namespace of their own. In turn: calls between the nodes, calls between users of one of them, calls of a
third server that knows no Redis; before them, what Redis alone takes for a message of an invite's size.
BUILD names the folder of the binaries (build/gcc). What each figure means: bench/README.md. The last two
lines are the figures. --quick: a smoke test of 20 seconds. SPDX-License-Identifier: BSD-3-Clause
"""
import sys
del sys.path[0]  # this folder: a name in it is that of a standard module
import contextlib
import csv
import io
import os
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
import signal_rig as rig  # noqa: E402  (needs the lines above)
from signal_rig import (BUILD, HOST, LOAD_CORE, SERVER_CORE, BenchError, Load, busy_s, cpu_us, heading,  # noqa: E402
                        output, percentile, pinned, running, show)

QUICK = "--quick" in sys.argv[1:]
REDIS_PORT = 6379
NODES = {"a": 8443, "b": 8543, "alone": 8643}
TWO, ONE, ALONE = "two nodes", "one of two", "no Redis"
# kind -> (callers' node, callees' node)
KINDS = {TWO: ("a", "b"), ONE: ("a", "a"), ALONE: ("alone", "alone")}
PAIRS = 200
OPEN = {"rounds": 1 if QUICK else 5, "rate": 200, "seconds": 2 if QUICK else 3, "tries": 2}
CLOSED = {"rounds": 1 if QUICK else 3, "seconds": 1 if QUICK else 3}
PUBLISH = {"n": 2000 if QUICK else 20000, "bytes": 2400}
# Percent of our cores that others may have taken before a round counts as disturbed: in figures of CPU, of latency.
QUIET_CPU, QUIET_LATENCY = 10, 3

GOALS = {
    "invite_p99_us": (3000, -1, f"us from invite to incoming on another node, at {OPEN['rate']} calls/s"),
    "calls_per_core_s": (2000, 1, "calls between two nodes for each second of CPU of both servers"),
}

REDIS_INI = """[redis]
servers = {host}:{port}
[admin]
listen = {host}:{admin}
"""


class Redis:
    """On the servers' core."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            ["redis-server", "--bind", HOST, "--port", str(REDIS_PORT), "--save", "", "--appendonly", "no", "--dir",
             folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=pinned(SERVER_CORE))
        until = time.monotonic() + 10
        while output("redis-cli", "-p", str(REDIS_PORT), "ping") != "PONG":
            if self.process.poll() is not None or time.monotonic() > until:
                rig.stop(self.process)
                raise BenchError("redis-server is not ready")
            time.sleep(0.05)

    def commands(self):
        """What it has been asked so far."""
        text = output("redis-cli", "-p", str(REDIS_PORT), "info", "stats")
        return int(next(line for line in text.split("\n") if line.startswith("total_commands_processed")).split(":")[1])

    def stop(self):
        rig.stop(self.process)


class Node(rig.Server):
    """One sori-server."""

    def __init__(self, name, files):
        port = NODES[name]
        ini = rig.SERVER_INI.format(host=HOST, port=port, dir=files).replace("[tls]", f"node_id = {name}\n[tls]", 1)
        if name != "alone":
            ini += REDIS_INI.format(host=HOST, port=REDIS_PORT, admin=port + 1)
        rig.write(f"{files}/{name}.ini", ini)
        self.name = name
        super().__init__(name, [f"{BUILD}/sori-server", "--config", f"{files}/{name}.ini"], f"{HOST}:{port}")
        try:
            self.wait_joined(port + 1)
        except BaseException:
            self.stop()
            raise

    def wait_joined(self, admin):
        until = time.monotonic() + rig.READY_S
        while self.name != "alone":
            try:
                with urllib.request.urlopen(f"http://{HOST}:{admin}/readyz", timeout=1) as r:
                    if r.read() == b"ready\n":
                        return
            except (OSError, urllib.error.HTTPError):
                pass
            if time.monotonic() > until:
                raise BenchError(f"node {self.name} does not reach Redis")
            time.sleep(0.05)


class World:
    """Redis, the nodes, a load generator for each kind of calls."""

    def __init__(self, stack, files):
        self.redis = stack.enter_context(running(Redis, files))
        self.nodes = {name: stack.enter_context(running(Node, name, files)) for name in NODES}
        self.loads = {}
        for kind, (here, there) in KINDS.items():
            args = (self.nodes[here].addr, f"{files}/secret", PAIRS, self.nodes[there].addr)
            self.loads[kind] = stack.enter_context(running(Load, "sig_calls", *args))

    def run(self, kind, command):
        """Runs it. With servers_us and redis_us of CPU and asked commands of Redis a call; core: percent of the time
        that the servers and Redis worked; others: percent of the time that our cores worked for anybody else."""
        load, cores = self.loads[kind], {LOAD_CORE, SERVER_CORE}
        servers = [n.process.pid for n in self.nodes.values()]
        pids = [*servers, self.redis.process.pid, load.process.pid]
        asked = self.redis.commands()
        before, busy = {p: cpu_us(p) for p in pids}, busy_s(cores)
        r = load.ask(command)
        used, busy = {p: cpu_us(p) - before[p] for p in pids}, busy_s(cores) - busy
        r["servers_us"] = sum(used[p] for p in servers) / r["calls"]
        r["redis_us"] = used[self.redis.process.pid] / r["calls"]
        r["asked"] = (self.redis.commands() - asked) / r["calls"]
        r["core"] = (sum(used.values()) - used[load.process.pid]) / r["seconds"] / 1e4
        r["others"] = max(0, busy - sum(used.values()) / 1e6) / r["seconds"] / len(cores) * 100
        return r


def disturbed(r, limit):
    return f"; DISTURBED: others had {r['others']:.0f} % of our cores" if r["others"] > limit else ""


def cost(r):
    return (f"{r['servers_us']:.0f} us CPU of sori-server a call, {r['redis_us']:.0f} of Redis for {r['asked']:.0f} "
            f"commands; core {r['core']:.0f} % busy")


def bench_redis(_world, _figures):
    heading(f"Redis alone: {PUBLISH['n']} SPUBLISH of {PUBLISH['bytes']} bytes to one who listens, one after the other")
    listener = subprocess.Popen(["redis-cli", "-p", str(REDIS_PORT), "ssubscribe", "bench"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, preexec_fn=pinned(LOAD_CORE))
    try:
        while output("redis-cli", "-p", str(REDIS_PORT), "pubsub", "shardnumsub", "bench").split() != ["bench", "1"]:
            time.sleep(0.05)
        text = output("redis-benchmark", "-p", str(REDIS_PORT), "-c", "1", "-n", str(PUBLISH["n"]), "--csv", "spublish",
                      "bench", "x" * PUBLISH["bytes"])
    finally:
        rig.stop(listener)
    row = list(csv.DictReader(io.StringIO(text[text.index('"test"'):])))[0]
    show("Redis", float(row["p99_latency_ms"]) * 1000,
         f"us p99 from the command to its answer (p50 {float(row['p50_latency_ms']) * 1000:.0f}); an invite to another "
         "node takes a round trip and one of these")


def bench_latency(world, figures):
    heading(f"invite sent to call.incoming heard, {OPEN['rate']} calls/s whatever the servers do")
    rounds = {kind: [] for kind in KINDS}
    for kind in KINDS:
        world.loads[kind].ask("open 100 1")

    def quiet(kind):
        return [r for r in rounds[kind] if r["others"] <= QUIET_LATENCY]

    while len(rounds[TWO]) < OPEN["rounds"] or (len(quiet(TWO)) < OPEN["rounds"] and
                                                 len(rounds[TWO]) < OPEN["rounds"] * OPEN["tries"]):
        for kind in KINDS:
            r = world.run(kind, f"open {OPEN['rate']} {OPEN['seconds']}")
            us = r["latency_us"]
            rounds[kind].append(r)
            show(kind, percentile(us, 0.99), f"us p99, round {len(rounds[kind])} (p50 {percentile(us, 0.5)}, p90 "
                 f"{percentile(us, 0.9)}, p99.9 {percentile(us, 0.999)}, max {max(us)}; {r['calls']} calls, {r['late']} "
                 f"began late; {cost(r)}{disturbed(r, QUIET_LATENCY)})")
    for kind in KINDS:
        if not quiet(kind):
            print(f"  {kind}: no round was quiet, the machine's other work is in these times")
        median = statistics.median(percentile(r["latency_us"], 0.99) for r in quiet(kind) or rounds[kind])
        show(kind, median, "us p99, median")
        if kind == TWO:
            figures["invite_p99_us"] = round(median)


def bench_calls(world, figures):
    heading(f"complete calls as fast as they go, {PAIRS} in parallel")
    rounds = {kind: [] for kind in KINDS}
    for kind in KINDS:
        world.loads[kind].ask("closed 1")
    for n in range(CLOSED["rounds"]):
        for kind in KINDS:
            r = world.run(kind, f"closed {CLOSED['seconds']}")
            rounds[kind].append(r)
            show(kind, r["servers_us"] + r["redis_us"], f"us CPU a call, round {n + 1}: {cost(r)} "
                 f"({r['calls'] / r['seconds']:.0f} calls/s{disturbed(r, QUIET_CPU)})")
    for kind in KINDS:
        servers = statistics.median(r["servers_us"] for r in rounds[kind])
        redis = statistics.median(r["redis_us"] for r in rounds[kind])
        show(kind, 1e6 / servers, f"calls for each second of CPU of sori-server, median; {1e6 / (servers + redis):.0f} for "
             "each of sori-server and Redis")
        if kind == TWO:
            figures["calls_per_core_s"] = round(1e6 / servers)


def main():
    rig.enter_namespace(__file__)
    figures, failed = {}, False
    rig.print_machine("servers and Redis")
    print(f"engine    {output('redis-server', '--version').split(' sha')[0]}")
    if QUICK:
        print("quick     a smoke test: too short for figures to rely on")
    with tempfile.TemporaryDirectory(prefix="sori-bench-") as files, contextlib.ExitStack() as stack:
        rig.make_secrets(files)
        try:
            world = World(stack, files)
            for part in (bench_redis, bench_latency, bench_calls):
                part(world, figures)
        except (BenchError, OSError, ValueError) as e:
            failed = True
            print(f"  FAILED: {e}", flush=True)
    rig.print_goals(GOALS, figures, "missing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

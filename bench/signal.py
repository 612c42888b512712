#!/usr/bin/python3
"""make bench-signal: what a signaling server costs, and the same router on npm ws beside it.

    bench/signal.py [--quick]

Runs in a network namespace of its own: the server on one core, the load generator (bench/load) on
another, both servers in turn. BUILD names the folder of the binaries (build/gcc). What each figure
means: bench/README.md. The last six lines are the figures. --quick: a smoke test of 20 seconds.
SPDX-License-Identifier: BSD-3-Clause
"""
import sys
del sys.path[0]  # this folder: our own name is that of a standard module
import contextlib
import json
import os
import statistics
import tempfile
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
import signal_rig as rig  # noqa: E402  (needs the lines above)
from signal_rig import (BUILD, HOST, LOAD_CORE, ROOT, SERVER_CORE, BenchError, Load, cpu_us, heading,  # noqa: E402
                        output, percentile, running, show, waited_us)

PEERS = os.path.join(ROOT, "bench", "peers")
QUICK = "--quick" in sys.argv[1:]
SORI, WS = "sori-server", "npm ws"
PORTS = {SORI: 8443, WS: 9443}
# Percent of the time that a round may wait for a core because other processes had it, before it
# counts as disturbed: in figures of CPU, of latency.
QUIET_CPU, QUIET_LATENCY = 10, 3

IDLE = 1000 if QUICK else 10000
ROUTE = {"pairs": 100, "rounds": 3 if QUICK else 7, "messages": 20000 if QUICK else 150000}
SHAKE = {"rounds": 1 if QUICK else 5, "count": 300 if QUICK else 2000, "at_once": 4}
OPEN = {"pairs": 200, "rounds": 1 if QUICK else 5, "rate": 500, "seconds": 2 if QUICK else 4,
        "tries": 4, "patience_s": 1 if QUICK else 60}
CLOSED = {"pairs": 32, "rounds": 1 if QUICK else 3, "seconds": 1 if QUICK else 5}

# figure -> (goal, at least (1) or at most (-1), unit)
GOALS = {
    "idle_wss_rss_bytes": (16000, -1, "bytes a connection"),
    "route_cpu_us": (16, -1, "us of server CPU a message"),
    "route_vs_ws": (0.45, -1, "x npm ws"),
    "handshake_cpu_us": (650, -1, "us of server CPU a connection"),
    "invite_p99_us": (1000, -1, "us"),
    "calls_per_core_s": (2000, 1, "calls a second and core"),
}


def busy_share(seconds):
    """Share of our cores' time that is taken during the next seconds, 0 to 1."""
    def idle_ticks():
        with open("/proc/stat", encoding="ascii") as f:
            lines = [line.split() for line in f]
        return sum(int(t[4]) + int(t[5]) for t in lines
                   if t[0] in (f"cpu{LOAD_CORE}", f"cpu{SERVER_CORE}"))
    before, start = idle_ticks(), time.monotonic()
    time.sleep(seconds)
    idle = (idle_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start)
    return max(0, 1 - idle / len({LOAD_CORE, SERVER_CORE}))


def wait_for_quiet(until):
    """Returns when nobody else uses our cores, or at the given time."""
    while time.monotonic() < until and busy_share(0.5) > 0.05:
        pass


class Server(rig.Server):
    """One server process on its core, and what it has used."""

    def __init__(self, kind, files):
        addr = f"{HOST}:{PORTS[kind]}"
        if kind == SORI:
            command = [f"{BUILD}/sori-server", "--config", f"{files}/server.ini"]
        else:
            command = ["node", f"{PEERS}/ws_router.mjs", HOST, str(PORTS[kind]),
                       f"{files}/cert.pem", f"{files}/key.pem", f"{files}/secret"]
        super().__init__(kind, command, addr)

    def memory(self):
        """Rss, Pss and Heap in bytes."""
        found = {"Heap": 0}
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                key, _, value = line.partition(":")
                if key in ("Rss", "Pss"):
                    found[key] = int(value.split()[0]) * 1024
        heap = False
        with open(f"/proc/{self.process.pid}/smaps", encoding="ascii") as f:
            for line in f:
                if "-" in line.split()[0]:
                    heap = line.rstrip().endswith("[heap]")
                elif heap and line.startswith("Rss:"):
                    found["Heap"] += int(line.split()[1]) * 1024
        return found


def measure(server, load, command, unit):
    """Runs one command. Gives its result with the server's cpu_us, cpu_us_each over result[unit],
    and waited: percent of the time that server and load generator waited for their cores."""
    pids = server.process.pid, load.process.pid
    before, waited = cpu_us(pids[0]), sum(waited_us(p) for p in pids)
    result = load.ask(command)
    result["cpu_us"] = cpu_us(pids[0]) - before
    result["cpu_us_each"] = result["cpu_us"] / result[unit]
    result["waited"] = (sum(waited_us(p) for p in pids) - waited) / result["seconds"] / 1e4
    return result


def disturbed(r, limit):
    return f"; DISTURBED: waited {r['waited']:.0f} % of the time" if r["waited"] > limit else ""


def interleaved(files, generator, args, command, unit, rounds, warm_up):
    """Rounds of sori-server, npm ws, sori-server, ... with both servers up: {kind: [result]}."""
    with contextlib.ExitStack() as stack:
        pairs = {}
        for kind in (SORI, WS):
            server = stack.enter_context(running(Server, kind, files))
            load = stack.enter_context(running(Load, generator, server.addr, *args))
            load.ask(warm_up)
            pairs[kind] = server, load
        results = {SORI: [], WS: []}
        for _ in range(rounds):
            for kind, (server, load) in pairs.items():
                results[kind].append(measure(server, load, command, unit))
        return results


def median_each(rounds):
    return statistics.median(r["cpu_us_each"] for r in rounds)


# ---- the parts ----

def bench_idle(files, figures, _plot):
    heading(f"{IDLE} idle wss connections, each a session after hello")
    for kind in (SORI, WS):
        with running(Server, kind, files) as server:
            before = server.memory()
            cpu = cpu_us(server.process.pid)
            with running(Load, "sig_idle", server.addr, f"{files}/secret", IDLE):
                cpu = cpu_us(server.process.pid) - cpu
                time.sleep(1)
                after = server.memory()
            each = {k: (after[k] - before[k]) / IDLE for k in after}
        show(kind, each["Rss"], f"bytes RSS a connection (PSS {each['Pss']:.0f}, heap "
             f"{each['Heap']:.0f}; {before['Rss'] / 1e6:.1f} MB before, {after['Rss'] / 1e6:.1f} MB "
             f"after; {cpu / IDLE:.0f} us CPU for connect and hello)")
        if kind == SORI:
            figures["idle_wss_rss_bytes"] = round(each["Rss"])


def bench_route(files, figures, plot):
    heading(f"routing 500-byte messages between the parties of {ROUTE['pairs']} calls, "
            f"{ROUTE['messages']} a round")
    go = f"go {ROUTE['messages']}"
    results = interleaved(files, "sig_route", (f"{files}/secret", ROUTE["pairs"]), go, "messages",
                          ROUTE["rounds"], f"go {ROUTE['messages'] // 3}")
    for n in range(ROUTE["rounds"]):
        for kind in (SORI, WS):
            r = results[kind][n]
            show(kind, r["cpu_us_each"], f"us CPU a message, round {n + 1} "
                 f"({r['messages'] / r['seconds']:.0f} messages/s, core "
                 f"{r['cpu_us'] / r['seconds'] / 1e4:.0f} % busy{disturbed(r, QUIET_CPU)})")
    medians = {kind: median_each(results[kind]) for kind in results}
    for kind in (SORI, WS):
        show(kind, medians[kind], "us, median")
    figures["route_cpu_us"] = round(medians[SORI], 2)
    figures["route_vs_ws"] = round(medians[SORI] / medians[WS], 3)
    plot["route"] = {k: [r["cpu_us_each"] for r in v] for k, v in results.items()}


def bench_handshake(files, figures, _plot):
    heading(f"accept, full TLS 1.3 handshake, upgrade and close, {SHAKE['count']} a round")
    results = interleaved(files, "sig_handshake", (SHAKE["at_once"],), f"go {SHAKE['count']}",
                          "handshakes", SHAKE["rounds"], f"go {SHAKE['count'] // 4}")
    for n in range(SHAKE["rounds"]):
        for kind in (SORI, WS):
            r = results[kind][n]
            show(kind, r["cpu_us_each"], f"us CPU a connection, round {n + 1} "
                 f"({r['handshakes'] / r['seconds']:.0f}/s{disturbed(r, QUIET_CPU)})")
    for kind in (SORI, WS):
        show(kind, median_each(results[kind]), "us, median")
    figures["handshake_cpu_us"] = round(median_each(results[SORI]), 1)


def latency_rounds(kind, files, wanted):
    """Runs until `wanted` rounds were quiet, or OPEN["tries"] times as many in all. Prints and
    gives them all."""
    rounds = []
    with running(Server, kind, files) as server, \
         running(Load, "sig_calls", server.addr, f"{files}/secret", OPEN["pairs"]) as load:
        load.ask("open 100 1")
        patience = time.monotonic() + OPEN["patience_s"]
        while (len(rounds) < OPEN["tries"] * wanted and
               sum(r["waited"] <= QUIET_LATENCY for r in rounds) < wanted):
            wait_for_quiet(patience)
            r = measure(server, load, f"open {OPEN['rate']} {OPEN['seconds']}", "calls")
            us = r["latency_us"]
            rounds.append(r)
            show(kind, percentile(us, 0.99), f"us p99, round {len(rounds)} (p50 "
                 f"{percentile(us, 0.5)}, p90 {percentile(us, 0.9)}, p99.9 {percentile(us, 0.999)}, "
                 f"max {max(us)}; {r['calls']} calls, {r['late']} began late; "
                 f"{r['cpu_us_each']:.0f} us CPU a call{disturbed(r, QUIET_LATENCY)})")
    return rounds


def bench_latency(files, figures, plot):
    heading(f"invite sent to call.incoming heard, {OPEN['rate']} calls/s whatever the server does")
    plot["latency"] = {}
    for kind in (SORI, WS):
        rounds = latency_rounds(kind, files, OPEN["rounds"] if kind == SORI else 1)
        quiet = [r for r in rounds if r["waited"] <= QUIET_LATENCY]
        if not quiet:
            print("  no round was quiet: the machine's other work is in these times")
        counted = [r["latency_us"] for r in quiet or rounds]
        plot["latency"][kind] = sum(counted, [])
        if kind == SORI:
            figures["invite_p99_us"] = round(statistics.median(
                percentile(us, 0.99) for us in counted))


def bench_calls(files, figures, _plot):
    heading(f"complete calls as fast as they go, {CLOSED['pairs']} in parallel")
    results = interleaved(files, "sig_calls", (f"{files}/secret", CLOSED["pairs"]),
                          f"closed {CLOSED['seconds']}", "calls", CLOSED["rounds"], "closed 1")
    for n in range(CLOSED["rounds"]):
        for kind in (SORI, WS):
            r = results[kind][n]
            show(kind, r["cpu_us_each"], f"us CPU a call, round {n + 1} "
                 f"({r['calls'] / r['seconds']:.0f} calls/s, core "
                 f"{r['cpu_us'] / r['seconds'] / 1e4:.0f} % busy{disturbed(r, QUIET_CPU)})")
    for kind in (SORI, WS):
        show(kind, 1e6 / median_each(results[kind]), "calls for each second of server CPU, median")
    figures["calls_per_core_s"] = round(1e6 / median_each(results[SORI]))


# ---- the frame ----

def print_machine():
    with open(f"{PEERS}/node_modules/ws/package.json", encoding="utf-8") as f:
        ws = json.load(f)["version"]
    rig.print_machine("server")
    print(f"peer      npm ws {ws}, node {output('node', '--version')}, OpenSSL "
          f"{output('node', '-p', 'process.versions.openssl')}")


def make_files(directory):
    rig.make_secrets(directory)
    rig.write(f"{directory}/server.ini",
              rig.SERVER_INI.format(host=HOST, port=PORTS[SORI], dir=directory))


def draw(plot):
    try:
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("\nno plot: python3-matplotlib is not installed")
        return
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    colours = {SORI: "#1f6f8b", WS: "#c7803c"}
    for i, (kind, values) in enumerate(plot.get("route", {}).items()):
        left.bar([n + 1 + (i - 0.5) * 0.38 for n in range(len(values))], values, 0.36,
                 color=colours[kind], label=kind)
    left.axhline(GOALS["route_cpu_us"][0], color="black", linewidth=0.8, linestyle="--",
                 label="goal")
    left.set(title="Routing a 500-byte message over TLS", xlabel="round",
             ylabel="server CPU, µs a message", ylim=(0, 30))
    left.legend(loc="upper center", ncol=3)
    bins = [50 * 1.1 ** n for n in range(110)]
    for kind, values in plot.get("latency", {}).items():
        right.hist(values, bins=bins, weights=[100 / len(values)] * len(values), histtype="step",
                   color=colours[kind], label=f"{kind}, p99 {percentile(values, 0.99)} µs")
    right.axvline(GOALS["invite_p99_us"][0], color="black", linewidth=0.8, linestyle="--",
                  label="goal for p99")
    right.set(title=f"invite to call.incoming at {OPEN['rate']} calls/s", xlabel="µs",
              ylabel="% of calls", xscale="log")
    right.legend(loc="upper right")
    path = os.path.join(ROOT, "build", "bench-signal.png")
    fig.savefig(path, dpi=110)
    print(f"\nplot: {os.path.relpath(path, ROOT)}")


def main():
    rig.enter_namespace(__file__)
    figures, plot, failed = {}, {}, False
    print_machine()
    if QUICK:
        print("quick     a smoke test: too short for figures to rely on")
    with tempfile.TemporaryDirectory(prefix="sori-bench-") as files:
        make_files(files)
        with running(Server, SORI, files) as a, running(Server, WS, files) as b:
            print(f"TLS       TLS 1.3, ECDSA P-256; {a.cipher} (sori-server), {b.cipher} (npm ws)")
        for part in (bench_idle, bench_route, bench_handshake, bench_latency, bench_calls):
            try:
                part(files, figures, plot)
            except (BenchError, OSError, ValueError) as e:
                failed = True
                print(f"  FAILED: {e}", flush=True)
    draw(plot)
    rig.print_goals(GOALS, figures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""make bench-push: what a push costs sori-server's HTTP/2 client, and npm @parse/node-apn beside it.

    bench/push.py [--quick] [cpu] [counted] [calls]       parts; all of them if none is named

Both clients send the same pushes (all headers of a VoIP push, about 190 bytes of payload, TLS 1.3,
one connection, 500 under way) to the same Debian nghttpd, in turn, in a network namespace of their
own; client on one core, server on another. Figures are CPU of the client process, medians over the
rounds. One more run sends 100,000 over one connection to a server that counts every frame
(tests/lib/h2server.py): answers lost, pushes that came twice, resets. Then a real sori-server is
called (push_calls.py). BUILD names the folder of the binaries (build/gcc). bench/README.md has the rest. SPDX-License-Identifier: BSD-3-Clause
"""
import sys
del sys.path[0]  # this folder: our own name is that of others' modules
import json
import os
import platform
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build/gcc"))
os.environ["SORI_BUILD"] = BUILD
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
sys.path.append(os.path.join(ROOT, "bench"))
import h2server  # noqa: E402  (needs the lines above)
import push_calls  # noqa: E402

QUICK = "--quick" in sys.argv[1:]
CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE, SERVER_CORE = CORES[0], CORES[-1]
ROUNDS, OURS_N, APN_N, COUNTED_N = (1, 3000, 500, 3000) if QUICK else (5, 20000, 4000, 100000)
CALL_ROUNDS, CALL_S, HOLES = (1, 2, 1) if QUICK else (5, 3, 3)
INFLIGHT, BODY, PORT = 500, 190, 18443
TOKEN = "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad"
SORI, APN = "sori", "node-apn"

# figure -> (goal, at least (1) or at most (-1), unit)
GOALS = {
    "cpu_s_per_10k": (0.15, -1, "CPU s of the client for 10,000 pushes"),
    "per_core_s": (20000, 1, "pushes a second of the client's CPU"),
    "lost": (0, -1, f"of {COUNTED_N}"),
    "doubled": (0, -1, f"of {COUNTED_N}"),
    "rst_sent": (0, -1, f"RST_STREAM frames for {COUNTED_N}"),
    "vs_node_apn": (0.1, -1, "x the CPU of @parse/node-apn"),
    "invite_to_wire_p99_us": (5000, -1, f"us from an invite to its push, n = {CALL_ROUNDS} x {push_calls.RATE * CALL_S}"),
    "blackhole_ms": (3000, -1, "ms for the worst call when a connection becomes a black hole"),
    "storm_ratio": (1.2, -1, "x the calls' p99 when half of the alerts' tokens are bad"),
}
PARTS = sys.argv[1:] if [a for a in sys.argv[1:] if a != "--quick"] else ["cpu", "counted", "calls"]


def output(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except OSError:
        return "?"


def on_core(core, *command):
    return ["taskset", "-c", str(core), *command]


def print_machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((l.split(":", 1)[1].strip() for l in f if l.startswith("model name")), "?")
    with open(f"{ROOT}/bench/peers/node_modules/@parse/node-apn/package.json", encoding="utf-8") as f:
        apn = json.load(f)["version"]
    dirty = " with local changes" if output("git", "status", "--porcelain") else ""
    print(f"machine   {model}, {os.cpu_count()} cores, kernel {platform.release()}")
    print(f"load      {os.getloadavg()[0]:.2f} before the start; client on core {CLIENT_CORE}, server on core {SERVER_CORE}")
    if CLIENT_CORE == SERVER_CORE:
        print("          only one core: client and server share it")
    print(f"commit    {output('git', 'rev-parse', '--short=12', 'HEAD')}{dirty}")
    print(f"server    {output('nghttpd', '--version')}; peer @parse/node-apn {apn}, node {output('node', '--version')}")
    if QUICK:
        print("quick     a smoke test: too short for figures to rely on")


class Nghttpd:
    """Answers every push with 200 and no body."""

    def __init__(self, folder):
        os.makedirs(f"{folder}/docs/3/device")
        with open(f"{folder}/docs/3/device/{TOKEN}", "wb"):
            pass
        pem, key = h2server.certificates().good
        self.p = subprocess.Popen(on_core(SERVER_CORE, "nghttpd", "-n", "1", "-m", "1000", "-d", f"{folder}/docs",
                                          str(PORT), key, pem), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(250):
            try:
                socket.create_connection(("127.0.0.1", PORT), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("nghttpd did not start")

    def __exit__(self, *_):
        self.p.terminate()
        self.p.wait(5)


def run(command):
    p = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if p.returncode != 0:
        raise RuntimeError(f"{command[3]}: {p.stderr[-400:]}")
    return json.loads(p.stdout)


def ours(**options):
    return run(on_core(CLIENT_CORE, *h2server.push_command(conns=1, inflight=INFLIGHT, body=BODY, **options)))


def bench_cpu(figures):
    print(f"\n== CPU of {OURS_N} pushes ({APN}: {APN_N}), {INFLIGHT} under way on one connection", flush=True)
    per_10k = {SORI: [], APN: []}
    ca, key = h2server.certificates().ca, h2server.certificates().good[1]
    for _ in range(ROUNDS):
        for kind in (SORI, APN):
            if kind == SORI:
                r = ours(n=OURS_N, same=1, port=PORT, connect=f"127.0.0.1:{PORT}")
            else:
                r = run(on_core(CLIENT_CORE, "node", f"{ROOT}/bench/peers/apn_client.mjs", str(PORT), ca, key,
                                str(APN_N), str(INFLIGHT)))
            if r["answered"] != r["sent"]:
                raise RuntimeError(f"{kind}: {r['answered']} of {r['sent']} answered: {r['why']}")
            per_10k[kind].append(r["cpu_s"] * 1e4 / r["sent"])
            print(f"  {kind:10} {per_10k[kind][-1]:8.3f} CPU s per 10,000   {r['sent'] / r['seconds']:8.0f} a second"
                  f"   {r['rss_kb'] / 1024:6.1f} MB", flush=True)
    median = {k: statistics.median(v) for k, v in per_10k.items()}
    figures["cpu_s_per_10k"] = round(median[SORI], 4)
    figures["per_core_s"] = round(1e4 / median[SORI])
    figures["vs_node_apn"] = round(median[SORI] / median[APN], 4)


def bench_large():
    print("\n== payloads of 5,120 bytes through windows of 65,535", flush=True)
    r = ours(n=OURS_N // 2, same=1, port=PORT, connect=f"127.0.0.1:{PORT}")
    large = run(on_core(CLIENT_CORE, *h2server.push_command(conns=1, inflight=INFLIGHT, body=5120, n=OURS_N // 2, same=1,
                                                            port=PORT, connect=f"127.0.0.1:{PORT}")))
    for text, x in (("190 bytes", r), ("5,120 bytes", large)):
        print(f"  {text:11} {x['cpu_s'] * 1e4 / x['sent']:8.3f} CPU s per 10,000   {x['sent'] / x['seconds']:8.0f} a second")


def bench_counted(figures):
    print(f"\n== {COUNTED_N} pushes on one connection to a server that counts frames", flush=True)
    os.sched_setaffinity(0, {SERVER_CORE})
    with h2server.RawServer() as srv:
        r = ours(n=COUNTED_N, deadline_ms=60000, port=srv.port, connect=f"127.0.0.1:{srv.port}")
        figures["lost"] = r["sent"] - r["answered"]
        figures["doubled"] = srv.doubled
        figures["rst_sent"] = srv.frames["RST_STREAM"]
        print(f"  {r['answered']} answered, {srv.requests} came, {len(srv.ids)} different, {srv.accepted} connection, "
              f"header table {srv.table_bytes} bytes, wrong: {srv.wrong or 'nothing'}")
    os.sched_setaffinity(0, CORES)
    if srv.wrong or srv.accepted != 1:
        raise RuntimeError("not as the RFC says, or more than one connection")


def bench_calls(figures):
    with push_calls.rig(BUILD, SERVER_CORE, CLIENT_CORE) as r:
        print(f"\n== calls to devices that sleep, {push_calls.RATE} a second for {CALL_S} s: from the invite to its push",
              flush=True)
        push_calls.bench_invites(r, CALL_ROUNDS, CALL_S, figures)
        print("\n== 50 calls a second; a connection becomes a black hole", flush=True)
        push_calls.bench_hole(r, HOLES, figures)


def verdict(name, value):
    goal, direction, unit = GOALS[name]
    if value is None:
        return f"  {name}: not measured, see above"
    reached = value * direction >= goal * direction
    relation = "at least" if direction > 0 else "at most"
    return f"  {name}: {value} {unit}; goal {relation} {goal}: {'reached' if reached else 'MISSED'}"


def main():
    if not os.environ.get("BENCH_IN_NAMESPACE"):
        os.execvp("unshare", ["unshare", "-rn", "sh", "-c", 'ip link set lo up && BENCH_IN_NAMESPACE=1 exec "$@"', "sh",
                              sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    figures, failed = {}, False
    print_machine()
    parts = {"cpu": [lambda: bench_cpu(figures), bench_large], "counted": [lambda: bench_counted(figures)],
             "calls": [lambda: bench_calls(figures)]}
    with tempfile.TemporaryDirectory(prefix="sori-bench-push-") as folder, Nghttpd(folder):
        for part in (f for name in parts if name in PARTS for f in parts[name]):
            try:
                part()
            except (RuntimeError, OSError, subprocess.SubprocessError, ValueError) as e:
                failed = True
                print(f"  FAILED: {e}", flush=True)
    print()
    for name in GOALS:
        print(verdict(name, figures.get(name)))
    print()
    for name in GOALS:
        print(f"FIGURE {name}={figures.get(name, 'failed')}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

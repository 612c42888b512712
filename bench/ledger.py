#!/usr/bin/python3
"""make bench-ledger: durable call records a second, and what the disk's own syncs allow beside them.

    bench/ledger.py [--quick]

The driver (bench/load/ledger_driver.c) is the ledger as sori-server runs it: thread, queue, SQLite
with a sync per commit. 1,000 records are on their way at any time; each counts when its done was
called. In the same run a file beside it is written and synced, so that the disk is known. The last
line is the figure. --quick: a smoke test of some seconds. SPDX-License-Identifier: BSD-3-Clause
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DRIVER = os.path.join(ROOT, os.environ.get("BUILD", "build/gcc"), "bench/load/ledger_driver")
QUICK = "--quick" in sys.argv[1:]
ROUNDS, SECONDS = (1, 1) if QUICK else (5, 4)
WINDOWS = (1, 16, 1000)
GOAL = 3000


def syncs_per_s(place, seconds):
    """How often the disk takes 4 kB that are appended and synced."""
    fd = os.open(os.path.join(place, "syncs"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    start, n = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        os.write(fd, bytes(4096))
        os.fdatasync(fd)
        n += 1
    took = time.monotonic() - start
    os.close(fd)
    return n / took


def rate(place, window):
    run = subprocess.run([DRIVER, "rate", os.path.join(place, "ledger.db"), str(SECONDS), str(window)],
                         capture_output=True, text=True, timeout=60, check=False)
    if run.returncode != 0:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout)


def main():
    # On a real disk: a file system in memory would show nothing.
    base = os.environ.get("SORI_BENCH_DIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="sori-bench-", dir=base) as place:
        fs = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=True).stdout.strip()
        print(f"disk      {place} ({fs})")
        disk = [syncs_per_s(place, 0.5)]
        per_s = {}
        for window in WINDOWS:
            rounds = [rate(place, window) for _ in range(ROUNDS)]
            disk.append(syncs_per_s(place, 0.5))
            per_s[window] = statistics.median(r["per_s"] for r in rounds)
            mid = sorted(rounds, key=lambda r: r["per_s"])[len(rounds) // 2]
            print(f"{window:5} on their way: {per_s[window]:9,.0f} records/s (of {ROUNDS} rounds "
                  f"{min(r['per_s'] for r in rounds):,.0f} to {max(r['per_s'] for r in rounds):,.0f}); "
                  f"{mid['records'] / max(1, mid['batches']):.1f} a commit, {mid['batches'] / mid['seconds']:,.0f} commits/s, "
                  f"lag p99 < {mid['lag_p99_us'] / 1000:.0f} ms, longest put {mid['worst_put_us']} us, "
                  f"{mid['cpu_s'] / mid['records'] * 1e6:.0f} us of CPU a record")
        print(f"disk      {min(disk):,.0f} to {max(disk):,.0f} syncs/s of 4 kB in the same run")
    best = per_s[WINDOWS[-1]]
    print(f"goal      durable_records_s {best:,.0f} (at least {GOAL:,}): {'ok' if best >= GOAL else 'MISSED'}")
    print(f"\nFIGURE durable_records_s={best:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

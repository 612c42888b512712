#!/usr/bin/python3
"""make faults: every promise about faults under its full load, one file after the other.

    tests/faults/faults.py [-k WORD] [--seed N]

Shows what happens as it happens; ends with one line FIGURE name=value for each figure of the promises, `missing`
for what was not measured. Each figure is the worst that was seen. SPDX-License-Identifier: BSD-3-Clause
"""
import glob
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIGURES = ("server_kill_resume_p99_s", "server_kill_calls_dropped", "messages_lost", "messages_doubled",
           "redis_failover_added_s", "redis_gone_calls_dropped", "durable_lost", "turn_kill_media_back_s",
           "sfu_kill_media_back_s", "nat_connected", "nat_setup_p95_s", "presence_right_s")
LIMIT_S = 1800


def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def run(path, env):
    """One file in a network namespace of its own; whether it passed."""
    inner = shlex.join(["/usr/bin/python3", "-m", "pytest", "-q", "-s", "--color=no", "-p", "no:cacheprovider", path])
    try:
        return subprocess.run(["unshare", "-rn", "sh", "-c", f"ip link set lo up && exec {inner}"], cwd=ROOT, env=env,
                              stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"stopped after {LIMIT_S} s")
        return False


def worst(values):
    """Of one figure's values as text."""
    numbers = [v for v in values if v != "missing"]
    try:
        return max(numbers, key=float) if numbers else "missing"
    except ValueError:
        return numbers[-1]


def read(path):
    got = {}
    with open(path, encoding="ascii") as f:
        for name, value in (line.rstrip("\n").split("=", 1) for line in f):
            got.setdefault(name, []).append(value)
    return {name: worst(values) for name, values in got.items()}


def main():
    seed = option("--seed", "") or str(random.randrange(1 << 31))
    files = [f for f in sorted(glob.glob(os.path.join(ROOT, "tests/faults/*_test.py"))) if option("-k", "") in f]
    failed, start = [], time.monotonic()
    with tempfile.NamedTemporaryFile("r", suffix=".figures") as figures:
        env = dict(os.environ, FAULTS="long", FAULT_SEED=seed, FAULT_FIGURES=figures.name, SORI_ROOT=ROOT,
                   SORI_BUILD=os.path.join(ROOT, os.environ.get("BUILD", "build/gcc")), PYTHONUNBUFFERED="1",
                   PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=os.path.join(ROOT, "tests", "lib"))
        for i, path in enumerate(files):
            name = os.path.basename(path)[:-8]
            print(f"[{i + 1}/{len(files)}] {name}, seed {seed}, {time.monotonic() - start:.0f} s so far", flush=True)
            if not run(path, env):
                failed.append(name)
        got = read(figures.name)
    print(f"{len(files) - len(failed)} files passed, {len(failed)} failed{': ' + ' '.join(failed) if failed else ''}")
    for name in sorted(got.keys() - set(FIGURES)):
        print(f"also {name}={got[name]}")
    for name in FIGURES:
        print(f"FIGURE {name}={got.get(name, 'missing')}", flush=True)
    sys.exit(1 if failed or not files else 0)


if __name__ == "__main__":
    main()

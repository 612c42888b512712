#!/usr/bin/python3
"""Runs Sori's tests and ends with the line "N passed, N failed".

    tests/run.py [unit|fuzz|sim|web|relay|e2e|faults|media|browser|oom]... [-k WORD]

BUILD names the folder of the binaries (build/gcc). Everything runs on loopback; end-to-end tests
run in a network namespace of their own. Those named *_root_test.py need privileges that a user
namespace does not give (bpf()): they run when root runs this, and are skipped otherwise. SPDX-License-Identifier: BSD-3-Clause
"""
import concurrent.futures
import glob
import os
import re
import shlex
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build/gcc")
TTY = sys.stdout.isatty()
# The first fill all cores. Then one file after the other that measures media or starts browsers, and
# beside it, with what the machine has left, those that wait for timers and sockets most of their time.
PARTS = ["unit", "fuzz", "sim", "web"]
ALONE = ["media", "browser"]
BESIDE = ["relay", "e2e", "faults"]
BESIDE_NICE = 10
# How names of tests/e2e begin; uclient counts packets of bursts that it sends and breaks off by the clock.
MEDIA = ("impair_", "quality_", "sfu_", "emodel_", "turn_uclient")
MEDIA_FAULTS = ("turn_", "sfu_", "nat_")  # the same of tests/faults
LIMIT_S = {"unit": 300, "fuzz": 300, "sim": 900, "web": 300, "relay": 900, "e2e": 900, "faults": 300, "media": 900, "browser": 900,
           "oom": 900}
SEEDS = os.environ.get("SEEDS", "10000")
# Public seeds that a fuzz target replays beside its own corpus where they are present.
STUN_SEEDS = ["fuzz-seeds/webrtc/stun-corpus", "fuzz-seeds/coturn/FuzzStun", "fuzz-seeds/coturn/FuzzStunClient"]
SDP_SEEDS = ["fuzz-seeds/webrtc/sdp-corpus", "fuzz-seeds/janus/sdp_fuzzer"]
RTP_SEEDS = ["fuzz-seeds/webrtc/rtp-corpus", "fuzz-seeds/janus/rtp_fuzzer"]
RTCP_SEEDS = ["fuzz-seeds/webrtc/rtcp-corpus", "fuzz-seeds/janus/rtcp_fuzzer"]
PUBLIC_SEEDS = {"rtp": RTP_SEEDS, "rtcp": RTCP_SEEDS, "video_desc": RTP_SEEDS,
                "stun": STUN_SEEDS, "turn": STUN_SEEDS, "chandata": STUN_SEEDS, "json": ["json-parsing"],
                "sig": ["json-parsing"], "call": ["json-parsing"], "jwt": ["wycheproof"],
                "sdp": SDP_SEEDS, "negotiate": SDP_SEEDS}


ROOT_CAPS = 12, 21, 39  # CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF


class Totals:
    passed = failed = skipped = 0


def env():
    e = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", SORI_BUILD=os.path.join(ROOT, BUILD),
             SORI_ROOT=ROOT, PYTHONDONTWRITEBYTECODE="1",
             PYTHONPATH=os.path.join(ROOT, "tests", "lib"))
    e.setdefault("SORI_VECTORS", os.path.join(os.path.dirname(ROOT), "shared", "vectors"))
    e.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99")
    e.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    e.setdefault("TSAN_OPTIONS", "exitcode=99")
    return e


def run(cmd, limit):
    start = time.monotonic()
    if threading.current_thread().name.startswith("beside"):
        cmd = ["nice", "-n", str(BESIDE_NICE), *cmd]
    try:
        p = subprocess.run(cmd, cwd=ROOT, env=env(), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
        code, out = p.returncode, p.stdout.decode("utf-8", "replace")
    except OSError as missing:
        code, out = -1, f"cannot run {cmd[0]}: {missing.strerror}\n"
    except subprocess.TimeoutExpired as late:
        code, out = -1, (late.stdout or b"").decode("utf-8", "replace") + f"\nstopped after {limit} s\n"
    return code, out, time.monotonic() - start


def report(name, passed, failed, skipped, secs, out):
    Totals.passed += passed
    Totals.failed += failed
    Totals.skipped += skipped
    mark = "FAIL" if failed else "ok"
    skip = f", {skipped} skipped" if skipped else ""
    print(f"{mark:4} {name:44} {passed:4} passed{skip}{f', {failed} failed' if failed else ''}"
          f"  {secs:.1f} s", flush=True)
    if failed:
        print("     | " + out.rstrip().replace("\n", "\n     | "), flush=True)


def tap(name, cmd, limit):
    """A program that prints TAP (cmocka, node --test)."""
    code, out, secs = run(cmd, limit)
    # cmocka writes "not ok 3 # SKIP name" for a skipped test, others "ok 3 name # SKIP".
    skipped = len(re.findall(r"^(?:not )?ok \d+.*# SKIP", out, re.M))
    passed = len(re.findall(r"^ok \d+(?!.*# SKIP)", out, re.M))
    failed = len(re.findall(r"^not ok \d+(?!.*# SKIP)", out, re.M))
    if "# tests " in out:  # node's own totals (nested tests counted once)
        n = {k: int(v) for k, v in re.findall(r"^# (pass|fail|skipped|cancelled) (\d+)", out, re.M)}
        passed, skipped = n.get("pass", 0), n.get("skipped", 0)
        failed = n.get("fail", 0) + n.get("cancelled", 0)
    if code != 0 and failed == 0:
        failed = 1
    if passed + failed + skipped == 0 and code == 0:
        failed, out = 1, out + "\nno test ran"
    return name, passed, failed, skipped, secs, out


def single(name, cmd, limit):
    code, out, secs = run(cmd, limit)
    return name, int(code == 0), int(code != 0), 0, secs, out


def pytest(name, path, limit):
    inner = ["/usr/bin/python3", "-m", "pytest", "-q", "-x" if os.environ.get("FAILFAST") else "--color=no",
             "-p", "no:cacheprovider", path]
    as_root = path.endswith("_root_test.py")
    if as_root and not is_real_root():
        return f"{name} (needs real root)", 0, 0, 1, 0.0, ""
    code, out, secs = run(namespace(inner, as_root), limit)
    n = {k: int(v) for v, k in re.findall(r"(\d+) (passed|failed|skipped|error)", out)}
    failed = n.get("failed", 0) + n.get("error", 0)
    if code not in (0, 5) and failed == 0:
        failed = 1
    return name, n.get("passed", 0), failed, n.get("skipped", 0), secs, out


def is_real_root():
    """May load programs into the kernel and make network namespaces: no container's or user
    namespace's root."""
    with open("/proc/self/status", encoding="ascii") as f:
        caps = int(re.search(r"^CapEff:\s*(\w+)", f.read(), re.M).group(1), 16)
    with open("/proc/self/uid_map", encoding="ascii") as f:
        whole = f.read().split() == ["0", "0", "4294967295"]
    return whole and all(caps >> cap & 1 for cap in ROOT_CAPS)


def namespace(cmd, as_root):
    """The command in a network namespace with only a loopback interface, and in a user namespace
    unless it runs as_root."""
    if os.environ.get("SORI_NO_NETNS") and not as_root:
        return cmd
    # Clients' own ports stay out of the relay's, as deploy/sysctl advises: a port that a token holds is not bound.
    begin = "ip link set lo up && echo 32768 49151 > /proc/sys/net/ipv4/ip_local_port_range && exec "
    return ["unshare", "-n" if as_root else "-rn", "sh", "-c", begin + shlex.join(cmd)]


def jobs(part, word):
    def found(pattern):
        return [f for f in sorted(glob.glob(os.path.join(ROOT, pattern), recursive=True))
                if word in f and "node_modules" not in f]

    def rel(f):
        return os.path.relpath(f, ROOT)

    limit = LIMIT_S[part]
    if part in ("unit", "oom"):
        for f in found("tests/unit/*/*_test.c"):
            if part == "oom" and "test_oom" not in open(f, encoding="utf-8").read():
                continue
            binary = os.path.join(BUILD, rel(f)[:-2])
            yield lambda n=rel(f)[6:-7], b=binary: tap(n, [b], limit)
    elif part == "fuzz":
        for f in found("tests/fuzz/fuzz_*.c"):
            name = os.path.basename(f)[5:-2]
            dirs = [f"tests/fuzz/corpus/{name}"] + [os.path.join(env()["SORI_VECTORS"], d)
                                                    for d in PUBLIC_SEEDS.get(name, [])]
            dirs = [d for d in dirs if os.path.isdir(os.path.join(ROOT, d))]
            yield lambda n=name, b=os.path.join(BUILD, rel(f)[:-2]), d=dirs: single(f"fuzz/{n}", [b] + d, limit)
    elif part == "sim":
        for f in found("tests/sim/*_sim.c"):
            yield lambda n=rel(f)[6:-2], b=os.path.join(BUILD, rel(f)[:-2]): \
                single(f"{n} ({SEEDS} seeds)", [b, "--seeds", SEEDS], limit)
    elif part == "web":
        for f in found("tests/unit/web/*.test.mjs"):
            yield lambda f=f: tap(rel(f)[6:], ["node", "--test", "--test-reporter=tap", rel(f)], limit)
    elif part in ("relay", "e2e", "media"):
        for f in found("tests/e2e/*_test.py"):
            name = os.path.basename(f)
            if part != ("media" if name.startswith(MEDIA) else "relay" if name.startswith("turn_") else "e2e"):
                continue
            yield lambda f=f: pytest(rel(f)[6:-3], rel(f), limit)
    if part in ("faults", "media"):  # in their short form; the long one is tests/faults/faults.py
        for f in found("tests/faults/*_test.py"):
            if (part == "media") == os.path.basename(f).startswith(MEDIA_FAULTS):
                yield lambda f=f: pytest(rel(f)[6:-3], rel(f), limit)
    elif part == "browser":
        for f in found("tests/e2e/*_web_test.mjs"):
            yield lambda f=f: tap(rel(f)[6:], ["node", "tests/e2e/run_browser.mjs", rel(f)], limit)


def run_all(pools):
    """Runs what the pools were given, and reports each job when it is done."""
    for done in concurrent.futures.as_completed([pool.submit(j) for pool, work in pools for j in work]):
        report(*done.result())


def pool_of(width, name=""):
    return concurrent.futures.ThreadPoolExecutor(width, name)


def main():
    args = sys.argv[1:]
    word = args[args.index("-k") + 1] if "-k" in args else ""
    parts = [a for a in args if a in PARTS + ALONE + BESIDE + ["oom"]] or PARTS + ALONE + BESIDE
    cores = max(2, os.cpu_count() or 1)
    with pool_of(cores) as pool:
        for part in parts:
            if part not in ALONE + BESIDE:
                run_all([(pool, jobs(part, word))])
    alone, beside = [[j for part in parts if part in group for j in jobs(part, word)] for group in (ALONE, BESIDE)]
    with pool_of(1) as one, pool_of(1 if alone else cores, "beside" if alone else "") as rest:
        run_all([(one, alone), (rest, beside)])
    tail = f", {Totals.skipped} skipped" if Totals.skipped else ""
    print(f"{Totals.passed} passed, {Totals.failed} failed{tail}")
    sys.exit(1 if Totals.failed or Totals.passed == 0 else 0)


if __name__ == "__main__":
    main()

"""What bench/signal.py, cluster.py and push_calls.py share: processes on cores of their own, what they use, the load
generators, how figures are printed. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import ctypes
import http.client
import json
import os
import platform
import select
import ssl
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build/gcc"))
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = CORES[0], CORES[-1]
HOST = "127.0.0.1"
READY_S, STOP_S = 15, 5

# What both servers under test are given: their limits in force, but out of the way.
SERVER_INI = """[server]
listen_tls = {host}:{port}
origins =
[tls]
cert_file = {dir}/cert.pem
key_file = {dir}/key.pem
[auth]
hs256_secret_file = {dir}/secret
[limits]
handshakes_per_s = 100000
handshakes_burst = 100000
messages_per_s = 100000
messages_burst = 100000
candidates_per_10s = 100000
invites_per_10s = 100000
invites_per_hour = 1000000
invites_per_pair_per_min = 100000
[log]
level = warn
"""


class BenchError(Exception):
    pass


def cpu_us(pid):
    """CPU time of all threads of a process, microseconds."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total / 1000


def waited_us(pid):
    """Time that the main thread of a process was ready to run while another had its core."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[1]) / 1000


def busy_s(cores):
    """Time that these cores have worked for whoever (or were taken from the machine), so far."""
    with open("/proc/stat", encoding="ascii") as f:
        lines = [line.split() for line in f]
    return sum(sum(map(int, t[1:9])) - int(t[4]) - int(t[5]) for t in lines
               if t[0] in {f"cpu{c}" for c in cores}) / os.sysconf("SC_CLK_TCK")


def pinned(core):
    """For a child: runs on this core, and does not outlive us whatever happens."""
    prctl, pr_set_pdeathsig, sigkill = ctypes.CDLL(None).prctl, 1, 9

    def prepare():
        prctl(pr_set_pdeathsig, sigkill)
        os.sched_setaffinity(0, {core})
    return prepare


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """One server process on its core, ready when it answers GET /readyz over TLS."""

    def __init__(self, kind, command, addr):
        self.kind, self.addr = kind, addr
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        preexec_fn=pinned(SERVER_CORE))
        try:
            self.cipher = self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        context = ssl._create_unverified_context()
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise BenchError(f"{self.kind} ended with {self.process.returncode}")
            try:
                c = http.client.HTTPSConnection(self.addr, timeout=1, context=context)
                c.request("GET", "/readyz")
                cipher = c.sock.cipher()[0]
                status = c.getresponse().status
                c.close()
                if status == 200:
                    return cipher
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise BenchError(f"{self.kind} is not ready after {READY_S} s")

    def stop(self):
        stop(self.process)


class Load:
    """One load generator; ask() has it run something and gives its result."""

    def __init__(self, name, *args):
        self.process = subprocess.Popen([f"{BUILD}/bench/load/{name}", *map(str, args)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=pinned(LOAD_CORE))
        try:
            if self.line(120) != "ready":
                raise BenchError(f"{name} is not ready")
        except BaseException:
            self.stop()
            raise

    def line(self, seconds):
        # One line an answer: nothing can be left in the text buffer when select() is asked.
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise BenchError("the load generator does not answer")
        text = self.process.stdout.readline()
        if not text:
            raise BenchError(f"the load generator ended with {self.process.wait(STOP_S)}")
        return text.strip()

    def ask(self, command, seconds=120):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return json.loads(self.line(seconds))

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        stop(self.process)


@contextlib.contextmanager
def running(cls, *args):
    thing = cls(*args)
    try:
        yield thing
    finally:
        thing.stop()


def heading(text):
    print(f"\n== {text}", flush=True)


def show(kind, number, text):
    print(f"  {kind:12} {number:10.2f} {text}", flush=True)


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def output(*command):
    try:
        p = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "?"
    return p.stdout.strip()


def print_machine(servers):
    """servers: what runs on the core of the servers."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = next((l.split(":", 1)[1].strip() for l in f if l.startswith("model name")), "?")
    dirty = " with local changes" if output("git", "status", "--porcelain") else ""
    print(f"machine   {model}, {os.cpu_count()} cores, kernel {platform.release()}")
    print(f"load      {os.getloadavg()[0]:.2f} before the start; {servers} on core {SERVER_CORE}, "
          f"load generator on core {LOAD_CORE}")
    if SERVER_CORE == LOAD_CORE:
        print("          only one core: server and load generator share it, times are too long")
    print(f"commit    {output('git', 'rev-parse', '--short=12', 'HEAD')}{dirty}")
    print(f"sori      {output(f'{BUILD}/sori-server', '--version')}, "
          f"{output('openssl', 'version').split(' (')[0]}")


def write(path, text):
    """A file that only we can read."""
    with open(path, "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(text)


def make_secrets(directory):
    """cert.pem, key.pem, and secret for tokens."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{directory}/key.pem", "-out",
                    f"{directory}/cert.pem", "-days", "2", "-subj", "/CN=localhost"],
                   check=True, capture_output=True, timeout=30)
    os.chmod(f"{directory}/key.pem", 0o600)
    write(f"{directory}/secret", os.urandom(32).hex() + "\n")


def enter_namespace(script):
    """Begins the script anew in a network namespace of its own, on the load generator's core."""
    if os.environ.get("SORI_BENCH_NETNS") != "1":
        os.environ["SORI_BENCH_NETNS"] = "1"
        os.execvp("unshare", ["unshare", "-rn", sys.executable, os.path.abspath(script), *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    os.sched_setaffinity(0, {LOAD_CORE})


def verdict(goals, name, value):
    goal, direction, unit = goals[name]
    if value is None:
        return f"  {name}: not measured, see above"
    reached = value * direction >= goal * direction
    relation = "at least" if direction > 0 else "at most"
    return (f"  {name}: {value} {unit}; goal {relation} {goal}: "
            f"{'reached' if reached else 'NOT REACHED'}")


def print_goals(goals, figures, none="failed"):
    """goals: figure -> (goal, at least (1) or at most (-1), unit)."""
    heading("goals")
    for name in goals:
        print(verdict(goals, name, figures.get(name)))
    print()
    for name in goals:
        print(f"FIGURE {name}={figures.get(name, none)}")

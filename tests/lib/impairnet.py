"""A bad network for tests and benches: clients in network namespaces of their own, each behind links
that the impairer (tests/lib/impair) spoils. No netem, no root: all inside `unshare -rn`.

    with Net() as net:                          # the servers' side is the namespace we are in
        phone = net.client("both delay 40ms loss 5%", seed=7)
        phone.popen(["node", "client.mjs", net.address])
        phone.path.set("down rate 500kbit queue 200ms")
        lte = phone.add_path("both delay 60ms")
        phone.switch(lte)                       # from now on its address is another one
        phone.path.stats()["down"]["lost"]

Servers listen on net.address (10.77.0.1, IPv6 fd77::1): an address of a device that is not lo, since
libwebrtc and libnice leave lo out. Clients reach it through their current path; a path is one
impairer between a TUN device in the client's namespace and one in ours. SORI_BUILD names the folder
of the binaries (build/gcc). SPDX-License-Identifier: BSD-3-Clause
"""
import ctypes
import json
import os
import queue
import signal
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SORI_BUILD", "build/gcc"))
IMPAIR = os.path.join(BUILD, "tests/lib/impair/impair")
DEVICE_NAMES = "wlan0", "rmnet0", "eth1", "eth2"  # libwebrtc judges a device by its name
ANSWER_S, READY_S = 10, 10
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """For Popen(preexec_fn=): nothing outlives the test."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ip(*words, pid=None):
    """One `ip` command, in the namespace of a process or ours."""
    inside = ["nsenter", "-n", "-t", str(pid)] if pid else []
    p = subprocess.run([*inside, "ip", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if p.returncode:
        raise RuntimeError(f"ip {' '.join(map(str, words))}: {p.stdout.decode().strip()}")


def sysctl(name, value, pid=None):
    """Sets a value below /proc/sys/net of a namespace; those that are not there are left out."""
    inside = ["nsenter", "-n", "-t", str(pid)] if pid else []
    subprocess.run([*inside, "sh", "-c", f"echo {value} > /proc/sys/net/{name}"], check=False,
                   stderr=subprocess.DEVNULL)


def new_namespace():
    """A process that holds a new network namespace with lo up; give its pid to nsenter -n -t."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], preexec_fn=die_with_parent)
    deadline, own = time.monotonic() + READY_S, os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
        if time.monotonic() > deadline or holder.poll() is not None:
            raise RuntimeError("no network namespace")
        time.sleep(0.005)
    ip("link", "set", "lo", "up", pid=holder.pid)
    return holder


def stop(process, timeout_s=5):
    """Ends a process: asks, then insists."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Path:
    """One impaired link of a client. `up` is from the client to the servers."""

    def __init__(self, client, device, number, script, seed):
        self.client, self.device = client, device
        self.server_device = f"imp{number}"
        self.address, self.gateway = f"10.77.{number}.2", f"10.77.{number}.1"
        self.address6, self.gateway6 = f"fd77:{number:x}::2", f"fd77:{number:x}::1"
        self.answers = queue.Queue()
        self.process = subprocess.Popen(
            [IMPAIR, f"/proc/{client.pid}/ns/net", device, self.server_device, str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self.started = time.monotonic()  # what `at` counts from, to a few ms
        threading.Thread(target=self._read, daemon=True).start()
        self._answer("ready")
        for dev, address, address6, pid in (
                (device, self.address, self.address6, client.pid),
                (self.server_device, self.gateway, self.gateway6, None)):
            # No router solicitations, no duplicate address detection: only what a test sends.
            for name in ("accept_ra", "autoconf", "accept_dad", "router_solicitations"):
                sysctl(f"ipv6/conf/{dev}/{name}", 0, pid)
            sysctl(f"ipv4/conf/{dev}/rp_filter", 0, pid)
            ip("link", "set", dev, "addrgenmode", "none", pid=pid)
            ip("link", "set", dev, "txqueuelen", 5000, "up", pid=pid)
            peer = self.gateway if pid else self.address
            peer6 = self.gateway6 if pid else self.address6
            ip("addr", "add", address, "peer", peer, "dev", dev, pid=pid)
            ip("-6", "addr", "add", address6, "peer", peer6, "dev", dev, pid=pid)
        for line in script.strip().splitlines():
            self.set(line)

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put({"event": "end"})

    def _answer(self, *events):
        deadline = time.monotonic() + ANSWER_S
        while True:
            got = self.answers.get(timeout=max(0.01, deadline - time.monotonic()))
            if got["event"] in ("error", "end"):
                raise RuntimeError(f"impairer: {got.get('why', 'it ended')}")
            if got["event"] in events:
                return got

    def _write(self, line):
        self.process.stdin.write(line.strip().encode() + b"\n")
        self.process.stdin.flush()

    def set(self, line):
        """One command (impair_script.h); returns when it is in force. With `at` it is only noted."""
        line = line.strip()
        if not line or line.startswith("#"):
            return
        self._write(line)
        if not line.startswith("at "):
            self._answer("done")

    def at(self, seconds_from_now, line):
        """The same, later, to a few milliseconds."""
        self.set(f"at {time.monotonic() - self.started + seconds_from_now:.3f}s {line}")

    def reset(self):
        self.set("reset")

    def stats(self):
        """Counters since the start or the last reset: {"up": {...}, "down": {...}}."""
        self._write("stats")
        return self._answer("stats")

    def series(self):
        """{"up": rows, "down": rows}: [start_us, bytes in, bytes out, drops, longest wait_us], one row
        each bucket_us, from the start on."""
        self._write("series")
        return self._answer("series")

    def route(self):
        """Makes this the client's way to everybody."""
        ip("route", "replace", "default", "via", self.gateway, "dev", self.device, pid=self.client.pid)
        ip("-6", "route", "replace", "default", "via", self.gateway6, "dev", self.device,
           pid=self.client.pid)

    def down(self):
        """Takes the device away from the client, as a phone does that loses its Wi-Fi."""
        ip("link", "set", self.device, "down", pid=self.client.pid)

    def stop(self):
        self.process.stdin.close()
        stop(self.process)


class Client:
    """A namespace for clients, with one or several paths; `path` is the one in use."""

    def __init__(self, net):
        self.net, self.paths, self.processes = net, [], []
        self.holder = new_namespace()
        self.path = None

    @property
    def pid(self):
        return self.holder.pid

    def add_path(self, script="", seed=1, device=None):
        path = Path(self, device or DEVICE_NAMES[len(self.paths)], self.net.next_number(), script, seed)
        self.paths.append(path)
        if self.path is None:
            self.use(path)
        return path

    def use(self, path):
        path.route()
        self.path = path

    def switch(self, path):
        """Wi-Fi to LTE: the old device goes down, the route is another one."""
        old = self.path
        self.use(path)
        old.down()

    def command(self, argv):
        """argv as it runs in this namespace."""
        return ["nsenter", "-n", "-t", str(self.pid), *map(str, argv)]

    def popen(self, argv, **options):
        """Starts a program here; it is ended with the client."""
        p = subprocess.Popen(self.command(argv), preexec_fn=die_with_parent, **options)
        self.processes.append(p)
        return p

    def run(self, argv, **options):
        return subprocess.run(self.command(argv), preexec_fn=die_with_parent, **options)

    def stop(self):
        for p in self.processes:
            stop(p)
        for path in self.paths:
            path.stop()
        stop(self.holder)


class Net:
    """The servers' side: the namespace that the test runs in, with an address for them."""

    address, address6 = "10.77.0.1", "fd77::1"

    def __init__(self):
        self.clients, self.number = [], 0
        ip("link", "add", "srv0", "type", "veth", "peer", "name", "srv1")  # dummy is not in every kernel
        ip("link", "set", "srv1", "up")
        ip("link", "set", "srv0", "up")
        ip("addr", "add", self.address + "/32", "dev", "srv0")
        ip("-6", "addr", "add", self.address6 + "/128", "dev", "srv0", "nodad")

    def next_number(self):
        self.number += 1
        return self.number

    def client(self, script="", seed=1):
        """A new client with one path."""
        c = Client(self)
        self.clients.append(c)
        c.add_path(script, seed)
        return c

    def close(self):
        for c in self.clients:
            c.stop()
        self.clients = []
        ip("link", "del", "srv0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def dry(script, *, seed=1, packets=1000, interval_us=20000, size=200):
    """What would become of packets that go up: (their delays in µs, None for lost ones; counters)."""
    out = subprocess.run([IMPAIR, "--dry", str(seed), str(packets), str(interval_us), str(size)],
                         input=script.encode() + b"\n", stdout=subprocess.PIPE, check=True).stdout
    lines = [json.loads(line) for line in out.splitlines()]
    wrong = [line["why"] for line in lines if line["event"] == "error"]
    if wrong:
        raise ValueError(wrong[0])
    stats = next(line for line in lines if line["event"] == "stats")["up"]
    delays = next(line for line in lines if line["event"] == "delays")["delay_us"]
    return [None if d == -1 else d for d in delays], stats

#!/usr/bin/python3
"""make bench-turn: what relayed packets and requests cost sori-turn, and Debian's coturn beside it.

    bench/turn.py [--quick] [audio100 audio500 audio2000 burst8 burst16 tcp tls requests offload: only these]

The servers run in one network namespace of their own, with one relay thread each, pinned to one
core, and take the same load from bench/load/turn_* on another core, in turn; so do the bare
forwarders of bench/load/turn_bare.c. Figures are CPU of the server process; ratios are medians over
the rounds. BUILD names the folder of the binaries (build/gcc); SORI_TURN_OTHER another sori-turn to
run in the same rounds, BENCH_SECONDS the length of a round (6). bench/README.md has the rest. SPDX-License-Identifier: BSD-3-Clause
"""
import sys
del sys.path[0]  # this folder: our own name is that of others' modules
import os
import platform
import re
import resource
import shlex
import statistics
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build/gcc"))
QUICK = "--quick" in sys.argv[1:]
ONLY = [a for a in sys.argv[1:] if not a.startswith("-")]
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = CORES[0], CORES[-1]
ROUNDS, SECONDS = (1, 2) if QUICK else (5, int(os.environ.get("BENCH_SECONDS", "6")))
REQUEST_ROUNDS, IDLE_ALLOCATIONS, IDLE_S = (1, 500, 2) if QUICK else (3, 10000, 10)
USER, PASSWORD, REALM = "bench", "bench", "bench"
SORI_TC = "sori tc"
SORI, SORI_EPOLL, OTHER, COTURN = "sori-turn", "sori epoll", "other", "coturn"
BARE, BARE_URING, BARE_GRO = "bare mmsg", "bare uring", "bare gro"
PORTS = {SORI: 13478, SORI_TC: 13478, SORI_EPOLL: 13478, OTHER: 13478, COTURN: 13480, BARE: 13479, BARE_URING: 13479,
         BARE_GRO: 13479}
AUDIO = SORI, SORI_EPOLL, COTURN, BARE, BARE_URING
RELAY_PORTS = 14000, 32767  # below those that the kernel gives to clients and peers
TLS_OFFSET = 100
READY_S, STOP_S = 10, 5


def certificate(folder):
    """A key and a certificate that nobody trusts, for the TLS rounds."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", f"{folder}/key.pem",
         "-out", f"{folder}/cert.pem"], check=True, stderr=subprocess.DEVNULL)


def sori_command(folder, io="auto", binary=None, offload="off"):
    certificate(folder)
    for name, text in (("users", f"{USER}:{PASSWORD}\n"), ("turn.ini", f"""[turn]
listen_udp = 127.0.0.1:{PORTS[SORI]}
listen_tcp = 127.0.0.1:{PORTS[SORI]}
listen_tls = 127.0.0.1:{PORTS[SORI] + TLS_OFFSET}
realm = {REALM}
min_port = {RELAY_PORTS[0]}
max_port = {RELAY_PORTS[1]}
threads = 1
drain_timeout = 0
io = {io}
{f"offload = {offload}" if offload != "off" else ""}
[tls]
cert_file = {folder}/cert.pem
key_file = {folder}/key.pem
[auth]
users_file = {folder}/users
[limits]
allocations_per_user = 0
unauthenticated_per_second = 0
connects_per_second = 0
new_peers_per_second = 0
[peers]
allow_loopback_peers = yes
[log]
level = warn
""")):
        with open(os.path.join(folder, name), "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
    return [binary or os.path.join(BUILD, "sori-turn"), "--config", os.path.join(folder, "turn.ini")]


def coturn_command(folder):
    certificate(folder)
    return ["turnserver", "-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", str(PORTS[COTURN]),
            "--tls-listening-port", str(PORTS[COTURN] + TLS_OFFSET), "--cert",
            f"{folder}/cert.pem", "--pkey", f"{folder}/key.pem", "--no-dtls", "--no-tcp-relay",
            "--no-cli",
            "--no-software-attribute", "--no-rfc5780", "--no-stun-backward-compatibility",
            "--no-multicast-peers", "--allow-loopback-peers", "--min-port",
            str(RELAY_PORTS[0]), "--max-port", str(RELAY_PORTS[1]), "-m", "1", "-a",
            "-u", f"{USER}:{PASSWORD}", "-r", REALM,
            f"--log-file={folder}/coturn.log", f"--pidfile={folder}/coturn.pid"]


def bare_command(program, *mode):
    return [os.path.join(BUILD, "bench/load", program), f"127.0.0.1:{PORTS[BARE]}", *mode]


COMMANDS = {
    SORI: sori_command,
    COTURN: coturn_command,
    SORI_EPOLL: lambda folder: sori_command(folder, "epoll"),
    SORI_TC: lambda folder: sori_command(folder, offload="tc"),
    BARE: lambda folder: bare_command("turn_bare", "mmsg"),
    BARE_GRO: lambda folder: bare_command("turn_bare", "gro"),
    BARE_URING: lambda folder: bare_command("turn_bare_uring"),
    OTHER: lambda folder: sori_command(folder, binary=os.environ["SORI_TURN_OTHER"]),
}


class Server:
    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_listening()

    def wait_listening(self):
        want = f"{PORTS[self.name]:04X}"
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with open("/proc/net/udp", encoding="ascii") as f:
                if any(line.split()[1].endswith(":" + want) for line in f.readlines()[1:]):
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{self.name} did not start")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # coturn does not always leave on SIGTERM
            self.process.wait()


def generator(name, server, *args, port_offset=0):
    """One run of a load generator; gives a dict of its numbers."""
    out = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), os.path.join(BUILD, "bench/load", name),
         f"127.0.0.1:{PORTS[server.name] + port_offset}", USER, PASSWORD, str(server.process.pid),
         *map(str, args)],
        check=True, stdout=subprocess.PIPE, timeout=180).stdout.decode()
    return {k: int(v) for k, v in re.findall(r"(\w+)=(-?\d+)", out)}


def fresh(name, measure):
    """Measures a freshly started server: allocations of an earlier run are gone."""
    with tempfile.TemporaryDirectory(prefix="bench-turn-") as folder:
        server = Server(name, COMMANDS[name](folder))
        try:
            return measure(server)
        finally:
            server.stop()


class Load:
    """Relayed packets: flows, packets a second, bytes, packets a burst; who takes it, and how."""

    def __init__(self, name, flows, pps, size, burst, servers, transport="udp"):
        self.name, self.servers, self.rounds = name, list(servers), []
        self.args = flows, pps, SECONDS, size, burst, transport
        if "SORI_TURN_OTHER" in os.environ:
            self.servers.append(OTHER)

    def run(self):
        flows, pps, _, size, burst, transport = self.args
        print(f"{self.name}: {flows} flows over {transport}, {pps} packets/s of {size} B in bursts "
              f"of {burst}, {SECONDS} s a round", flush=True)
        offset = TLS_OFFSET if transport == "tls" else 0
        for i in range(ROUNDS):
            r = {}
            for server in self.servers:
                n = fresh(server, lambda s: generator(
                    "turn_load", s, *self.args, port_offset=offset))
                n["us"] = n["server_ns"] / 1000 / max(n["received"], 1)
                n["core"] = n["server_ns"] / 1000 / n["took_us"]
                r[server] = n
                late = f", generator late {n['late']} times" if n["late"] else ""
                print(f"  round {i + 1}: {server:10} {n['us']:6.2f} us CPU a packet, "
                      f"{100 * n['core']:3.0f} % of its core, lost {n['lost']} of {n['sent']}{late}",
                      flush=True)
            self.rounds.append(r)
        for server in self.servers:
            values = sorted(r[server]["us"] for r in self.rounds)
            print(f"  {server:10} median {statistics.median(values):.2f} us (min {values[0]:.2f}, "
                  f"max {values[-1]:.2f}), lost {100 * self.loss(server):.2f} %")

    def loss(self, server):
        return (sum(r[server]["lost"] for r in self.rounds) /
                sum(r[server]["sent"] for r in self.rounds))

    def median(self, server, key):
        return statistics.median(r[server][key] for r in self.rounds)

    def ratio(self, to, of=SORI):
        return statistics.median(r[of]["us"] / r[to]["us"] for r in self.rounds)


def requests():
    """What requests cost, both servers in turn; gives the medians."""
    rounds = {SORI: [], COTURN: []}
    print(f"requests: {IDLE_ALLOCATIONS} allocations, then idle for {IDLE_S} s", flush=True)
    for i in range(REQUEST_ROUNDS):
        for name, results in rounds.items():
            n = fresh(name, lambda s: generator("turn_requests", s, IDLE_ALLOCATIONS, IDLE_S))
            results.append(n)
            print(f"  round {i + 1}: {name:10} Binding {n['binding_ns'] / 1000:.1f} us, 401 "
                  f"{n['refused_ns'] / 1000:.1f} us, 401 and Allocate {n['allocate_ns'] / 1000:.1f} "
                  f"us, ChannelBind {n['bind_ns'] / 1000:.1f} us, {n['alloc_bytes']} B an "
                  f"allocation, idle {n['idle_ns'] / IDLE_S / 1e7:.2f} % of a core", flush=True)
    return {k: statistics.median(n[k] for n in rounds[SORI]) for k in rounds[SORI][0]}


def offload():
    """The kernel's relay against the sockets', and both against no relay at all. Softirq is billed to
    whoever sends: so CPU of the server, of it and the generator together, and of the whole machine
    (which is the truth only where nothing else runs)."""
    flows, pps, size = 500, 30000, 160
    print(f"offload: {flows} flows, {pps} packets/s of {size} B, {SECONDS} s a round", flush=True)
    ways = {"direct": (SORI, "direct"), SORI: (SORI, "udp"), SORI_TC: (SORI_TC, "udp")}
    rounds = []
    for i in range(ROUNDS):
        r = {}
        for way, (server, transport) in ways.items():
            n = fresh(server, lambda s: generator("turn_load", s, flows, pps, SECONDS, size, 1,
                                                  transport))
            r[way] = [ns / 1000 / max(n["received"], 1) for ns in (
                n["server_ns"], n["server_ns"] + n["own_ns"], n["machine_ns"])]
            print(f"  round {i + 1}: {way:10} {r[way][0]:6.2f} us CPU a packet in the server, "
                  f"{r[way][1]:6.2f} with the generator, {r[way][2]:6.2f} in the whole machine, "
                  f"lost {n['lost']} of {n['sent']}", flush=True)
        rounds.append(r)
    for way in ways:
        server, both, machine = ([r[way][k] for r in rounds] for k in range(3))
        more = statistics.median(r[way][1] - r["direct"][1] for r in rounds)
        print(f"  {way:10} median {statistics.median(server):.2f} us in the server, "
              f"{statistics.median(both):.2f} (min {min(both):.2f}) with the generator, {more:+.2f} "
              f"over direct; {statistics.median(machine):.2f} (min {min(machine):.2f}) in the whole "
              "machine")


def commit():
    p = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return p.stdout.decode().strip() or "no commit"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        found = re.search(r"model name\s*: (.*)", f.read())
    return found.group(1) if found else platform.machine()


def coturn_version():
    p = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "coturn"],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return p.stdout.decode() or "unknown"


def figures(loads, cost):
    """Every figure in its order: name, goal and value; None was not measured."""
    audio, audio2000, burst8, burst16, tcp, tls = (loads.get(k) for k in (
        "audio500", "audio2000", "burst8", "burst16", "tcp", "tls"))
    return (
        ("audio500_vs_coturn", 0.55, audio and audio.ratio(COTURN)),
        ("audio2000_vs_coturn", 0.55, audio2000 and audio2000.ratio(COTURN)),
        ("audio500_vs_bare", 1.10, audio and audio.ratio(BARE_URING)),
        ("audio500_epoll_vs_coturn", 0.72, audio and audio.ratio(COTURN, SORI_EPOLL)),
        ("burst8_vs_coturn", 0.27, burst8 and burst8.ratio(COTURN)),
        ("burst16_vs_coturn", 0.16, burst16 and burst16.ratio(COTURN)),
        ("burst16_vs_bare", 1.20, burst16 and burst16.ratio(BARE_GRO)),
        ("load300k_loss", 0.001, burst16 and burst16.loss(SORI)),
        ("load300k_core", 0.45, burst16 and burst16.median(SORI, "core")),
        ("allocate_cpu_us", 90, cost and cost["allocate_ns"] / 1000),
        ("alloc_user_bytes", 1500, cost and cost["alloc_bytes"]),
        ("binding_cpu_us", 8, cost and cost["binding_ns"] / 1000),
        ("unauthorized_cpu_us", 10, cost and cost["refused_ns"] / 1000),
        ("tcp_vs_coturn", 0.7, tcp and tcp.ratio(COTURN)),
        ("tls_vs_coturn", 0.7, tls and tls.ratio(COTURN)),
        ("idle10k_core", 0.005, cost and cost["idle_ns"] / IDLE_S / 1e9),
    )


def plot(loads):
    """CPU per packet over flows, for each server."""
    audio = sorted((l for l in loads if l.name.startswith("audio")), key=lambda l: l.args[0])
    try:
        import matplotlib  # Debian's python3-matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return
    if len(audio) < 2:
        return
    fig, axes = pyplot.subplots(figsize=(7, 4.5))
    for server in AUDIO:
        axes.plot([l.args[0] for l in audio], [l.median(server, "us") for l in audio], marker="o",
                  label="sori-turn (io_uring)" if server == SORI else server)
    axes.set(xscale="log", xlabel="flows, one packet of 160 B each per turn",
             ylabel="server CPU per packet, µs", ylim=(0, None))
    axes.legend()
    path = os.path.join(ROOT, "build", "bench-turn.png")
    fig.savefig(path, dpi=120, bbox_inches="tight")
    print(f"plot: {os.path.relpath(path, ROOT)}")


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{cpu_model()}, {len(CORES)} cores, Linux {platform.release()}; sori {commit()}, "
          f"coturn {coturn_version()}; server on core {SERVER_CORE}, load on core {LOAD_CORE}")
    loads = {}
    for load in (Load("audio500", 500, 30000, 160, 1, AUDIO),
                 Load("audio100", 100, 30000, 160, 1, AUDIO),
                 Load("audio2000", 2000, 40000, 160, 1, AUDIO),
                 Load("burst8", 500, 80000, 1200, 8, (SORI, SORI_EPOLL, COTURN, BARE_GRO)),
                 Load("burst16", 500, 300000, 1200, 16, (SORI, SORI_EPOLL, COTURN, BARE_GRO)),
                 Load("tcp", 200, 20000, 180, 1, (SORI, COTURN), "tcp"),
                 Load("tls", 200, 20000, 180, 1, (SORI, COTURN), "tls")):
        if not ONLY or load.name in ONLY:
            load.run()
            loads[load.name] = load
    cost = requests() if not ONLY or "requests" in ONLY else None
    plot(loads.values())
    found = list(figures(loads, cost))
    for name, goal, value in found:
        verdict = "not measured" if value is None else "reached" if value <= goal else "missed"
        print(f"goal {name} at most {goal}: {verdict}")
    for name, _, value in found:
        print(f"FIGURE {name}={'missing' if value is None else format(value, '.4g')}")



def in_namespace(flags, args, mark):
    """Runs this file again, where there is only loopback; gives the exit status."""
    inner = shlex.join([sys.executable, os.path.abspath(__file__), *args])
    return subprocess.run(["unshare", flags, "sh", "-c", f"ip link set lo up && exec {inner}"],
                          env=dict(os.environ, BENCH_TURN_NETNS=mark), check=False).returncode


if __name__ == "__main__":
    mode = os.environ.get("BENCH_TURN_NETNS")
    if mode == "root":
        offload()
    elif mode:
        main()
    else:
        code = 0
        if not ONLY or "offload" in ONLY:
            # bpf() is not for user namespaces: only root can measure it.
            if os.geteuid() != 0:
                print("offload: skipped, it needs root")
            elif in_namespace("-n", sys.argv[1:], "root"):
                print("offload: skipped, it does not run here")
        if ONLY != ["offload"]:
            code = in_namespace("-rn", sys.argv[1:], "user")
        sys.exit(code)

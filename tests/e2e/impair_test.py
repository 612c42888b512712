"""The impairer does what it is told: first without devices and a virtual clock, where numbers are
exact, then with UDP and TCP through its TUN devices. SPDX-License-Identifier: BSD-3-Clause"""
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import pytest

from impairnet import Net, dry

SINK = """
import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
target = (sys.argv[1], int(sys.argv[2])); count, gap, size = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
start = time.monotonic()
for i in range(count):
    s.sendto(i.to_bytes(4, "big") + int(time.monotonic() * 1e6).to_bytes(8, "big") + bytes(size - 12), target)
    wait = start + (i + 1) * gap - time.monotonic()
    if wait > 0: time.sleep(wait)
"""


class Probe:
    """Counts what arrives on a UDP port of the servers' side."""

    def __init__(self, address=Net.address):
        self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((address, 0))
        self.sock.settimeout(0.7)
        self.address, self.port = address, self.sock.getsockname()[1]
        self.got = []  # (number, delay in s, source address, time of arrival)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                data, source = self.sock.recvfrom(2048)
            except TimeoutError:
                if self.stopping:
                    return
                continue
            number, sent = struct.unpack_from("!IQ", data)
            now = time.monotonic()
            self.got.append((number, now - sent / 1e6, source[0], now))

    stopping = False

    def finish(self):
        self.stopping = True
        self.thread.join()
        self.sock.close()
        return self.got


def send(client, probe, count, gap, size=200):
    client.run([sys.executable, "-c", SINK, probe.address, str(probe.port), str(count), str(gap), str(size)],
               check=True, timeout=60)


def through(script, count, gap, size=200, seed=1):
    """Sends probes up through a path; gives what arrived and the counters."""
    with Net() as net:
        client = net.client(script, seed)
        probe = Probe()
        send(client, probe, count, gap, size)
        got = probe.finish()
        return got, client.path.stats()["up"]


# --- the virtual clock: exact

def runs(delays):
    """Lengths of the runs of lost packets."""
    out, n = [], 0
    for d in delays + [0]:
        if d is None:
            n += 1
        elif n:
            out.append(n)
            n = 0
    return out


def test_dry_perfect_link():
    delays, stats = dry("")
    assert delays == [0] * 1000 and stats["out_pkts"] == 1000


def test_dry_delay_is_exact():
    assert set(dry("up delay 40ms")[0]) == {40000}


def test_dry_same_seed_same_fate_other_seed_other():
    script = "up delay 20ms jitter 30ms reorder on loss 10% burst 3 dup 2% hold 3% 80ms"
    first, again, other = dry(script, seed=5), dry(script, seed=5), dry(script, seed=6)
    assert first == again
    assert first != other


@pytest.mark.parametrize("percent", [0.1, 1, 5, 20, 50])
def test_dry_independent_loss(percent):
    delays, stats = dry(f"up loss {percent}%", packets=200000, interval_us=1000)
    assert delays.count(None) == stats["lost"]
    share = stats["lost"] / 2000
    assert abs(share - percent) < 0.05 * percent + 0.03
    assert abs(statistics.mean(runs(delays)) - 1 / (1 - percent / 100)) < 0.05


@pytest.mark.parametrize("percent,burst", [(5, 3), (10, 3), (10, 8), (20, 2)])
def test_dry_bursty_loss(percent, burst):
    delays, stats = dry(f"up loss {percent}% burst {burst}", packets=300000, interval_us=1000)
    assert abs(stats["lost"] / 3000 - percent) < 0.1 * percent
    assert abs(statistics.mean(runs(delays)) - burst) < 0.1 * burst


def test_dry_whole_loss_and_none():
    assert set(dry("up loss 100%")[0]) == {None}
    assert None not in dry("up loss 0%")[0]


def test_dry_jitter_keeps_the_order_unless_told():
    delays, _ = dry("up delay 10ms jitter 50ms", interval_us=5000, packets=5000)
    arrivals = [i * 5000 + d for i, d in enumerate(delays)]
    assert arrivals == sorted(arrivals)
    assert min(delays) >= 10000 and max(delays) <= 60000
    delays, _ = dry("up delay 10ms jitter 50ms reorder on", interval_us=5000, packets=5000)
    arrivals = [i * 5000 + d for i, d in enumerate(delays)]
    assert arrivals != sorted(arrivals)
    assert abs(statistics.mean(delays) - 35000) < 1000
    assert min(delays) >= 10000 and max(delays) <= 60000


def test_dry_held_packets_come_behind_others():
    delays, stats = dry("up delay 10ms hold 10% 50ms", packets=20000)
    assert set(delays) == {10000, 60000}
    assert stats["held"] == delays.count(60000) and abs(stats["held"] / 200 - 10) < 1


def test_dry_doubles():
    delays, stats = dry("up dup 5%", packets=20000)
    assert abs(stats["dup"] / 200 - 5) < 0.5 and stats["out_pkts"] == 20000 + stats["dup"]


def test_dry_rate_and_queue_by_time():
    # 1000 B each 4 ms is 2 Mbit/s into 1 Mbit/s: half is dropped, the queue holds 100 ms.
    delays, stats = dry("up rate 1mbit queue 100ms", packets=5000, interval_us=4000, size=1000)
    assert abs(stats["queue_full"] / 5000 - 0.5) < 0.01
    waits = [d for d in delays if d is not None]
    assert 100000 < max(waits) <= 116000
    assert delays[0] == 8000  # its own time on the wire
    assert stats["queue_us_max"] == max(waits)


def test_dry_queue_by_bytes():
    delays, _ = dry("up rate 1mbit queue 10kb", packets=2000, interval_us=4000, size=1000)
    waits = [d for d in delays if d is not None]
    assert max(waits) == 80000  # ten packets of 8 ms


def test_dry_rate_changes_under_a_queue():
    # 100 packets of 1000 B at once at 1 Mbit/s; after 400 ms half of them are out, the rest goes at 2.
    delays, _ = dry("up rate 1mbit\nat 400ms up rate 2mbit", packets=100, interval_us=0, size=1000)
    assert delays[-1] == 800000  # interval 0: the clock stands, the step never comes
    delays, _ = dry("up rate 1mbit\nat 400ms up rate 2mbit", packets=1000, interval_us=4000, size=1000)
    # In: 2 Mbit/s. 400 ms: 100 in, 50 out; then as fast as they come, behind those 50.
    assert abs(delays[-1] - 50 * 4000) <= 8000


def test_dry_steps():
    delays, _ = dry("at 4s up delay 50ms\nat 8s up cut on\nat 12s up cut off delay 10ms", packets=1000)
    assert set(delays[:200]) == {0} and set(delays[200:400]) == {50000}
    assert set(delays[400:600]) == {None} and set(delays[600:]) == {10000}


def test_dry_block_by_protocol_and_port():
    assert set(dry("up block udp")[0]) == {None}
    assert set(dry("up block tcp")[0]) == {0}
    assert set(dry("up block udp\nup block none")[0]) == {0}


@pytest.mark.parametrize("line", [
    "sideways delay 1ms", "up delay", "up delay 5", "up delay -1ms", "up loss 5", "up loss 101%", "up burst 0.5",
    "up rate 0kbit", "up rate 5", "up queue 5", "up block icmp", "up block udp:0", "up block udp:70000",
    "up reorder maybe", "up hold 5%", "at soon up delay 1ms", "at 5s", "up nothing 1", "up delay 1ms " + "x" * 300,
    "up delay nanms", "up loss inf%"])
def test_wrong_lines_are_refused(line):
    with pytest.raises(ValueError):
        dry(line)


def test_right_lines():
    dry("# a comment\n\nboth delay 1.5s jitter 200us loss 0.5% burst 2.5\nup rate none queue 64kb queue 1s\n"
        "up block udp:3478 block tcp:443\nup clear delay 3ms")


# --- through the devices

def echo(sock):
    while True:
        data, source = sock.recvfrom(2048)
        if not data:
            return
        sock.sendto(data, source)


ASK = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(10):
    start = time.monotonic()
    s.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
    s.recv(10)
    print((time.monotonic() - start) * 1000)
s.sendto(b"", (sys.argv[1], int(sys.argv[2])))
"""


def test_delay_there_and_back():
    with Net() as net, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        client = net.client("up delay 30ms\ndown delay 50ms")
        server.bind((net.address, 0))
        echoes = threading.Thread(target=echo, args=[server], daemon=True)
        echoes.start()
        out = client.run([sys.executable, "-c", ASK, net.address, str(server.getsockname()[1])], check=True,
                         stdout=subprocess.PIPE, timeout=20).stdout.decode()
        echoes.join(10)
        rtt = [float(v) for v in out.split()]
        assert len(rtt) == 10 and 79.9 <= min(rtt) < 83 and statistics.median(rtt) < 86


def test_delay_and_jitter_of_probes():
    got, stats = through("up delay 40ms jitter 40ms reorder on", 400, 0.002)
    delays = [d for _, d, _, _ in got]
    assert len(got) == 400 == stats["out_pkts"]
    assert min(delays) > 0.0399 and 0.055 < statistics.mean(delays) < 0.07
    assert sorted(delays)[396] < 0.1
    numbers = [n for n, _, _, _ in got]
    assert numbers != sorted(numbers)


def test_jitter_without_reordering():
    got, _ = through("up delay 10ms jitter 60ms", 400, 0.002)
    assert [n for n, _, _, _ in got] == list(range(400))


def test_same_seed_loses_the_same_probes():
    script = "up loss 10% burst 2 dup 3%"
    first, _ = through(script, 1500, 0.0003, seed=11)
    again, _ = through(script, 1500, 0.0003, seed=11)
    other, _ = through(script, 1500, 0.0003, seed=12)
    assert [g[0] for g in first] == [g[0] for g in again]
    assert {g[0] for g in first} != {g[0] for g in other}
    lost = 1500 - len({g[0] for g in first})
    assert 90 < lost < 220
    # The virtual clock foretells exactly which.
    delays, _ = dry(script, seed=11, packets=1500, interval_us=300)
    assert {g[0] for g in first} == {i for i, d in enumerate(delays) if d is not None}


def test_rate_limits_and_queue():
    # 228 kB/s of UDP payload, 1.82 Mbit/s with headers, into 1 Mbit/s with at most 150 ms of queue.
    with Net() as net:
        client = net.client("up rate 1mbit queue 150ms")
        probe = Probe()
        send(client, probe, 1000, 0.004, 912)
        got, stats = probe.finish(), client.path.stats()["up"]
    took = got[-1][3] - got[0][3]
    rate = (len(got) - 1) * (912 + 28) * 8 / took
    assert abs(rate - 1e6) < 0.03e6
    assert stats["queue_full"] == 1000 - len(got) > 300
    assert 0.15 < max(d for _, d, _, _ in got) < 0.19


def test_20_mbit_cost_little():
    with Net() as net:
        client = net.client("both delay 20ms loss 1%")
        probe = Probe()
        pid = client.path.process.pid
        before = cpu_s(pid)
        start = time.monotonic()
        send(client, probe, 4000, 0.0005, 1200)
        took = time.monotonic() - start
        cpu = cpu_s(pid) - before
        got = probe.finish()
    assert 3850 < len(got) < 4000
    assert took < 3.5 and cpu / took < 0.25, (cpu, took)


def cpu_s(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0]) / 1e9


def test_steps_while_it_runs():
    with Net() as net:
        client = net.client()
        probe = Probe()
        client.path.at(1.0, "up cut on")
        client.path.at(2.0, "up cut off delay 60ms")
        begin = time.monotonic()
        send(client, probe, 300, 0.01)
        got = probe.finish()
    early = [d for _, d, _, t in got if t - begin < 1.0]
    late = [(d, t - begin) for _, d, _, t in got if t - begin > 1.3]
    assert 80 <= len(early) <= 101 and statistics.median(early) < 0.005
    assert all(d >= 0.0599 and 2.0 < t for d, t in late) and len(late) >= 70


def test_udp_blocked_tcp_passes():
    with Net() as net:
        client = net.client("both block udp")
        probe = Probe()
        send(client, probe, 10, 0.001)
        listener = socket.create_server((net.address, 0))
        listener.settimeout(10)
        p = client.popen([sys.executable, "-c",
                          f"import socket; socket.create_connection(('{net.address}', "
                          f"{listener.getsockname()[1]})).sendall(b'x' * 100000)"])
        conn, _ = listener.accept()
        conn.settimeout(10)
        total = 0
        while piece := conn.recv(65536):
            total += len(piece)
        assert p.wait(10) == 0 and total == 100000
        assert probe.finish() == []
        assert client.path.stats()["up"]["blocked"] == 10


def test_one_port_blocked():
    with Net() as net:
        one, two = Probe(), Probe()
        client = net.client(f"up block udp:{one.port}")
        send(client, one, 5, 0.001)
        send(client, two, 5, 0.001)
        assert len(one.finish()) == 0 and len(two.finish()) == 5


def test_ipv6():
    with Net() as net:
        client = net.client("up delay 20ms")
        probe = Probe(net.address6)
        send(client, probe, 20, 0.005)
        got = probe.finish()
        assert len(got) == 20 and min(d for _, d, _, _ in got) > 0.0199


def test_switch_changes_the_address():
    with Net() as net:
        client = net.client("both delay 5ms")
        lte = client.add_path("both delay 50ms")
        probe = Probe()
        threading.Timer(0.5, client.switch, [lte]).start()
        send(client, probe, 200, 0.005)
        got = probe.finish()
        sources = [source for _, _, source, _ in got]
        assert sources[0] == client.paths[0].address and sources[-1] == lte.address
        assert lte.stats()["up"]["out_pkts"] > 50
        assert statistics.median(d for _, d, s, _ in got if s == lte.address) > 0.0499


def test_series_tell_bytes_over_time():
    with Net() as net:
        client = net.client()
        probe = Probe()
        send(client, probe, 100, 0.005, 972)  # 1000 B each with headers: 200 kB/s
        probe.finish()
        rows = client.path.series()["up"]
    assert sum(r[1] for r in rows) == 100000 == sum(r[2] for r in rows)
    assert max(r[1] for r in rows) <= 14000


def test_two_clients_are_independent():
    with Net() as net:
        good, bad = net.client(), net.client("up loss 100%")
        probe = Probe()
        send(good, probe, 20, 0.001)
        send(bad, probe, 20, 0.001)
        assert {s for _, _, s, _ in probe.finish()} == {good.path.address}
        assert os.readlink(f"/proc/{good.pid}/ns/net") != os.readlink(f"/proc/{bad.pid}/ns/net")

"""What bench/sfu.py measures of sori-sfu beside fan-out: SRTP alone, allocations and locks per packet, joins,
memory, two workers, two-party calls, many joins. Each function prints what it finds and gives figures.
SPDX-License-Identifier: BSD-3-Clause"""
import os
import re
import statistics
import struct
import subprocess
import tempfile
import time

from sfu_rig import AUDIO, BUILD, LEVEL_ID, LOAD_CORE, MID_ID, SERVER_CORE, VIDEO, VOICE_BYTES, WITNESS_IP, Engine, Sori, Wire, taskset

TALK = [f"mid={MID_ID}:0", f"level={LEVEL_ID}:20"]


def busy(process, seconds):
    """Share of a core that a process takes for some time."""
    cpu, start = process.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (process.cpu_s() - cpu) / (time.monotonic() - start)


def stay_on(core):
    """This process leaves the other core to the server."""
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), [core])


def careful(name, measure, quick):
    """A measure that fails must not end the others."""
    try:
        return measure(quick)
    except Exception as e:  # pylint: disable=broad-except
        print(f"{name}: FAILED: {type(e).__name__}: {e}", flush=True)
        return {}


class Setup:
    """A wire, an engine and a server, all closed at the end."""

    def __init__(self, urgent=False, **sori):
        self.sori, self.urgent = sori, urgent

    def __enter__(self):
        self.wire = Wire()
        self.engine = Engine(self.wire, urgent=self.urgent)
        self.server = None
        try:
            self.server = Sori(self.wire, self.engine, urgent=self.urgent, **self.sori)
        except BaseException:
            self.__exit__()
            raise
        return self.wire, self.engine, self.server

    def __exit__(self, *_):
        if self.server:
            self.server.close()
        self.engine.close()
        self.wire.close()


def srtp():
    """bench/micro/srtp_bench: protect and unprotect beside bare EVP."""
    out = subprocess.run(taskset(SERVER_CORE, [os.path.join(BUILD, "bench/micro/srtp_bench")]), check=False,
                         stdout=subprocess.PIPE).stdout.decode()
    print("srtp: " + out.replace("\n", "\n  ").rstrip(), flush=True)
    return {k: float(v) for k, v in re.findall(r"^(srtp_vs_evp|srtp_5000_sessions_ratio) ([\d.]+)", out, re.M)}


def core():
    """bench/micro/calls_bench: the SFU's own code and cryptography for a packet of a two-party call."""
    binary = os.path.join(BUILD, "bench/micro/calls_bench")
    for count in (20, 1200):
        out = subprocess.run(taskset(SERVER_CORE, [binary, str(count)]), check=True, stdout=subprocess.PIPE).stdout
        print("core: " + out.decode().rstrip(), flush=True)
    return {}


def fill_room(engine, server, receivers, first=0, room="room", media=AUDIO):
    """A publisher and receivers; gives the publisher's number."""
    server.join(room, first, [(media, 0, "sendonly", 1000 + first)])
    engine.wait_up([first])
    for n in range(first + 1, first + 1 + receivers):
        server.join(room, n, [(media, 0, "recvonly", None)])
    engine.wait_up(range(first + 1, first + 1 + receivers))
    return first


def datagram_bytes(engine, wire, numbers):
    """Bytes of the datagrams that these clients get now."""
    wire.black_hole(False)
    engine("mark")
    time.sleep(0.5)
    got = [engine("stat", n) for n in numbers]
    wire.black_hole(True)
    pkts = sum(g["pkts"] for g in got)
    assert pkts > 0, "nothing arrives"
    return sum(g["bytes"] for g in got) / pkts


def hotpath(quick):
    """Allocations and locks per forwarded packet, counted by bench/preload/hot_count.so."""
    with tempfile.NamedTemporaryFile() as f:
        f.truncate(24)
        counter = os.path.join(BUILD, "bench/preload/hot_count.so")
        assert os.path.exists(counter), f"{counter} is not built: nothing would be counted"
        env = {"HOT_COUNT": f.name, "LD_PRELOAD": counter}

        def counts():
            with open(f.name, "rb") as g:
                return struct.unpack("3Q", g.read(24))

        with Setup(env=env) as (wire, engine, server):
            fill_room(engine, server, 20)
            wire.black_hole(True)
            seconds = 2 if quick else 5
            time.sleep(12)  # OpenSSL's part of the handshakes is freed after 10 s
            before = counts()
            time.sleep(seconds)
            idle = [b - a for a, b in zip(before, counts())]
            assert before[0] > 1000, "joins were not counted"
            engine("pub", 0, 1000, AUDIO["pt"], 1000, 160, 1, *TALK)
            size = datagram_bytes(engine, wire, range(1, 21))
            time.sleep(1)
            taken, before = wire.counted(), counts()
            time.sleep(seconds)
            under = [b - a for a, b in zip(before, counts())]
            pkts = wire.rates(taken, size)[0] * seconds
    extra = [max(0, u - i) for u, i in zip(under, idle)]
    each = (extra[0] + extra[2]) / pkts
    print(f"hotpath: {pkts:.0f} packets forwarded in {seconds} s: {under[0]} allocations, {under[1]} frees, {under[2]} locks; "
          f"idle for as long {idle[0]}, {idle[1]}, {idle[2]}: {each:.5f} allocations and locks a packet", flush=True)
    return {"allocs_per_packet": round(each, 3)}


def joins(quick):
    """CPU of one join (a microphone and a slot for audio), and when the first packet of somebody who talks
    already is there, after the answer."""
    count = 30 if quick else 300
    with Setup() as (wire, engine, server):
        engine("quantum", 250)  # it sleeps by the clock: on a virtual wire the sender pays for waking up who hears
        idle = busy(server.server, 1)
        cpu, start, waits = server.server.cpu_s(), time.monotonic(), []
        for n in range(count):
            sent = time.monotonic()
            server.join(f"r{n % 10}", n, [(AUDIO, 0, "sendonly", 1000 + n), (AUDIO, 1, "recvonly", None)])
            waits.append(time.monotonic() - sent)
            engine.wait_up([n])
        took = time.monotonic() - start
        each = (server.server.cpu_s() - cpu - idle * took) / count
        ups = sorted(engine.state[n]["dtls_us"] / 1000 for n in range(count))
        print(f"join: {count} joins one after another: {1000 * each:.3f} ms CPU each; answer after "
              f"{1000 * statistics.median(waits):.1f} ms, keys {statistics.median(ups):.1f} ms after it (p95 "
              f"{ups[int(0.95 * count)]:.1f}, longest {ups[-1]:.1f})", flush=True)
        for n in range(count):
            engine("del", n)  # first: else it hears the goodbye
            server.ctl.request("leave", f"r{n % 10}", f"p{n}")
            del engine.state[n]
        fill_room(engine, server, 0, room="talk")
        engine("pub", 0, 1000, AUDIO["pt"], 50, VOICE_BYTES, 1, *TALK)
        time.sleep(0.3)
        for n in range(1, count + 1):
            server.join("talk", n, [(AUDIO, 0, "recvonly", None)])
            engine("open", n)
            engine.wait_up([n])
            time.sleep(0.045)
            if n % 50 == 0:
                time.sleep(0.1)
        time.sleep(0.2)
        firsts = sorted(j[4] / 1000 for j in engine("joins")["joins"] if j[0] > 0)
        assert min(firsts) > 0 and len(firsts) == count, "somebody heard nothing"
        p95 = firsts[int(0.95 * count)]
        print(f"  first audio {statistics.median(firsts):.1f} ms after the answer (p95 {p95:.1f}, longest {firsts[-1]:.1f}; "
              "the talker sends every 20 ms)", flush=True)
    return {"join_cpu_ms": 1000 * each, "first_audio_ms": p95}


def memory(quick):
    """RSS of a PeerConnection with audio both ways, and of a publisher of three video layers that sends."""
    many, videos = (100, 20) if quick else (1000, 100)
    with Setup() as (wire, engine, server):
        for n in range(20):  # what is there once
            server.join("warm", n, [(AUDIO, 0, "sendonly", 1000 + n), (AUDIO, 1, "recvonly", None)])
        engine.wait_up(range(20))
        before = server.server.rss_bytes()
        for n in range(20, 20 + many):
            server.join(f"r{n // 10}", n, [(AUDIO, 0, "sendonly", 1000 + n), (AUDIO, 1, "recvonly", None)])
        engine.wait_up(range(20, 20 + many))
        for n in range(20, 20 + many, 10):  # one talks in each room
            engine("pub", n, 1000 + n, AUDIO["pt"], 50, VOICE_BYTES, 1, *TALK)
        time.sleep(15 if not quick else 3)  # OpenSSL's part of the handshakes goes after 10 s
        audio = (server.server.rss_bytes() - before) / many
        print(f"memory: {many} audio PeerConnections: {audio:.0f} B RSS each ({before} B before)", flush=True)
    with Setup() as (wire, engine, server):
        fill_room(engine, server, 10, room="warm", media=VIDEO)
        before = server.server.rss_bytes()
        for n in range(20, 20 + videos):
            server.join(f"v{n // 5}", n, [(AUDIO, 0, "sendonly", 5000 + n), (VIDEO, 1, "sendonly", 1000 + n)])
        engine.wait_up(range(20, 20 + videos))
        for n in range(20, 20 + videos):  # 1.5 Mbit/s in frames of 6 packets
            engine("pub", n, 1000 + n, VIDEO["pt"], 156, 1200, 6, f"mid={MID_ID}:1", "vp8=1", "clock=90000",
                   f"offset={n * 997 % 33000}")
        time.sleep(15 if not quick else 3)
        video = (server.server.rss_bytes() - before) / videos
        print(f"  {videos} publishers of 1.5 Mbit/s of video: {video:.0f} B RSS each", flush=True)
    return {"audio_pc_bytes": audio, "video_pc_bytes": video}


def workers(quick):
    """Two rooms on two workers, each on a core of its own, against one room on one: packets a second of
    CPU. The load generator takes a part of the first core; CPU time does not care."""
    def cost(threads):
        with Setup(core=None, threads=threads) as (wire, engine, server):
            ports, first = {}, 0
            for i in range(16):
                if len(ports) == threads:
                    break
                room = f"room{i}"
                server.join(room, first, [(AUDIO, 0, "sendonly", 1000 + first)])
                port = server_port(engine, first)
                if port not in ports:
                    ports[port] = (room, first)
                    for n in range(first + 1, first + 21):
                        server.join(room, n, [(AUDIO, 0, "recvonly", None)])
                first += 21
            assert len(ports) == threads, f"rooms are on {len(ports)} of {threads} workers"
            time.sleep(1)
            wire.black_hole(True)
            idle = busy(server.server, 1)
            for room, n in ports.values():
                engine("pub", n, 1000 + n, AUDIO["pt"], 500, 160, 1, *TALK)
            one = next(iter(ports.values()))[1]
            size = datagram_bytes(engine, wire, range(one + 1, one + 21))
            time.sleep(0.5)
            taken, cpu, start = wire.counted(), server.server.cpu_s(), time.monotonic()
            time.sleep(2 if quick else 4)
            cpu, took = server.server.cpu_s() - cpu, time.monotonic() - start
            return (cpu / took - idle) / wire.rates(taken, size)[0] * 1e6

    rounds = []
    for i in range(1 if quick else 3):
        one, two = cost(1), cost(2)
        rounds.append(2 * one / two)
        print(f"workers: round {i + 1}: {one:.2f} us a packet with one worker, {two:.2f} with two at work: "
              f"{rounds[-1]:.2f} times as much", flush=True)
    return {"workers2_speedup": statistics.median(rounds)}


def server_port(engine, n):
    """Where the server's candidate for this client was: each worker has its own port."""
    return engine.gone[n]


def window(server, engine, ear, seconds):
    """(share of the core, p50 and p99 of the delay in ms, share lost, times that the generator was late)"""
    engine("mark"), ear("mark")
    core = busy(server.server, seconds)
    lat, gen, got = ear("latency"), engine("stat"), ear("stat")
    return core, lat["p50_us"] / 1000, lat["p99_us"] / 1000, 1 - got["got"] / max(got["sent"], 1), gen["late"]


def calls(quick):
    """Two-party calls: both send a packet every 20 ms. Calls are added until the core is 90 % busy, packets
    get lost, or the added delay's p99 is over 3 ms: medians of several windows, since other guests of the
    machine are in each. A few calls are heard by a second engine. Server and engines are real-time where
    root runs this, as deploy/systemd has the server; this process keeps off the server's core."""
    most, step, windows = (200, 100, 1) if quick else (2400, 300, 5)
    witnesses = 5
    stay_on(LOAD_CORE)
    with Setup(urgent=True) as (wire, engine, server):
        ear = Engine(wire, urgent=True)
        ear("bind", WITNESS_IP)
        try:
            heard = Sori.__new__(Sori)
            heard.__dict__.update(server.__dict__, engine=ear)
            for n in range(2 * witnesses):
                heard.join(f"w{n // 2}", n, [(AUDIO, 0, "sendrecv", 100000 + n)])
                ear("open", n)
            ear.wait_up(range(2 * witnesses))
            wire.black_hole(True)
            for n in range(2 * witnesses):
                ear("pub", n, 100000 + n, AUDIO["pt"], 50, VOICE_BYTES, 1, *TALK, f"offset={n * 1931 % 20000}")
            engine("quantum", 250)
            engine("wire", "gen0", wire.server_mac())
            reached, up = 0, 0
            while up < most:
                for n in range(2 * up, 2 * (up + step)):
                    server.join(f"c{n // 2}", n, [(AUDIO, 0, "sendrecv", 1000 + n)])
                engine.wait_up(range(2 * up, 2 * (up + step)))
                for n in range(2 * up, 2 * (up + step)):
                    engine("pub", n, 1000 + n, AUDIO["pt"], 50, VOICE_BYTES, 1, *TALK, f"offset={n * 1931 % 20000}")
                up += step
                time.sleep(1)
                seen = [window(server, engine, ear, 3) for _ in range(windows)]
                core, p50, p99, lost, late = map(statistics.median, zip(*seen))
                print(f"calls: {up + witnesses} calls, {100 * core:.0f} % of the core, {10 * core / (up + witnesses) * 1000:.1f} us "
                      f"a packet; delay p50 {p50:.2f} ms, p99 {p99:.2f} ({', '.join(f'{s[2]:.2f}' for s in seen)}), lost "
                      f"{100 * lost:.2f} %, generator late {late:.0f} times", flush=True)
                if core > 0.9 or p99 > 3 or lost > 0.01:
                    break
                reached = up + witnesses
        finally:
            ear.close()
    return {"calls_per_core": reached}


def churn(quick):
    """Joins and leaves in groups: does memory grow?"""
    total, group = (1000, 50) if quick else (int(os.environ.get("BENCH_JOINS", "10000")), 100)
    with Setup() as (wire, engine, server):
        marks, start = [], time.monotonic()
        for done in range(0, total, group):
            requests = [server.join(f"r{n // 4}", n, [(AUDIO, 0, "sendrecv", 1000 + n)], wait=False) for n in range(group)]
            for n, r in enumerate(requests):
                server.went(r, n)
            engine.wait_up(range(group))
            for n in range(group):
                engine("del", n)
                server.ctl.request("leave", f"r{n // 4}", f"p{n}")
            engine.state.clear()
            if done % (total // 10) == 0:
                marks.append(server.server.rss_bytes())
        time.sleep(12 if not quick else 1)
        marks.append(server.server.rss_bytes())
        grown = (marks[-1] - marks[2]) / (total * 0.8)
        print(f"churn: {total} joins and leaves in {time.monotonic() - start:.0f} s, RSS "
              f"{', '.join(f'{m / 1e6:.1f}' for m in marks)} MB: {grown:.1f} B a join after the first fifth", flush=True)
    return {}

"""[turn] offload = tc: the kernel relays open channels, both ways, exactly those, and counts them.
Whether user space had a hand in it is told by sori_turn_udp_received_total standing still.
SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from soridaemon import BUILD, Daemon, free_port, metric
from turnclient import (CREATE_PERMISSION, DATA_ATTR, LIFETIME, REFRESH, SEND, XOR_PEER_ADDRESS, TurnClient, attr,
                        parse, xor_address)

CHANNEL = 0x4001
RECEIVED = "sori_turn_udp_received_total"
CHANNELS = "sori_turn_offloaded_channels"
ADDITIONAL_ADDRESS_FAMILY, REQUESTED_ADDRESS_FAMILY = 0x8000, 0x0017
IP_RECVTTL = 12  # not in Python's socket module


def config(port, admin, extra="", limits="", threads=1):
    return f"""
[turn]
listen_udp = 127.0.0.1:{port}
listen_tcp =
min_port = 10000
max_port = 19999
threads = {threads}
offload = tc
{extra}
[limits]
unauthenticated_burst = 1000
allocations_per_user = 0
{limits}
[auth]
users_file = @FOLDER@/users
[peers]
allow_loopback_peers = yes
[admin]
listen = 127.0.0.1:{admin}
control = @FOLDER@/control
"""


def relay(**options):
    port, admin = free_port(), free_port()
    d = Daemon("sori-turn", config(port, admin, **options), files={"users": "ann:secret\n"})
    d.port, d.admin_port = port, admin
    return d


@pytest.fixture(name="daemon")
def _daemon():
    with relay() as d:
        yield d


def client(d, **options):
    c = TurnClient(d.port, "ann", "secret", **options)
    assert c.allocate() == 0
    return c


@contextlib.contextmanager
def peer(host="127.0.0.1"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.bind((host, 0))
        yield s


def received(d):
    return metric(d.admin_port, RECEIVED)


def wait_until(what, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def offloaded(d):
    """Packets to peers, packets to clients, as told so far."""
    return tuple(metric(d.admin_port, f'sori_turn_offloaded_packets_total{{direction="{way}"}}')
                 for way in ("to_peer", "to_client"))


def there_and_back(c, p, data, relayed=None):
    c.send_channel(CHANNEL, data)
    got, source = p.recvfrom(65536)
    assert got == data and source == (relayed or c.relayed)
    p.sendto(data[::-1], c.relayed)
    assert c.sock.recv(65536) == struct.pack("!HH", CHANNEL, len(data)) + data[::-1]


def fell_silent(sock):
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sock.recv(65536)
    sock.settimeout(5)


def control(d, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{d.folder}/control")
        s.send(json.dumps(command).encode() + b"\n")
        return [json.loads(line) for line in s.makefile()]


def filters():
    return subprocess.run(["tc", "filter", "show", "dev", "lo", "ingress"], check=True,
                          stdout=subprocess.PIPE).stdout.decode()


def hooks():
    return subprocess.run(["tc", "qdisc", "show", "dev", "lo"], check=True,
                          stdout=subprocess.PIPE).stdout.decode()


def test_the_kernel_relays_both_ways_and_counts(daemon):
    sizes = [0, 1, 2, 3, 4, 5, 59, 60, 159, 160, 1199, 1200, 1471, 2039, 2040]
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(daemon)
        for size in sizes:
            there_and_back(c, p, bytes((7 * i + size) & 0xFF for i in range(size)))
        assert received(daemon) == before
        assert c.refresh(0) == 0
        n, total = len(sizes), sum(sizes)
        line = daemon.wait_log("allocation ended")
        for way in "up", "down":
            assert f"{way}_packets={n} {way}_bytes={total} " in line
        assert offloaded(daemon) == (n, n)
        name = 'sori_turn_relayed_{}_total{{direction="{}"}}'
        for way in "to_peer", "to_client":
            assert metric(daemon.admin_port, name.format("packets", way)) == n
            assert metric(daemon.admin_port, name.format("bytes", way)) == total
        assert metric(daemon.admin_port, CHANNELS) == 0


def test_counts_are_told_while_it_lives(daemon):
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        for _ in range(10):
            there_and_back(c, p, b"counted")
        wait_until(lambda: offloaded(daemon) == (10, 10))
        listed = control(daemon, {"command": "list"})[0]
        assert (listed["up_packets"], listed["down_bytes"]) == (10, 70)


def test_checksums_are_right():
    """Read off the device by a packet socket: datagrams with a checksum of their own (sent raw),
    both ways, and one without."""
    with relay() as d, client(d) as c, peer() as p, \
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw, \
            socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as tap:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(d)
        tap.settimeout(5)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 0)
        me, there = c.sock.getsockname(), p.getsockname()
        ways = ((me, ("127.0.0.1", d.port), c.relayed, there, struct.pack("!HH", CHANNEL, 0), b""),
                (there, c.relayed, ("127.0.0.1", d.port), me, b"", struct.pack("!HH", CHANNEL, 0)))
        for source, dest, new_source, new_dest, head, new_head in ways:
            for size in (1, 2, 3, 8, 33, 700):
                for summed in (True, False):
                    body = bytes((size * 31 + i * 5) & 0xFF for i in range(size))
                    sized = struct.pack("!H", size)
                    sent = udp(source, dest, head[:2] + (sized if head else b"") + body, summed)
                    raw.sendto(sent, ("127.0.0.1", 0))
                    want = udp(new_source, new_dest,
                               new_head[:2] + (sized if new_head else b"") + body, summed)
                    ip, got = next_from(tap, new_source, new_dest)
                    assert got == want
                    assert ones_sum(ip) == 0xFFFF and ip[0] == 0x45 and ip[1] == 0
                    assert ip[6:8] == b"\0\0" and ip[8] == 64
        assert received(d) == before


def ones_sum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def udp(source, dest, body, summed=True):
    head = struct.pack("!HHHH", source[1], dest[1], 8 + len(body), 0)
    if summed:
        pseudo = socket.inet_aton(source[0]) + socket.inet_aton(dest[0]) + \
            struct.pack("!HH", 17, 8 + len(body))
        check = 0xFFFF - ones_sum(pseudo + head + body) or 0xFFFF
        head = head[:6] + struct.pack("!H", check)
    return head + body


def next_from(tap, source, dest):
    """IP header and UDP datagram of the next one that arrives between these two ports."""
    while True:
        packet, at = tap.recvfrom(65536)
        if at[2] == 0 and packet[9] == 17 and \
                packet[20:24] == struct.pack("!HH", source[1], dest[1]):
            return packet[:20], packet[20:struct.unpack("!H", packet[2:4])[0]]


def test_another_port_of_the_peer_is_not_the_peer(daemon):
    with client(daemon) as c, peer() as p, peer() as other:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(daemon)
        other.sendto(b"me too", c.relayed)
        kind, found = parse(c.sock.recv(2048))  # permitted by address: as a Data indication
        assert kind == 0x0017 and found[DATA_ATTR] == b"me too"
        assert received(daemon) == before + 1
        there_and_back(c, p, b"the peer itself")
        assert received(daemon) == before + 1


def test_another_client_or_channel_gets_nothing(daemon):
    with client(daemon) as c, client(daemon) as stranger, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        stranger.send_channel(CHANNEL, b"not mine")
        c.send_channel(CHANNEL + 1, b"no such channel")
        fell_silent(p)
        assert metric(daemon.admin_port, 'sori_turn_dropped_total{reason="no_channel"}') == 2
        assert offloaded(daemon) == (0, 0)


@pytest.mark.parametrize("message", [
    struct.pack("!HH", CHANNEL, 5) + b"padded\0\0",  # length and datagram disagree
    struct.pack("!HH", CHANNEL, 9) + b"short",
    struct.pack("!H", CHANNEL) + b"x",
])
def test_odd_lengths_are_user_space_s_business(daemon, message):
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(daemon)
        c.sock.send(message)
        wait_until(lambda: received(daemon) == before + 1)


def test_what_is_too_long_takes_the_slow_path(daemon):
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(daemon)
        for size in (2041, 9000):
            there_and_back(c, p, bytes(size))
        assert received(daemon) == before + 4
        there_and_back(c, p, bytes(2040))
        assert received(daemon) == before + 4


def test_send_indications_go_on_as_before(daemon):
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        body = attr(XOR_PEER_ADDRESS, xor_address(*p.getsockname())) + attr(DATA_ATTR, b"indicated")
        c.sock.send(struct.pack("!HHI", 0x10 | SEND, len(body), 0x2112A442) + bytes(12) + body)
        assert p.recv(2048) == b"indicated"


def test_a_permission_alone_is_not_offloaded(daemon):
    with client(daemon) as c, peer() as p:
        assert c.request(CREATE_PERMISSION,
                         attr(XOR_PEER_ADDRESS, xor_address(*p.getsockname()))) == 0
        assert metric(daemon.admin_port, CHANNELS) == 0


@pytest.mark.parametrize("way", ["refresh 0", "kill"])
def test_nothing_passes_after_the_end(daemon, way):
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        there_and_back(c, p, b"while it lives")
        assert metric(daemon.admin_port, CHANNELS) == 1
        if way == "kill":
            listed = control(daemon, {"command": "list"})[0]
            assert control(daemon, {"command": "kill", "allocation": listed["allocation"]})[0]["ok"]
        else:
            assert c.refresh(0) == 0
        assert metric(daemon.admin_port, CHANNELS) == 0
        c.send_channel(CHANNEL, b"too late")
        p.sendto(b"too late", c.relayed)
        fell_silent(p)
        with contextlib.suppress(ConnectionRefusedError):
            fell_silent(c.sock)
        daemon.wait_log("up_packets=1 up_bytes=14 down_packets=1 down_bytes=14")


def bpftool(*args):
    return subprocess.run(["bpftool", *args], check=True, stdout=subprocess.PIPE).stdout.decode()


def slots():
    """The id of the map, of the program that is attached: those of others linger for a while."""
    program = re.search(r"direct-action .*\bid (\d+)", filters()).group(1)
    for number in json.loads(bpftool("-j", "prog", "show", "id", program))["map_ids"]:
        if json.loads(bpftool("-j", "map", "show", "id", str(number))).get("name") == "slots":
            return str(number)
    raise AssertionError("no map")


def set_end(at_ns):
    """Writes the end of slot 0, whose counts become zero, into the kernel's array."""
    value = [f"{byte:#04x}" for byte in at_ns.to_bytes(8, "little") + bytes(32)]
    bpftool("map", "update", "id", slots(), "key", "0", "0", "0", "0", "value", *value)


def test_the_program_looks_at_the_clock_itself(daemon):
    """With sori-turn stopped, and the end of the only channel put before now, then after."""
    with client(daemon) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        there_and_back(c, p, b"open")
        daemon.signal(signal.SIGSTOP)
        try:
            now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            set_end(now_ns)
            c.send_channel(CHANNEL, b"over")
            p.sendto(b"over", c.relayed)
            fell_silent(p)
            fell_silent(c.sock)
            set_end(now_ns + 60 * 10**9)
            there_and_back(c, p, b"open again")
        finally:
            daemon.signal(signal.SIGCONT)


def test_many_channels_and_refreshing_them(daemon):
    with client(daemon) as c, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(peer()) for _ in range(40)]
        for turn in range(2):  # the second time extends them
            for i, p in enumerate(peers):
                assert c.bind_channel(0x4000 + i, *p.getsockname()) == 0
            before = received(daemon)
            for i, p in enumerate(peers):
                c.send_channel(0x4000 + i, b"%d" % i)
                assert p.recv(100) == b"%d" % i
                p.sendto(b"%d" % i, c.relayed)
                assert c.sock.recv(100)[4:] == b"%d" % i
            assert received(daemon) == before, turn
        assert metric(daemon.admin_port, CHANNELS) == len(peers)


def test_more_channels_than_there_is_room_for():
    with relay(extra="offload_channels = 2") as d, client(d) as c, peer() as p, peer() as q, \
            peer() as r:
        for i, at in enumerate((p, q, r)):
            assert c.bind_channel(CHANNEL + i, *at.getsockname()) == 0
        assert metric(d.admin_port, CHANNELS) == 2
        assert metric(d.admin_port, "sori_turn_offload_refused_total") >= 1
        before = received(d)
        for i, at in enumerate((p, q, r)):
            c.send_channel(CHANNEL + i, b"all the same")
            assert at.recv(100) == b"all the same"
        assert received(d) == before + 1


def test_relay_to_relay_stays_in_memory(daemon):
    with client(daemon) as a, client(daemon) as b:
        assert b.permit("127.0.0.1") == 0
        assert a.bind_channel(CHANNEL, *b.relayed) == 0
        assert metric(daemon.admin_port, CHANNELS) == 0
        a.send_channel(CHANNEL, b"across")
        assert parse(b.sock.recv(2048))[1][DATA_ATTR] == b"across"


def test_limits_keep_it_in_user_space():
    with relay(limits="packets_per_second = 1000") as d, client(d) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(d)
        there_and_back(c, p, b"limited")
        assert metric(d.admin_port, CHANNELS) == 0 and received(d) == before + 2


def test_a_move_takes_the_channel_along():
    with relay(extra="mobility = yes") as d, TurnClient(d.port, "ann", "secret") as c, \
            TurnClient(d.port, "ann", "secret") as moved, peer() as p:
        assert c.allocate_mobile() == 0
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        there_and_back(c, p, b"at the old place")
        assert moved.move(c.ticket) == 0
        assert metric(d.admin_port, CHANNELS) == 0
        moved.relayed = c.relayed
        there_and_back(moved, p, b"the first settles it")
        assert metric(d.admin_port, CHANNELS) == 1
        before = received(d)
        there_and_back(moved, p, b"at the new place")
        assert received(d) == before
        c.send_channel(CHANNEL, b"from the old place")
        fell_silent(p)


def test_the_ipv4_half_of_a_dual_allocation():
    both = attr(ADDITIONAL_ADDRESS_FAMILY, b"\2\0\0\0")
    with relay(extra="relay_addresses = 127.0.0.1, ::1") as d, peer() as p:
        with TurnClient(d.port, "ann", "secret") as c:
            assert c.allocate(body=both) == 0
            assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
            assert metric(d.admin_port, CHANNELS) == 1
            assert c.refresh(0) == 0  # all of it
            assert metric(d.admin_port, CHANNELS) == 0
            assert c.allocate(body=both) == 0
            assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
            before = received(d)
            there_and_back(c, p, b"by its first address")
            assert received(d) == before
            assert c.request(REFRESH, attr(LIFETIME, bytes(4)) +
                             attr(REQUESTED_ADDRESS_FAMILY, b"\1\0\0\0")) == 0
            assert metric(d.admin_port, CHANNELS) == 0
            c.send_channel(CHANNEL, b"too late")
            fell_silent(p)


def test_two_workers():
    with relay(threads=2) as d, contextlib.ExitStack() as stack:
        pairs = [(stack.enter_context(client(d)), stack.enter_context(peer())) for _ in range(16)]
        for c, p in pairs:
            assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(d)
        for _ in range(20):
            for c, p in pairs:
                there_and_back(c, p, b"from either worker")
        assert received(d) == before
        wait_until(lambda: offloaded(d) == (320, 320))


def test_copied_ip_headers():
    with relay(extra="ip_headers = copy") as d, client(d) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(d)
        for s in c.sock, p:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            s.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        for sender, receiver, to, tos, ttl in ((c.sock, p, None, 0xB9, 40),
                                               (p, c.sock, c.relayed, 0x48, 9)):
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            if to:
                sender.sendto(b"there", to)
            else:
                c.send_channel(CHANNEL, b"there")
            _, controls, _, _ = receiver.recvmsg(2000, 256)
            found = {kind: int.from_bytes(value[:4], "little") for _, kind, value in controls}
            assert (found[socket.IP_TOS], found[socket.IP_TTL]) == (tos, ttl - 1)
        assert received(d) == before
        p.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)  # the last hop is ours, and counted
        p.sendto(b"never", c.relayed)
        wait_until(lambda: metric(d.admin_port, 'sori_turn_dropped_total{reason="hop_limit"}') == 1)


def test_leaves_nothing_behind():
    assert "clsact" not in hooks()
    with relay():
        assert "sori_relay" in filters() and "clsact" in hooks()
    assert "clsact" not in hooks()


def test_others_filters_stay():
    subprocess.run(["tc", "qdisc", "add", "dev", "lo", "clsact"], check=True)
    subprocess.run("tc filter add dev lo egress protocol all u32 match u32 0 0 classid 1:1".split(),
                   check=True)
    try:
        with relay():
            assert "sori_relay" in filters()
        assert "sori_relay" not in filters() and "clsact" in hooks()
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", "lo", "clsact"], check=True)


def test_after_a_kill_the_program_stops_and_the_next_start_replaces_it():
    with relay() as d, client(d) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        there_and_back(c, p, b"alive")
        d.signal(signal.SIGKILL)
        d.process.wait()
        assert "sori_relay" in filters()
        deadline = time.monotonic() + 8  # the beat: 5 s after the last one
        p.settimeout(0.5)
        with contextlib.suppress(TimeoutError, ConnectionRefusedError):
            while time.monotonic() < deadline:
                c.send_channel(CHANNEL, b"still?")
                p.recv(100)
        assert time.monotonic() < deadline
        with relay() as second, client(second) as fresh, peer() as q:
            assert filters().count("handle 0x1") == 1
            assert fresh.bind_channel(CHANNEL, *q.getsockname()) == 0
            before = received(second)
            there_and_back(fresh, q, b"again")
            assert received(second) == before
        assert "clsact" not in hooks()
        d.kill()


def test_two_capabilities_are_enough():
    port, admin = free_port(), free_port()
    caps = "+net_admin,+bpf"
    d = Daemon("sori-turn", config(port, admin), files={"users": "ann:secret\n"}, prefix=(
        "setpriv", "--bounding-set", "-all," + caps, "--inh-caps", "-all," + caps, "--no-new-privs"))
    d.port, d.admin_port = port, admin
    with d, client(d) as c, peer() as p:
        assert c.bind_channel(CHANNEL, *p.getsockname()) == 0
        before = received(d)
        there_and_back(c, p, b"unprivileged else")
        assert received(d) == before


def test_is_refused_without_them(tmp_path):
    (tmp_path / "users").write_text("ann:secret\n")
    (tmp_path / "users").chmod(0o600)
    text = config(free_port(), free_port()).replace("@FOLDER@", str(tmp_path))
    (tmp_path / "turn.ini").write_text(text)
    p = subprocess.run(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all",
                        f"{BUILD}/sori-turn", "--config", str(tmp_path / "turn.ini")], timeout=15,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert p.returncode == 78 and b"needs CAP_BPF and CAP_NET_ADMIN" in p.stdout


def test_coturn_s_client(daemon):
    echo = free_port()
    with subprocess.Popen(["turnutils_peer", "-L", "127.0.0.1", "-p", str(echo)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        try:
            run = subprocess.run(
                ["turnutils_uclient", "-u", "ann", "-w", "secret", "-e", "127.0.0.1", "-r",
                 str(echo), "-n", "200", "-m", "4", "-l", "160", "-c", "-p", str(daemon.port),
                 "127.0.0.1"], stdout=subprocess.PIPE, timeout=120, check=True).stdout.decode()
        finally:
            p.terminate()
    assert re.search(r"Total lost packets 0 ", run), run
    assert sum(offloaded(daemon)) >= 4 * 200 * 2 * 0.9


ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, source = s.recvfrom(65536)
    s.sendto(data[::-1], source)
"""


def run_all(commands, prefix=()):
    for command in commands:
        subprocess.run([*prefix, *command.split()], check=True)


def other_namespace(stack):
    """Another network namespace; gives its process and the words that run a command there."""
    other = stack.enter_context(subprocess.Popen(["unshare", "-n", "sleep", "60"]))
    stack.callback(other.kill)
    mine = os.readlink("/proc/self/ns/net")
    wait_until(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != mine)
    inside = ["nsenter", f"--net=/proc/{other.pid}/ns/net"]
    run_all(["ip link set lo up"], inside)
    return other, inside


def add_veth(stack, other, inside, name, net):
    """A pair of devices, name0 here and name1 there, with .1 and .2 of net."""
    run_all([f"ip link add {name}0 type veth peer name {name}1 netns {other.pid}",
             f"ip addr add {net}.1/24 dev {name}0", f"ip link set {name}0 up"])
    stack.callback(lambda: subprocess.run(["ip", "link", "del", f"{name}0"], check=False))
    run_all([f"ip addr add {net}.2/24 dev {name}1", f"ip link set {name}1 up"], inside)


def add_echo(stack, inside, host, port):
    echo = stack.enter_context(subprocess.Popen(
        [*inside, sys.executable, "-c", ECHO, host, str(port)], stdout=subprocess.PIPE))
    stack.callback(echo.kill)
    assert echo.stdout.readline() == b"ready\n"


def sent_by(device):
    shown = subprocess.run(["ip", "-j", "-s", "link", "show"], check=True,
                           stdout=subprocess.PIPE).stdout
    return next(d for d in json.loads(shown) if d["ifname"] == device)["stats64"]["tx"]["packets"]


def test_routes_are_followed():
    """The way to the peer changes to another device: the channel's packets take it, too."""
    with contextlib.ExitStack() as stack:
        other, inside = other_namespace(stack)
        add_veth(stack, other, inside, "v", "10.9.0")
        add_veth(stack, other, inside, "w", "10.8.0")
        run_all(["ip addr add 10.7.0.1/32 dev lo"], inside)
        run_all(["ip route add 10.7.0.1 via 10.9.0.2"])
        add_echo(stack, inside, "10.7.0.1", 7777)
        d = stack.enter_context(relay(extra="relay_addresses = 10.9.0.1",
                                      limits="[peers]\nallow_private_peers = yes"))
        c = stack.enter_context(client(d))
        assert c.bind_channel(CHANNEL, "10.7.0.1", 7777) == 0

        def echoes(n):
            for _ in range(n):
                c.send_channel(CHANNEL, b"abc")
                assert c.sock.recv(2048)[4:] == b"cba"

        echoes(1)
        before, by_v = received(d), sent_by("v0")
        echoes(20)
        assert sent_by("v0") >= by_v + 20
        run_all(["ip route replace 10.7.0.1 via 10.8.0.2"])
        by_w = sent_by("w0")
        wait_until(lambda: echoes(1) or sent_by("w0") >= by_w + 10)
        by_v, by_w = sent_by("v0"), sent_by("w0")
        echoes(20)
        assert sent_by("w0") >= by_w + 20 and sent_by("v0") < by_v + 20
        assert received(d) == before


@pytest.mark.parametrize("offload_checksums", [True, False])
def test_between_devices(offload_checksums):
    """Client here, peer in another namespace behind a veth: in by lo, out by the veth, and back;
    with checksums that the sender leaves to the device, and without."""
    with contextlib.ExitStack() as stack:
        other, inside = other_namespace(stack)
        add_veth(stack, other, inside, "v", "10.9.0")
        if not offload_checksums:
            run_all(["ethtool -K v0 tx off"])
            run_all(["ethtool -K v1 tx off"], inside)
        add_echo(stack, inside, "10.9.0.2", 7777)
        d = stack.enter_context(relay(extra="relay_addresses = 10.9.0.1",
                                      limits="[peers]\nallow_private_peers = yes"))
        c = stack.enter_context(client(d))
        assert c.bind_channel(CHANNEL, "10.9.0.2", 7777) == 0
        c.send_channel(CHANNEL, b"first")  # neighbours get to know each other
        assert c.sock.recv(2048)[4:] == b"tsrif"
        before = received(d)
        for size in (0, 1, 33, 160, 1472):
            data = bytes(i & 0xFF for i in range(size))
            c.send_channel(CHANNEL, data)
            assert c.sock.recv(2048) == struct.pack("!HH", CHANNEL, size) + data[::-1]
        assert received(d) == before
        c.send_channel(CHANNEL, bytes(1473))  # more than the veth takes at once: in fragments
        assert len(c.sock.recv(2048)) == 1477
        assert received(d) == before + 2

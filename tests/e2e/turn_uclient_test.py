"""coturn's own clients against sori-turn: every transport, both kinds of credentials, both ways to
carry data, client to client, TCP peers, clients that move, that break off, that ask for nonsense.

turnutils_uclient's options elsewhere: -J in turn_oauth_test.py, -o in turn_realm_test.py; DTLS also in
turn_dtls_test.py, -T in turn_tcp_alloc_test.py, -M in turn_mobility_test.py. Not here: -b (SCTP, which
sori-turn has not), -d, -h, -k (no part of the relay).
SPDX-License-Identifier: BSD-3-Clause
"""
import concurrent.futures
import re
import socket
import struct
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port, make_cert, metric

SECRET = "a secret of the test"
USER, PASSWORD = "ann", "of green gables"


def config(udp, tls, admin, extra=""):
    return f"""
[turn]
listen_udp = 127.0.0.1:{udp}
listen_tcp = 127.0.0.1:{udp}
listen_tls = 127.0.0.1:{tls}
relay_addresses = 127.0.0.1, ::1
realm = sori
threads = 2
tcp_allocations = yes
mobility = yes
[auth]
secret_file = @FOLDER@/secret
users_file = @FOLDER@/users
[limits]
unauthenticated_per_second = 1000
unauthenticated_burst = 1000
connects_per_second = 0
allocations_per_user = 0
[peers]
allow_loopback_peers = yes
{extra}
[tls]
cert_file = @FOLDER@/cert.pem
key_file = @FOLDER@/key.pem
dtls = yes
[admin]
listen = 127.0.0.1:{admin}
"""


class Relay:
    pass


@pytest.fixture(scope="module")
def relay():
    r = Relay()
    r.udp, r.tls, r.peer, r.admin = free_port(), free_port(), free_port(), free_port()
    d = Daemon("sori-turn", config(r.udp, r.tls, r.admin),
               files={"secret": SECRET + "\n", "users": f"{USER}:{PASSWORD}\n"})
    make_cert(d.folder)
    r.daemon = d
    peer = subprocess.Popen(["turnutils_peer", "-L", "127.0.0.1", "-L", "::1", "-p", str(r.peer)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with d:
            yield r
    finally:
        peer.kill()
        peer.wait()


def uclient_command(r, *args, creds="rest", port=None, user=USER):
    auth = ["-u", user, "-W", SECRET] if creds == "rest" else ["-u", user, "-w", creds]
    peer = "::1" if "-x" in args else "127.0.0.1"
    return ["turnutils_uclient", "-e", peer, "-r", str(r.peer), "-n", "10", "-m", "4",
           "-l", "170", "-z", "5", *auth, "-p", str(port or r.udp),
           *(a.replace("@FOLDER@", r.daemon.folder) for a in args), "127.0.0.1"]


def uclient(r, *args, timeout_s=60, **how):
    p = subprocess.run(uclient_command(r, *args, **how), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def arrived(result):
    """Everything that uclient sent came back to it."""
    code, text = result
    lost = re.findall(r"Total lost packets (\d+)", text)
    sent, received = (re.findall(rf"tot_{w}_msgs=(\d+)", text) for w in ("send", "recv"))
    return (code == 0 and lost and lost[-1] == "0" and sent and int(sent[-1]) >= 40 and
            sent[-1:] == received[-1:])


def assert_all_arrived(result):
    assert result is None or arrived(result), result[1]


MODES = {
    "udp": [], "udp_one_port": ["-c"], "udp_send_data": ["-c", "-s"],
    "udp_dont_fragment": ["-g"], "udp_dont_fragment_send": ["-g", "-c", "-s"],
    "udp_ipv6_relay": ["-x"], "udp_ipv6_relay_one_port": ["-c", "-x"],
    "udp_ipv6_client_to_client": ["-x", "-y", "-c"], "udp_ipv4_asked_for": ["-X"],
    "udp_dual": ["-Z"], "udp_padded": ["-D"], "udp_no_permissions_asked": ["-I", "-c"],
    "udp_bandwidth_asked": ["-a", "100000"], "udp_large": ["-c", "-l", "1400"],
    "udp_client_to_client": ["-y"], "udp_client_to_client_one_port": ["-y", "-c"],
    "udp_client_to_client_send": ["-y", "-c", "-s"], "udp_extra_requests": ["-c", "-G"],
    "tcp": ["-t"], "tcp_one_port": ["-t", "-c"], "tcp_send_data": ["-t", "-c", "-s"],
    "tcp_client_to_client": ["-t", "-y", "-c"], "tcp_extra_requests": ["-t", "-G"],
    "tcp_dual": ["-t", "-Z"], "tcp_ipv6_relay": ["-t", "-x"], "tcp_padded": ["-t", "-D"],
    "dtls": ["-S"], "dtls_send_data": ["-S", "-c", "-s"],
    "dtls_client_to_client": ["-S", "-y", "-c"], "dtls_verified": ["-S", "-E", "@FOLDER@/cert.pem"],
    # The client breaks off at random after a few packets and begins anew.
    "udp_broken_off": ["-B"], "tcp_broken_off": ["-B", "-t"],
    "udp_broken_off_client_to_client": ["-B", "-y"],
    "udp_moving": ["-M"], "tcp_moving": ["-M", "-t"],
    # Requests that must be refused, between those that must not.
    "udp_refusals": ["-N", "-y"], "tcp_refusals": ["-N", "-y", "-t"],
    "tcp_peers": ["-T"],
    "tls": ["-t", "-S"], "tls_one_port": ["-t", "-S", "-c"], "tls_dual": ["-t", "-S", "-Z"],
    "tls_verified": ["-t", "-S", "-E", "@FOLDER@/cert.pem"],
    # No client-to-client over TLS: uclient takes one message of each TLS record and loses the rest
    # (with coturn's own server, too). See relayed_by_the_record().
    "tls_send_data": ["-t", "-S", "-c", "-s"],
}


STATIC = ["udp", "tcp", "tls"]
TRIES = 3


def relayed_by_the_record(relay, call, result, since):
    """uclient reads one message of each TLS record and counts the rest as lost; on a busy machine
    the relay's answers share records. Then the relay's own record of that call decides: it must
    have taken every packet that uclient sent, and handed over as many as it took."""
    code, text = result
    sent = re.findall(r"tot_send_msgs=(\d+)", text)
    if code != 0 or not sent or int(sent[-1]) < 40:
        return False
    amounts = rf" call={call} .* up_packets=(\d+) .* down_packets=(\d+) "
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        ended = [re.search(amounts, line) for line in relay.daemon.lines[since:] if line]
        up, down = (sum(int(m.group(n)) for m in ended if m) for n in (1, 2))
        if up == down and up >= int(sent[-1]):
            return True
        time.sleep(0.1)
    return False


def run_mode(relay, mode, creds):
    """Runs uclient; over TLS up to three times, each a whole run of its own that must be clean, or
    proven by the relay's record (time-limited users only: the name carries a call id)."""
    tls = {"-t", "-S"} <= set(MODES[mode])
    for attempt in range(TRIES if tls else 1):
        since, call = len(relay.daemon.lines), f"{mode}.{attempt}"
        result = uclient(relay, *MODES[mode], creds=creds, port=relay.tls if tls else relay.udp,
                         user=f"{call}:{USER}" if creds == "rest" else USER)
        if not tls or arrived(result):
            break
        if creds == "rest" and relayed_by_the_record(relay, call, result, since):
            return None
    return result


@pytest.fixture(scope="module")
def runs(relay):
    """All modes under way, a few at a time: uclient spends its time waiting."""
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        passive = pool.submit(uclient, relay, "-P", user=f"passive:{USER}")
        yield {("passive", "rest"): passive,
               **{(mode, creds): pool.submit(run_mode, relay, mode, creds)
                  for creds, modes in (("rest", MODES), (PASSWORD, STATIC)) for mode in modes}}


@pytest.mark.parametrize("mode", MODES)
def test_everything_is_relayed(runs, mode):
    assert_all_arrived(runs[mode, "rest"].result())


@pytest.mark.parametrize("mode", STATIC)
def test_static_users_are_relayed(runs, mode):
    assert_all_arrived(runs[mode, PASSWORD].result())


def test_peers_that_connect_are_relayed(runs):
    """-P: the peers of these TCP allocations connect. Of two such clients uclient counts what one
    receives (with coturn's own server, too)."""
    code, text = runs["passive", "rest"].result()
    assert code == 0 and re.findall(r"tot_send_msgs=40, tot_recv_msgs=20\b", text), text


def spoil(relay, *args, port=None):
    return subprocess.Popen(uclient_command(relay, *args, port=port, user="spoiler"),
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def total(relay, name, *labels):
    return sum(metric(relay.admin, f"sori_turn_{name}{{{label}}}") for label in labels)


def test_clients_that_vanish_are_borne(relay):
    """-O: clients that ask for an allocation and are gone, some before they have the answer."""
    asked = total(relay, "requests_total", 'method="allocate"')
    visitors = [spoil(relay, "-O", *transport, port=port)
                for transport, port in (([], relay.udp), (["-t"], relay.udp), (["-S"], relay.udp),
                                        (["-t", "-S"], relay.tls)) for _ in range(4)]
    assert_all_arrived(uclient(relay, "-c"))
    for visitor in visitors:
        visitor.wait(30)
    assert total(relay, "requests_total", 'method="allocate"') >= asked + len(visitors)


def test_broken_messages_are_borne(relay):
    """-R: clients that spoil their own messages at random, so that they may never be done."""
    reasons = 'reason="bad_stun"', 'reason="not_turn"'
    before = total(relay, "dropped_total", *reasons)
    spoilers = [spoil(relay, "-R", *transport) for transport in ([], [], ["-t"], ["-t"], ["-S"])]
    try:
        assert_all_arrived(uclient(relay, "-c"))
        end = time.monotonic() + 20
        while total(relay, "dropped_total", *reasons) == before:
            assert time.monotonic() < end, "nothing was spoilt"
            time.sleep(0.1)
    finally:
        for spoiler in spoilers:
            spoiler.kill()
            spoiler.wait()


def test_stunclient_learns_its_address(relay):
    p = subprocess.run(["turnutils_stunclient", "-p", str(relay.udp), "127.0.0.1"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    text = p.stdout.decode()
    assert "UDP reflexive addr: 127.0.0.1:" in text, text


def test_wrong_password_gets_nothing(relay):
    code, text = uclient(relay, "-c", creds="wrong", timeout_s=30)
    assert code != 0 or "401" in text or "Cannot complete" in text, text
    assert "tot_recv_msgs=40" not in text


def test_usage_record_is_written(relay):
    at = len(relay.daemon.lines)
    assert_all_arrived(uclient(relay, "-c"))
    line = relay.daemon.wait_log(r"allocation ended: user=[0-9a-f]{16} ", since=at)
    assert re.search(r"up_packets=\d+ up_bytes=\d+ down_packets=\d+", line)
    assert USER not in line


def test_answers_to_strangers_do_not_amplify(relay):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect(("127.0.0.1", relay.udp))
        binding = struct.pack("!HHI12s", 0x0001, 0, 0x2112A442, b"binding.....")
        s.send(binding)
        assert len(s.recv(2048)) <= 1.6 * len(binding)
        allocate = struct.pack("!HHI12sHHI", 0x0003, 8, 0x2112A442, b"allocate....", 0x0019, 4,
                               17 << 24)
        s.send(allocate)
        assert len(s.recv(2048)) <= 2.6 * len(allocate)

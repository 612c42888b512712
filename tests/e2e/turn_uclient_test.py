"""coturn's own clients against sori-turn: every transport, both kinds of credentials, both ways to
carry data, client to client, and the refusals.
SPDX-License-Identifier: BSD-3-Clause
"""
import concurrent.futures
import re
import socket
import struct
import subprocess
import time

import pytest

from soridaemon import Daemon, free_port, make_cert

SECRET = "a secret of the test"
USER, PASSWORD = "ann", "of green gables"


def config(udp, tls, extra=""):
    return f"""
[turn]
listen_udp = 127.0.0.1:{udp}
listen_tcp = 127.0.0.1:{udp}
listen_tls = 127.0.0.1:{tls}
relay_addresses = 127.0.0.1, ::1
realm = sori
threads = 2
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
"""


class Relay:
    pass


@pytest.fixture(scope="module")
def relay():
    r = Relay()
    r.udp, r.tls, r.peer = free_port(), free_port(), free_port()
    d = Daemon("sori-turn", config(r.udp, r.tls),
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


def uclient(r, *args, creds="rest", port=None, user=USER, timeout_s=60):
    auth = ["-u", user, "-W", SECRET] if creds == "rest" else ["-u", user, "-w", creds]
    peer = "::1" if "-x" in args else "127.0.0.1"
    cmd = ["turnutils_uclient", "-e", peer, "-r", str(r.peer), "-n", "10", "-m", "4",
           "-l", "170", "-z", "5", *auth, "-p", str(port or r.udp), *args, "127.0.0.1"]
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=timeout_s)
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
    "udp": [], "udp_one_port": ["-c"], "udp_ipv6_relay": ["-c", "-x"], "udp_send_data": ["-c", "-s"], "udp_dont_fragment": ["-g"],
    "udp_dual": ["-Z"],
    "udp_client_to_client": ["-y"], "udp_client_to_client_one_port": ["-y", "-c"],
    "udp_client_to_client_send": ["-y", "-c", "-s"], "udp_extra_requests": ["-c", "-G"],
    "tcp": ["-t"], "tcp_one_port": ["-t", "-c"], "tcp_send_data": ["-t", "-c", "-s"],
    "tcp_client_to_client": ["-t", "-y", "-c"],
    "tls": ["-t", "-S"], "tls_one_port": ["-t", "-S", "-c"],
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
    tls = "-S" in MODES[mode]
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
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        yield {(mode, creds): pool.submit(run_mode, relay, mode, creds)
               for creds, modes in (("rest", MODES), (PASSWORD, STATIC)) for mode in modes}


@pytest.mark.parametrize("mode", MODES)
def test_everything_is_relayed(runs, mode):
    assert_all_arrived(runs[mode, "rest"].result())


@pytest.mark.parametrize("mode", STATIC)
def test_static_users_are_relayed(runs, mode):
    assert_all_arrived(runs[mode, PASSWORD].result())


def test_large_datagrams_are_relayed(relay):
    assert_all_arrived(uclient(relay, "-c", "-l", "1400"))


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

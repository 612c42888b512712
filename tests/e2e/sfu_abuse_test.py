"""sori-sfu against bad peers and bad input: two talk while a third one misbehaves; limits, options, drain, sori-sfuctl,
the unit's system call filter. SPDX-License-Identifier: BSD-3-Clause"""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

import sandbox
from ctlclient import ALL, Ctl, Refused
from sfuscene import AUDIO, LEVEL_ID, MID_ID, VOICE_BYTES, Engine, Here, Sori, description
from soridaemon import BUILD, Daemon, free_port, metric

ROOT = os.environ["SORI_ROOT"]
UNIT = os.path.join(ROOT, "deploy", "systemd", "sori-sfu.service")
SFU, SFUCTL = os.path.join(BUILD, "sori-sfu"), os.path.join(BUILD, "sori-sfuctl")
SECRET = b"0123456789abcdef0123456789abcdef"
CONFIG = """[sfu]
listen = 127.0.0.1
port = {port}
threads = 1
{sfu}
[control]
listen = unix:@FOLDER@/control
socket = @FOLDER@/operator
secret_file = @FOLDER@/secret
[transport]
stun_per_s = 1000000
[limits]
{limits}
[admin]
listen = 127.0.0.1:{admin}
[log]
level = info
"""
EVIL = 3  # the engine's number of the one who misbehaves


class Call(Sori):
    """The daemon, the engine, and a room; Sori's join()."""

    def __init__(self, sfu="", limits="", prefix=()):
        self.port, self.admin = free_port(), free_port()
        self.daemon = Daemon("sori-sfu", CONFIG.format(port=self.port, admin=self.admin, sfu=sfu, limits=limits),
                             files={"secret": SECRET}, prefix=prefix)
        self.daemon.start()
        self.engine = Engine(Here, core=None)
        self.ctl = Ctl(f"unix:{self.daemon.folder}/control", SECRET)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.ctl.close()
        self.engine.close()
        if self.daemon.process.poll() is None:
            self.daemon.signal(signal.SIGINT)
        self.daemon.__exit__(*error)

    def talk(self, n, room="call", slots=2, tcp=False):
        """Client n talks and hears."""
        reply = self.join(room, n, [(AUDIO, 0, "sendonly", 1000 + n),
                                    *((AUDIO, 1 + i, "recvonly", None) for i in range(slots))], tcp=tcp)
        self.engine.wait_up([n])
        self.engine("pub", n, 1000 + n, AUDIO["pt"], 50, VOICE_BYTES, 1, f"mid={MID_ID}:0", f"level={LEVEL_ID}:20")
        return reply

    def three(self):
        for n in (1, 2, EVIL):
            self.talk(n)
        self.engine("report", "on")
        time.sleep(1)
        return self

    def unharmed(self, what, seconds=3):
        """Runs what() while 1 and 2 talk: they lose nothing."""
        self.engine("mark")
        began = time.monotonic()
        what()
        time.sleep(max(0, seconds - (time.monotonic() - began)))
        took = time.monotonic() - began
        for n in (1, 2):
            got = self.engine("stat", n)
            heard = [s for s in got["streams"] if s["pkts"] > 40 * took]
            assert heard and got["forged"] == 0, got
            assert all(s["want"] == s["pkts"] for s in got["streams"]), got["streams"]

    def dropped(self, reason, family="transport_dropped"):
        return metric(self.admin, f'sori_sfu_{family}_total{{reason="{reason}"}}')

    def rss_bytes(self):
        with open(f"/proc/{self.daemon.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def client_hello():
    """A DTLS 1.2 ClientHello: record, handshake header, version, random, no session, no cookie, one suite."""
    body = b"\xfe\xfd" + bytes(range(32)) + b"\0" + b"\0" + b"\0\x02\xc0\x2b" + b"\x01\0"
    handshake = b"\x01" + len(body).to_bytes(3, "big") + b"\0\0" + b"\0\0\0" + len(body).to_bytes(3, "big") + body
    return b"\x16\xfe\xfd" + b"\0" * 8 + len(handshake).to_bytes(2, "big") + handshake


def rtp(ssrc, seq, payload=b"evil", pt=111):
    return bytes([0x80, pt]) + seq.to_bytes(2, "big") + (seq * 960).to_bytes(4, "big") + ssrc.to_bytes(4, "big") + payload


def nack(media, first, n):
    """A generic NACK for n times 17 numbers."""
    fci = b"".join(((first - 17 * i) & 0xffff).to_bytes(2, "big") + b"\xff\xff" for i in range(n))
    return bytes([0x81, 205]) + (2 + n).to_bytes(2, "big") + (1).to_bytes(4, "big") + media.to_bytes(4, "big") + fci


def pli(media):
    return bytes([0x81, 206, 0, 2]) + (1).to_bytes(4, "big") + media.to_bytes(4, "big")


def flood(port, packets, per_s, seconds):
    """Sends them in turn from a socket that nobody knows; gives how many."""
    sent, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", port))
        while (now := time.monotonic() - began) < seconds:
            while sent < per_s * now:
                try:
                    s.send(packets[sent % len(packets)])
                except OSError:
                    pass
                sent += 1
            time.sleep(0.002)
    return sent


# --- while two others talk

def test_ten_thousand_client_hellos_a_second_of_strangers():
    with Call() as c:
        c.three()
        sent = []
        c.unharmed(lambda: sent.append(flood(c.port, [client_hello()], 10000, 3)))
        assert sent[0] > 15000 and c.dropped("stranger") > 0.9 * sent[0]


def test_client_hellos_of_a_participant_have_a_limit():
    with Call() as c:
        c.three()
        c.unharmed(lambda: [(c.engine("raw", EVIL, 500, client_hello().hex()), time.sleep(0.05)) for _ in range(40)])
        assert c.dropped("dtls_limit") > 10000


def test_strangers_that_send_anything():
    garbage = [os.urandom(n) for n in (1, 2, 11, 12, 13, 20, 100, 1200, 1500)] + [bytes(9000), b""]
    garbage += [bytes([first]) + os.urandom(60) for first in range(0, 256, 5)]
    garbage += [rtp(1001, n) for n in range(20)] + [b"\x16\xfe\xfd", client_hello()[:30]]
    garbage += [b"\0\x01\0\x08\x21\x12\xa4\x42" + os.urandom(12) + b"\0\x06\0\x04a:bc"]
    with Call() as c:
        c.three()
        c.unharmed(lambda: flood(c.port, garbage, 4000, 3))
        for reason in ("stranger", "first_byte", "stun_bad"):
            assert c.dropped(reason) > 100, reason


def test_forged_replayed_truncated_packets_and_foreign_ssrcs():
    with Call() as c:
        c.three()

        def misbehave():
            e = c.engine
            e("raw", EVIL, 1000, (rtp(5555, 7) + os.urandom(30)).hex())
            e("rtp", EVIL, 1000, rtp(5000, 9).hex())              # the same one, again and again
            for n in range(1, 29):
                e("raw", EVIL, 10, (rtp(1001, 9) + bytes(16))[:n].hex())
            for seq in range(100):
                e("rtp", EVIL, 1, rtp(1001, seq).hex())           # another one's SSRC: here it is just a number
            e("rtcp", EVIL, 100, (b"\x81\xc8\xff\xff\0\0\0\1" + os.urandom(40)).hex())
            e("raw", EVIL, 100, (b"\x81\xc8\0\x06" + os.urandom(40)).hex())
            for ssrc in range(6000, 6400):
                e("rtp", EVIL, 1, rtp(ssrc, 1).hex())
            e("rtp", EVIL, 50, (bytes([0xff, 111]) + os.urandom(100)).hex())

        c.unharmed(misbehave)
        assert c.dropped("rtp_forged") >= 1000
        assert c.dropped("rtp_replayed") >= 999
        assert c.dropped("rtp_bad") > 0
        assert c.dropped("rtp_ssrcs") + c.dropped("ssrc_limit", "dropped") + c.dropped("ssrc_unknown", "dropped") > 0
        assert c.dropped("rtcp_bad", "dropped") + c.dropped("rtcp_limit", "dropped") + c.dropped("rtcp_bad") > 0
        assert c.dropped("rtcp_forged") > 0


def test_nack_and_pli_storms_of_a_participant():
    with Call() as c:
        c.three()
        c.engine("mark")
        time.sleep(0.5)
        slots = [s["ssrc"] for s in c.engine("stat", EVIL)["streams"]]
        assert slots

        def storm():
            for round_ in range(60):
                for ssrc in slots:
                    c.engine("rtcp", EVIL, 20, nack(ssrc, round_ * 1000, 100).hex())
                    c.engine("rtcp", EVIL, 100, pli(ssrc).hex())
                time.sleep(0.03)

        c.engine("mark")
        c.unharmed(storm)
        got = c.engine("stat", EVIL)
        assert c.dropped("rtcp_limit", "dropped") > 1000
        assert got["pkts"] < 3000, got  # repeats have a budget
        assert c.engine("stat", 1)["pli"] + c.engine("stat", 2)["pli"] < 100


def test_a_receiver_by_tcp_that_reads_nothing_costs_bounded_memory():
    with Call() as c:
        c.three()
        for n in range(10, 16):
            c.talk(n, slots=6, tcp=True)
        time.sleep(1)
        before = c.rss_bytes()
        for n in range(10, 16):
            c.engine("cut", n, "on")
        c.unharmed(lambda: None, seconds=12)
        assert c.rss_bytes() - before < 6 << 20


# --- limits: their documented errors

def offer_of(c, n, sections):
    e = c.engine("add", n)
    return description(e["ufrag"], e["pwd"], c.engine.fingerprint, "actpass", sections)


def refused(c, n, room, sections, text=None):
    with pytest.raises(Refused) as e:
        c.ctl.request("join", room, f"p{n}", mode="single", perms=ALL, autoAudio=True, autoVideo=True,
                      offer=text or offer_of(c, n, sections), tracks=[])
    return e.value


def test_limits_have_their_errors():
    with Call(limits="rooms = 2\nparticipants_per_room = 2\ntracks_per_participant = 2\nslots_per_participant = 3\n"
                     "sdp_bytes = 8192") as c:
        talk, hear = (AUDIO, 0, "sendonly", 1), (AUDIO, 1, "recvonly", None)
        c.join("a", 1, [talk, hear])
        c.join("a", 2, [talk, hear])
        assert refused(c, 3, "a", [talk]).code == "full"
        c.join("b", 4, [talk])
        assert refused(c, 5, "c", [talk]).code == "full"
        more = c.join("b", 6, [(AUDIO, i, "sendonly", 10 + i) for i in range(3)]
                      + [(AUDIO, 3 + i, "recvonly", None) for i in range(4)])
        assert len(more["tracks"]) == 2 and len(more["slots"]) == 3  # what is too much is answered inactive
        assert more["answer"].count("a=inactive") == 2
        c.ctl.request("leave", "a", "p2")
        large = refused(c, 8, "a", [], offer_of(c, 9, [talk]) + "a=x:" + "y" * 9000 + "\r\n")
        assert large.code == "rejected" and len(str(large)) > 20
        assert refused(c, 10, "a", [], "v=0\r\n").code == "rejected"
        assert metric(c.admin, "sori_sfu_participants") == 3


def test_requests_about_nobody():
    with Call() as c:
        with pytest.raises(Refused, match="no_room"):
            c.ctl.request("mute", "nowhere", "p1", track="p1:0", muted=True)
        c.join("a", 1, [(AUDIO, 0, "sendonly", 1)])
        with pytest.raises(Refused, match="no_participant"):
            c.ctl.request("mute", "a", "p2", track="p2:0", muted=True)
        with pytest.raises(Refused, match="no_track"):
            c.ctl.request("mute", "a", "p1", track="p1:7", muted=True)
        with pytest.raises(Refused, match="unsupported"):
            c.ctl.request("levitate", "a", "p1")


def test_a_wrong_secret_and_bytes_that_are_no_message():
    with Call() as c:
        with pytest.raises(Refused, match="unauthorized"):
            Ctl(f"unix:{c.daemon.folder}/control", b"x" * 32)
        for junk in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x05{\"a\":"):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(os.path.join(c.daemon.folder, "control"))
                s.sendall(junk)
                while s.recv(4096):
                    pass
        c.talk(1)


# --- the command line

def run(*words, program=SFU):
    p = subprocess.run([program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
    return p.returncode, p.stdout.decode()


def test_options_and_exit_statuses(tmp_path):
    def config(text):
        path = tmp_path / "sfu.ini"
        path.write_text(text)
        return str(path)

    assert run("--version")[1].startswith("sori-sfu ") and run("--version")[0] == 0
    code, text = run("--help")
    assert code == 0 and "--check-config" in text
    code, text = run("--print-config")
    assert code == 0 and "[limits]" in text
    assert run("--check-config", "--config", config(text))[0] == 0
    assert run("--levitate")[0] == 64
    assert run("more")[0] == 64
    for bad, says in (("[sfu]\nport = 70000\n", "port"), ("[sfu]\nnonsense = 1\n", "nonsense"), ("x", "sfu.ini:1"),
                      ("[control]\nlisten = 127.0.0.1:9\n", "secret_file"), ("[audio]\ncodecs = mp3\n", "codecs")):
        for check in ((), ("--check-config",)):
            code, text = run(*check, "--config", config(bad))
            assert code == 78 and says in text, (bad, code, text)
    assert run("--config", str(tmp_path / "absent.ini"))[0] == 78
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        port = free_port()
        s.bind(("127.0.0.1", port))
        code, text = run("--config", config(f"[sfu]\nlisten = 127.0.0.1\nport = {port}\nthreads = 1\n"))
        assert code == 78 and str(port) in text, text


def test_sigterm_drains_and_a_second_one_ends_at_once():
    with Call() as c:
        c.talk(1)
        c.daemon.signal(signal.SIGTERM)
        c.ctl.wait("load", lambda e: e["draining"])
        with pytest.raises(Refused, match="draining"):
            c.join("other", 2, [(AUDIO, 0, "sendonly", 1)])
        c.talk(3)  # a room that is there goes on
        assert c.daemon.process.poll() is None
        for n in (1, 3):
            c.ctl.request("leave", "call", f"p{n}")
        assert c.daemon.process.wait(10) == 0
    with Call() as c:
        c.talk(1)
        c.daemon.signal(signal.SIGTERM)
        c.ctl.wait("load", lambda e: e["draining"])
        c.daemon.signal(signal.SIGTERM)
        assert c.daemon.process.wait(10) == 0
    with Call(sfu="drain_timeout = 1") as c:
        c.talk(1)
        began = time.monotonic()
        c.daemon.signal(signal.SIGTERM)
        assert c.daemon.process.wait(10) == 0 and time.monotonic() - began > 0.8


def test_sfuctl_shows_rooms_and_drains():
    with Call() as c:
        def ask(*words):
            code, text = run("--socket", os.path.join(c.daemon.folder, "operator"), *words, program=SFUCTL)
            return code, text

        c.three()
        code, text = ask("status")
        status = json.loads(text)
        assert code == 0 and status["participants"] == 3 and status["list"] == [
            {"server": "test", "room": "call", "worker": 0}]
        code, text = ask("room", "call")
        assert code == 0 and "p1" in text and json.loads(text)
        assert ask("room", "nowhere")[0] == 1
        assert ask("drain")[0] == 0 and json.loads(ask("status")[1])["draining"] is True
        with pytest.raises(Refused, match="draining"):
            c.join("other", 9, [(AUDIO, 0, "sendonly", 1)])
        assert ask("undrain")[0] == 0 and json.loads(ask("status")[1])["draining"] is False
        c.join("other", 10, [(AUDIO, 0, "sendonly", 1)])
        assert ask()[0] == 64 and ask("dance")[0] in (1, 64)
        assert run("--socket", "/nowhere", "status", program=SFUCTL)[0] == 69


def test_the_server_may_go_and_come_back():
    with Call(sfu="control_grace = 30") as c:
        c.three()
        path = f"unix:{c.daemon.folder}/control"

        def away():
            c.ctl.close()
            time.sleep(1)

        c.unharmed(away)
        threading.Event().wait(0.1)
        again = Ctl(path, SECRET)  # another epoch: it has no rooms
        assert again.welcome["resumed"] is False
        assert again.request("sync_end")["closed"] == 1
        c.ctl = again
        deadline = time.monotonic() + 5
        while metric(c.admin, "sori_sfu_rooms") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert metric(c.admin, "sori_sfu_rooms") == 0


def test_works_within_the_filter_of_its_unit():
    with Call(prefix=["/usr/bin/python3", sandbox.__file__, UNIT]) as c:
        c.three()
        c.talk(4, slots=3, tcp=True)
        c.unharmed(lambda: time.sleep(1))
        assert c.engine("stat", 4)["pkts"] > 50
        c.daemon.signal(signal.SIGUSR1)
        c.ctl.wait("load", lambda e: e["draining"])

"""Starts one of Sori's daemons for a test, waits until it is ready, stops it with a deadline.

    with Daemon("sori-turn", "[turn]\nlisten_udp = 127.0.0.1:3478\n...") as d:
        ...
        d.wait_log("allocation ended")

SORI_BUILD names the folder of the binaries (build/gcc). A daemon that does not get ready, ends by
itself, does not stop in time, exits with an error or prints a sanitizer's report fails the test.
SPDX-License-Identifier: BSD-3-Clause
"""
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SORI_BUILD", "build/gcc"))
SANITIZER = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:)")


# Below what the kernel gives to clients (32768 and up) and what relays use: a port that was handed
# out is nobody else's until its daemon has it. Each is handed out once.
_ports = itertools.cycle(range(20000, 32000))
for _ in range(os.getpid() * 7 % 12000):
    next(_ports)


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """A port that nobody uses now, for both UDP and TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(1000):
        port = next(_ports)
        try:
            with socket.socket(family, kind) as a, socket.socket(
                    family, socket.SOCK_DGRAM if kind == socket.SOCK_STREAM else socket.SOCK_STREAM) as b:
                a.bind((host, port))
                b.bind((host, port))
            return port
        except OSError:
            continue
    raise RuntimeError("no free port")


def wait_udp(port, timeout_s=5):
    """Waits until somebody of this network namespace has bound this UDP port."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for table in ("/proc/net/udp", "/proc/net/udp6"):
            with open(table, encoding="ascii") as f:
                if any(line.split()[1].endswith(f":{port:04X}") for line in f.readlines()[1:]):
                    return
        time.sleep(0.01)
    raise AssertionError(f"nobody has bound UDP port {port}")


def make_cert(folder, host="127.0.0.1"):
    """A self-signed ECDSA P-256 certificate; gives (certificate, key) paths."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=sori test", "-addext", f"subjectAltName=IP:{host}",
         "-keyout", key, "-out", cert],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(key, 0o600)
    return cert, key


def make_signed_cert(folder, name):
    """The same for a host name, signed by an authority of its own; gives the path of the authority's
    certificate."""
    cert, key = make_cert(folder)
    ca, ca_key, request = (os.path.join(folder, n) for n in ("ca.pem", "ca.key", "request.pem"))

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
            "2", "-subj", "/CN=sori test authority", "-keyout", ca_key, "-out", ca)
    openssl("req", "-new", "-key", key, "-subj", "/CN=sori test", "-addext",
            f"subjectAltName=DNS:{name}", "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days",
            "2", "-copy_extensions", "copy", "-out", cert)
    return ca


def metric(port, name):
    """The value of a counter or gauge (with its labels, as in the text) on the admin listener."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as r:
        text = r.read().decode()
    found = re.search(rf"^{re.escape(name)} (\d+)", text, re.M)
    assert found, text
    return int(found.group(1))


class Daemon:
    """One running daemon; its folder holds the configuration and whatever add_file() wrote."""

    def __init__(self, name, config="", *, files=None, ready=r"\bis ready\b", args=(), env=None,
                 start_s=15, stop_s=15, build=None, prefix=(), pass_fds=()):
        self.name, self.ready = name, re.compile(ready)
        self.start_s, self.stop_s = start_s, stop_s
        self.binary = os.path.join(build or BUILD, name)
        self.args, self.prefix, self.pass_fds = list(args), list(prefix), pass_fds
        self.env = dict(os.environ, **(env or {}))
        self.folder = tempfile.mkdtemp(prefix=name + "-")
        self.lines, self._news, self.process = [], threading.Condition(), None
        for file_name, text in (files or {}).items():
            self.add_file(file_name, text)
        self.config = self.add_file("daemon.ini", config.replace("@FOLDER@", self.folder))

    def add_file(self, name, text):
        """Writes (or replaces) a file that only its owner can read; "@FOLDER@" in the configuration
        stands for its folder. Gives its path."""
        path = os.path.join(self.folder, name)
        with open(path, "wb" if isinstance(text, bytes) else "w",
                  opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            f.write(text)
        return path

    def start(self):
        self.process = subprocess.Popen(
            [*self.prefix, self.binary, "--config", self.config, *self.args], env=self.env,
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_log(self.ready, self.start_s)
        return self

    def _read(self):
        for raw in self.process.stdout:
            with self._news:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append(None)
            self._news.notify_all()

    def wait_log(self, pattern, timeout_s=10, since=0):
        """Waits for a line that matches and gives it; fails when the daemon ends or time is up."""
        pattern = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        with self._news:
            at = since
            while True:
                while at < len(self.lines):
                    line = self.lines[at]
                    if line is None:
                        raise AssertionError(
                            f"{self.name} ended ({self.process.wait(5)}):\n{self.log()}")
                    if pattern.search(line):
                        return line
                    at += 1
                if not self._news.wait(max(0, deadline - time.monotonic())):
                    raise AssertionError(
                        f"{self.name}: no line /{pattern.pattern}/ in {timeout_s} s:\n{self.log()}")

    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    def signal(self, number=signal.SIGHUP):
        self.process.send_signal(number)

    @property
    def pid(self):
        return self.process.pid

    def stop(self, expect=0):
        """Ends it by SIGINT (sori-turn drains on SIGTERM); fails on a late or wrong exit and on
        sanitizer output."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not stop in {self.stop_s} s:\n{self.log()}")
        finally:
            self._reader.join(5)
            self.process.stdout.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        text = self.log()
        self.process = None
        if SANITIZER.search(text):
            raise AssertionError(f"{self.name}: sanitizer report:\n{text}")
        if code != expect:
            raise AssertionError(f"{self.name} exited with {code}, not {expect}:\n{text}")

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            print(self.log())
            self.kill()

    def kill(self):
        """Ends it at once, without judging."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._reader.join(5)
            self.process.stdout.close()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)


def run_to_exit(name, args, *, build=None, timeout_s=15):
    """Runs a daemon that is expected to end by itself; gives (exit status, output)."""
    p = subprocess.run([os.path.join(build or BUILD, name), *args], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s)
    return p.returncode, p.stdout.decode("utf-8", "replace")

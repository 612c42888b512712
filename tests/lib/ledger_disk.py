"""The ledger's driver on a small file system of its own, which fills up or can't be written for a while.

    unshare -m python3 ledger_disk.py full|read_only DRIVER DIRECTORY

Prints what happened as one JSON object. SPDX-License-Identifier: BSD-3-Clause
"""
import json
import os
import re
import select
import sqlite3
import subprocess
import sys
import time

SCENE, DRIVER, DIR = sys.argv[1:4]
FILE = os.path.join(DIR, "ledger.db")


def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", DIR], check=True)


def remount(how):
    subprocess.run(["mount", "-o", f"remount,{how}", DIR], check=True)


class Driver:
    def __init__(self):
        self.p = subprocess.Popen([DRIVER, "watch", FILE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.lines, self.rest = [], b""

    def read(self, seconds):
        """Reads for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.p.stdout], [], [], left)[0]:
                self.take(os.read(self.p.stdout.fileno(), 65536))

    def take(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.lines += [line.decode() for line in lines]

    def wait(self, wanted, seconds=20):
        """Reads until a line is there that was not read before."""
        start = len(self.lines)
        until = time.monotonic() + seconds
        while wanted not in self.lines[start:]:
            if time.monotonic() > until or self.p.poll() is not None:
                raise SystemExit(f"no '{wanted}': {self.lines[-5:]} {self.p.poll()}")
            self.read(0.05)

    def end(self):
        self.p.stdin.close()
        self.take(self.p.stdout.read() + b"\n")
        log = self.p.stderr.read().decode()
        return self.p.wait(20), log


def acked(lines):
    return {int(line.split()[1]) for line in lines if line.startswith("ack ")}


def stored():
    db = sqlite3.connect(FILE)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = db.execute("SELECT call_id FROM cdr c WHERE (SELECT COUNT(*) FROM cdr_party p"
                      " WHERE p.call_id=c.call_id)=2").fetchall()
    db.close()
    return {int.from_bytes(r[0][8:], "big") for r in rows}


def full():
    mount("size=48m")
    d = Driver()
    d.wait("health ok")
    d.read(0.3)
    filler = open(os.path.join(DIR, "filler"), "wb", buffering=0)
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
    mark = len(d.lines)
    d.wait("health disk_full")
    d.read(1.5)
    during = d.lines[mark:]
    os.unlink(filler.name)
    filler.close()
    d.wait("health ok")
    d.read(0.5)
    return d, during


def read_only():
    mount("size=64m")
    subprocess.run([DRIVER, "open", FILE], check=True, stdout=subprocess.DEVNULL)
    remount("ro")
    d = Driver()
    d.wait("health read_only")
    d.read(1)
    during = list(d.lines)
    remount("rw")
    d.wait("health ok", 30)
    d.read(0.5)
    return d, during


driver, during = {"full": full, "read_only": read_only}[SCENE]()
code, log = driver.end()
end = driver.lines[-1] if driver.lines[-1] else driver.lines[-2]
numbers = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", end)}
there = stored()
print(json.dumps({
    "code": code, "log": log, **numbers, "lost": len(acked(driver.lines) - there), "stored": len(there),
    "acked_during": len(acked(during)),
    "failed": sum(line.startswith("fail") for line in driver.lines),
    "requests_during": [list(map(int, line.split()[1:])) for line in during if line.startswith("request")],
}))

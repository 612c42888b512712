"""Runs a program under the system call filter of a systemd unit, where no systemd runs.

    python3 sandbox.py UNIT PROGRAM ARG...

Understands SystemCallFilter= (systemd-analyze knows the sets), RestrictAddressFamilies= and
SystemCallErrorNumber=. Python itself runs under the filter for the last exec: execve is allowed.
SPDX-License-Identifier: BSD-3-Clause
"""
import ctypes
import errno
import os
import re
import socket
import subprocess
import sys

KILL_PROCESS, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
NE, EQ = 1, 4  # comparisons of libseccomp


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def options(unit, name):
    with open(unit, encoding="utf-8") as f:
        return re.findall(rf"^{name}=(.*)$", f.read(), re.M)


def members(name):
    """The system calls of a set, sets in it included."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    words = [line.strip() for line in text.splitlines()[1:] if line.startswith(" ")]
    found = set()
    for word in words:
        if word and not word.startswith("#"):
            found |= members(word)
    return found


def allowed(unit):
    calls = members("@default") | {"execve"}
    for line in options(unit, "SystemCallFilter"):
        names = set().union(*(members(n) for n in line.lstrip("~").split()))
        calls = calls - names if line.startswith("~") else calls | names
    return calls | {"execve"}


def load(unit):
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    numbers = options(unit, "SystemCallErrorNumber")
    refuse = ERRNO | getattr(errno, numbers[-1]) if numbers else KILL_PROCESS
    ctx = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(refuse)))
    for name in sorted(allowed(unit) - {"socket"}):
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert lib.seccomp_rule_add_array(ctx, ctypes.c_uint32(ALLOW), number, 0, None) == 0, name
    call = lib.seccomp_syscall_resolve_name(b"socket")
    families = {int(getattr(socket, n)) for line in options(unit, "RestrictAddressFamilies") for n in line.split()}
    for family in range(1, 46):
        rule = Comparison(0, EQ, family, 0)
        verdict = ALLOW if family in families else ERRNO | errno.EAFNOSUPPORT
        assert lib.seccomp_rule_add_array(ctx, ctypes.c_uint32(verdict), call, 1, ctypes.byref(rule)) == 0
    assert lib.seccomp_load(ctx) == 0


if __name__ == "__main__":
    # The leak sanitizer looks at the process from outside, which no unit allows.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    load(sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])

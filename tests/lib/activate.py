"""Starts a program with sockets that are open already, as systemd's socket units do (LISTEN_FDS).

    python3 activate.py FD,FD,... PROGRAM ARG...      each a descriptor that was passed on to this one

SPDX-License-Identifier: BSD-3-Clause
"""
import os
import sys

FIRST = 3

if __name__ == "__main__":
    away = [os.dup2(int(fd), 100 + i) for i, fd in enumerate(sys.argv[1].split(","))]
    for i, fd in enumerate(away):
        os.dup2(fd, FIRST + i)
    os.closerange(FIRST + len(away), 1000)
    os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(len(away))
    os.execv(sys.argv[2], sys.argv[2:])

"""PostgreSQL of Debian for tests, in a folder of its own, on a Unix socket (and, if wanted, a port with TLS).
SPDX-License-Identifier: BSD-3-Clause
"""
import os
import shutil
import signal
import subprocess
import tempfile

ROOT = os.environ["SORI_ROOT"]
SCRIPT = os.path.join(ROOT, "tests", "lib", "postgres.sh")


class Postgres:
    """with Postgres() as pg: pg.sql("SELECT 1")"""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="pg-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.options, self.process = options, None
        self.where = f"host={self.folder} user=sori dbname=sori"

    def start(self):
        self.process = subprocess.Popen([SCRIPT, "run", self.folder, *self.options], stdin=subprocess.DEVNULL)
        subprocess.run([SCRIPT, "wait", self.folder], check=True, timeout=60)
        return self

    def stop(self, number=signal.SIGINT):
        if self.process:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def sql(self, text, database="sori"):
        run = subprocess.run(["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-U", "sori", database,
                              "-c", text], capture_output=True, text=True, timeout=30, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def __enter__(self):
        try:
            self.start()
            self.sql("CREATE DATABASE sori", "postgres")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

"""PostgreSQL of Debian for tests, in a folder of its own, on a Unix socket (and, if wanted, a port with TLS).
SPDX-License-Identifier: BSD-3-Clause
"""
import os
import shutil
import signal
import subprocess
import tempfile

ROOT = os.environ["SORI_ROOT"]
SCRIPT = os.path.join(ROOT, "deploy", "dev", "postgres.sh")


class Psql:
    """One psql for many questions: a process for each would cost more than most of them."""

    END = "-- end of answer --"

    def __init__(self, where):
        self.process = subprocess.Popen(["psql", "-qAtX", "-v", "ON_ERROR_STOP=0", where], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(self, text):
        self.process.stdin.write(f"{text};\n\\echo {self.END}\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == self.END:
                out = "\n".join(lines)
                assert "ERROR:" not in out and "FATAL:" not in out, out
                return out
            lines.append(line.rstrip("\n"))
        raise AssertionError("psql: " + "\n".join(lines))

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Database:
    """One of a cluster: db.sql("SELECT 1"); where is its connection string."""

    def __init__(self, postgres, name, make=True):
        self.postgres, self.name, self.psql = postgres, name, None
        self.where = f"host={postgres.folder} user=sori dbname={name}"
        if make:
            self.make()

    def make(self):
        self.postgres.sql(f"CREATE DATABASE {self.name}")

    def sql(self, text):
        if not self.psql:
            self.psql = Psql(self.where)
        return self.psql.ask(text)

    def hang_up(self):
        if self.psql:
            self.psql.close()
        self.psql = None


class Postgres:
    """with Postgres() as pg: pg.database().sql("SELECT 1")"""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="pg-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.options, self.process, self.databases = options, None, []
        self.root = Database(self, "postgres", make=False)

    def database(self, make=True):
        """A new one; with make=False only its name."""
        self.databases.append(Database(self, f"sori{len(self.databases)}", make))
        return self.databases[-1]

    def copy(self, *options):
        """A standby of this one, which is running."""
        other = Postgres(*options)
        try:
            subprocess.run([SCRIPT, "copy", other.folder, self.folder], check=True, timeout=60)
            return other.start()
        except BaseException:
            other.__exit__()
            raise

    def start(self):
        self.process = subprocess.Popen([SCRIPT, "run", self.folder, *self.options], stdin=subprocess.DEVNULL)
        subprocess.run([SCRIPT, "wait", self.folder], check=True, timeout=60)
        return self

    def stop(self, number=signal.SIGINT):
        for d in (self.root, *self.databases):
            d.hang_up()
        if self.process:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def sql(self, text):
        return self.root.sql(text)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

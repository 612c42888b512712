"""tests/lib/presence_conform, and configurations for it. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import os
import shutil
import subprocess
import tempfile

import pytest

CONFORM = os.path.join(os.environ["SORI_BUILD"], "tests/lib/presence_conform")


folders = []


@pytest.fixture(autouse=True)
def clean():
    yield
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)


def new_folder():
    folders.append(tempfile.mkdtemp(prefix="presence-"))
    return folders[-1]


def ini(where, more=""):
    folder = new_folder()
    for name, text in (("secret", "0123456789abcdef0123456789abcdef"), ("password", "open sesame")):
        with open(os.path.join(folder, name), "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text)
    path = os.path.join(folder, "server.ini")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"""[server]
listen_tls =
listen_clear = 127.0.0.1:0
[auth]
hs256_secret_file = {folder}/secret
[redis]
{where}
timeout = 300
lease = 1
{more.replace("@FOLDER@", folder)}
""")
    return path


def conforms(*words):
    p = subprocess.run([CONFORM, *words], capture_output=True, text=True, timeout=60, check=False)
    assert p.returncode == 0, p.stdout + p.stderr
    print(p.stdout)


@contextlib.contextmanager
def conforming(*words):
    """The program, which must have said that it is ready and must end well."""
    with subprocess.Popen([CONFORM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        def go_on():
            p.stdin.write("\n")
            p.stdin.flush()
        try:
            assert p.stdout.readline() == "ready\n"
            yield p, go_on
            rest = p.stdout.read()
            assert p.wait(60) == 0, rest
            print(rest)
        finally:
            p.kill()

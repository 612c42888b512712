"""make install and the Debian package, into roots of their own. SPDX-License-Identifier: BSD-3-Clause
"""
import glob
import os
import re
import stat
import subprocess

import pytest

from soridaemon import BUILD

ROOT = os.environ["SORI_ROOT"]
PROGRAMS = ["sori-ledger", "sori-report", "sori-server", "sori-sfu", "sori-sfuctl", "sori-turn", "sori-turnctl", "sorictl"]
INIS = ["report.ini", "server.ini", "sfu.ini", "turn.ini"]


def make(*words):
    """With what this build was made, so that nothing is compiled anew."""
    compiler, _, sanitizers = os.path.basename(BUILD).partition("-")
    p = subprocess.run(["make", "-C", ROOT, f"BUILD={os.path.relpath(BUILD, ROOT)}", f"CC={compiler}",
                        f"SAN={os.environ.get('SAN') or sanitizers.replace('-', ',')}", *words],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                       check=False)
    assert p.returncode == 0, p.stdout.decode()
    return p.stdout.decode()


def run(*words, expect=0, **kw):
    p = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=120, check=False, **kw)
    assert p.returncode == expect, p.stdout.decode()
    return p.stdout.decode()


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def check_tree(root, prefix, units):
    bin_dir = f"{root}{prefix}/bin"
    assert sorted(os.listdir(bin_dir)) == PROGRAMS
    for program in PROGRAMS:
        assert mode(f"{bin_dir}/{program}") == 0o755
        assert program in run(f"{bin_dir}/{program}", "--version")
    assert sorted(f for f in os.listdir(f"{root}/etc/sori") if f.endswith(".ini")) == INIS
    for daemon in ("server", "turn", "sfu"):
        assert mode(f"{root}/etc/sori/{daemon}.secrets") == 0o700
    for unit in glob.glob(f"{ROOT}/deploy/systemd/*"):
        with open(f"{root}{units}/{os.path.basename(unit)}", encoding="utf-8") as f:
            for program in re.findall(r"^ExecStart=(\S+)", f.read(), re.M):
                assert program.startswith(f"{prefix}/bin/") and os.path.exists(root + program)
    for file in ("sysctl/60-sori.conf", "prometheus/sori.rules.yml", "grafana/sori.json"):
        assert os.path.exists(f"{root}{prefix}/share/sori/{file}")


def test_install_into_a_root_and_again(tmp_path):
    root = str(tmp_path)
    make("install", f"DESTDIR={root}")
    check_tree(root, "/usr/local", "/usr/local/lib/systemd/system")
    own = tmp_path / "etc/sori/server.ini"
    own.write_text("; mine\n")
    make("install", f"DESTDIR={root}", "PREFIX=/opt/sori")
    check_tree(root, "/opt/sori", "/opt/sori/lib/systemd/system")
    assert own.read_text() == "; mine\n"


@pytest.fixture(scope="module")
def deb():
    make("deb")
    (made,) = glob.glob(f"{BUILD}/sori_*.deb")
    return made


def test_package_holds_the_same(deb, tmp_path):
    run("dpkg-deb", "--extract", deb, str(tmp_path))
    check_tree(str(tmp_path), "/usr", "/lib/systemd/system")
    control = run("dpkg-deb", "--field", deb)
    for library in ("libc6", "libevent-2.1", "libssl3", "libmicrohttpd", "libsqlite3"):
        assert library in control
    run("dpkg-deb", "--control", deb, str(tmp_path / "control"))
    conffiles = (tmp_path / "control/conffiles").read_text().split()
    assert conffiles == [f"/etc/sori/{ini}" for ini in INIS]
    run("md5sum", "--check", "--quiet", str(tmp_path / "control/md5sums"), cwd=tmp_path)


def test_package_is_installed_upgraded_and_purged(deb, tmp_path):
    admin = tmp_path / "var/lib/dpkg"
    (admin / "updates").mkdir(parents=True)
    (admin / "status").touch()
    dpkg = ["dpkg", f"--root={tmp_path}", "--force-depends", "--force-script-chrootless", "--force-not-root",
            "--force-bad-path", f"--log={tmp_path}/log"]
    run(*dpkg, "--install", deb)
    check_tree(str(tmp_path), "/usr", "/lib/systemd/system")
    own, secret = tmp_path / "etc/sori/turn.ini", tmp_path / "etc/sori/turn.secrets/turn.secret"
    own.write_text("; mine\n")
    secret.write_text("x")
    run(*dpkg, "--force-confold", "--install", deb)
    assert own.read_text() == "; mine\n"
    run(*dpkg, "--remove", "sori")
    assert own.exists() and not (tmp_path / "usr/bin/sori-turn").exists()
    run(*dpkg, "--purge", "sori")
    assert not own.exists() and secret.exists()


def test_lintian_has_no_error(deb):
    said = run("lintian", "--allow-root", "--no-cfg", "--fail-on", "error", deb)
    assert not re.search(r"^E: ", said, re.M), said

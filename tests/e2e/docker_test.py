"""deploy/docker without an engine: what the files name is there, images hold what their programs need, and
daemons start, and are healthy, with the configuration and the limits of compose.yaml.

SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import os
import re
import subprocess
import time

import pytest
import yaml

from soridaemon import BUILD, Daemon, free_port

ROOT = os.environ["SORI_ROOT"]
DOCKER = os.path.join(ROOT, "deploy/docker")
DAEMONS = ["sori-server", "sori-turn", "sori-sfu"]


def read(path):
    with open(os.path.join(DOCKER, path), encoding="utf-8") as f:
        return f.read()


def stages():
    """{name: [(instruction, rest)]} of the Dockerfile, in its order."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.M))
    found, lines = {"": []}, []
    for line in filter(None, map(str.strip, text.split("\n"))):
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            lines = found[name] = [("FROM", base)]
        else:
            (lines if lines else found[""]).append((word, rest))
    return found


def instructions(name):
    """Those of a stage, behind those of the stage it is built from."""
    own = stages()[name]
    base = own[0][1]
    return (instructions(base) if base in stages() else []) + own


def packages(name):
    return {word for kind, rest in instructions(name) if kind == "RUN"
            for part in re.findall(r"install -y --no-install-recommends (.*?)(?:&&|$)", rest) for word in part.split()}


def compose():
    return yaml.safe_load(read("compose.yaml"))


def output(*words):
    return subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=30).stdout.decode()


def test_what_is_copied_is_there_and_let_through():
    ignored = read("Dockerfile.dockerignore").split("\n")
    for kind, rest in stages()["build"]:
        if kind == "COPY":
            for source in rest.split()[:-1]:
                assert os.path.exists(os.path.join(ROOT, source)) and f"!{source}" in ignored, source


def test_images_take_installed_files_only():
    script = output("make", "-C", ROOT, "-n", "install", f"BUILD={os.path.relpath(BUILD, ROOT)}")
    programs, inis = (set(re.search(rf"^for {letter} in (.*?);", script, re.M).group(1).split()) for letter in "bf")
    installed = {f"/out/usr/bin/{p}" for p in programs} | {f"/out/etc/sori/{i}.ini" for i in inis}
    copied = {source for name in DAEMONS for kind, rest in stages()[name] if kind == "COPY" for source in rest.split()[1:-1]}
    assert copied == installed


@pytest.mark.parametrize("name", DAEMONS)
def test_image_is_no_roots_and_watched(name):
    last = {}
    for kind, rest in instructions(name):
        last[kind] = rest
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"].startswith(f'["/usr/bin/{name}", "--config", "/etc/sori/')
    assert re.search(r'CMD \["/usr/bin/(sorictl|sori-turnctl|sori-sfuctl)", "--socket", "/run/sori/control", "status"\]',
                     last["HEALTHCHECK"])


def owners(paths):
    """The Debian packages of libraries; merged /usr has two names for each."""
    names = {n: p for p in paths for q in (p, os.path.realpath(p)) for n in (q, q.removeprefix("/usr"))}
    p = subprocess.run(["dpkg-query", "-S", *names], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = {names[path]: package.split(":")[0] for package, path in
             (line.rsplit(": ", 1) for line in p.stdout.decode().splitlines())}
    assert set(found) == set(paths), set(paths) - set(found)
    return set(found.values())


@pytest.mark.parametrize("name", DAEMONS)
def test_image_has_the_libraries_that_its_program_needs(name):
    """Of the program as it was built here, but for sanitizers, and for libbpf, which images go without."""
    program = os.path.join(BUILD, name)
    where = dict(re.findall(r"(\S+) => (/\S+)", output("ldd", program)))
    needed = re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", program))
    libraries = {where[n] for n in needed if n in where and not re.match(r"lib(asan|ubsan|tsan|gcc_s|stdc|bpf)", n)}
    assert owners(libraries) - {"libc6"} <= packages(name)


def test_build_stage_has_what_the_build_wants():
    with open(os.path.join(ROOT, "deploy/deps.sh"), encoding="utf-8") as f:
        wanted = set(re.search(r'^build="([^"]*)"', f.read(), re.M).group(1).split())
    # No openssl command and no python3 is needed to compile; libc6-dev comes with gcc's recommends.
    assert packages("build") == wanted - {"openssl", "python3"} | {"libc6-dev"}


def test_services_are_shut_in():
    services = compose()["services"]
    assert {"sori-server", "sori-turn", "sori-sfu", "redis", "postgres", "prometheus", "grafana"} == set(services)
    for name, s in services.items():
        assert s["cap_drop"] == ["ALL"] and s["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in s and s["network_mode"] == "host"
        assert not s["image"].endswith(":latest") and ":" in s["image"]
        assert name in DAEMONS or "healthcheck" in s
        if name in DAEMONS:
            assert s["read_only"] and s["build"]["target"] == name


def test_files_and_secrets_that_services_use_are_there():
    everything = compose()
    made = set(re.search(r"for name in (.*?);", read("secrets.sh")).group(1).split())
    assert {f"{n}.secret" for n in made} == set(everything["secrets"])
    for name, s in everything["services"].items():
        for volume in s.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert os.path.exists(os.path.join(DOCKER, source)), source
            else:
                assert source in everything["volumes"]
        for secret in s.get("secrets", []):
            assert secret in everything["secrets"]
        if name in DAEMONS:
            text = read(f"conf/{name.removeprefix('sori-')}.ini")
            assert set(re.findall(r"/run/secrets/(\S+)", text)) == set(s["secrets"])
    board = yaml.safe_load(read("grafana/boards.yaml"))["providers"][0]["options"]["path"]
    assert any(v.split(":")[1] == board for v in everything["services"]["grafana"]["volumes"])


def test_prometheus_finds_what_the_daemons_listen_on():
    with open(os.path.join(ROOT, "deploy/prometheus/prometheus.yml"), encoding="utf-8") as f:
        jobs = {j["job_name"]: j["static_configs"][0]["targets"] for j in yaml.safe_load(f)["scrape_configs"]}
    for name in DAEMONS:
        at = re.search(r"\[admin\]\nlisten = (\S+)", read(f"conf/{name.removeprefix('sori-')}.ini")).group(1)
        assert jobs[name] == [at]


@contextlib.contextmanager
def as_in_compose(name):
    """The daemon with its configuration of compose.yaml, whose fixed paths are of a folder here."""
    text = read(f"conf/{name.removeprefix('sori-')}.ini")
    for place in ("/run/secrets", "/run/sori", "/var/lib/sori"):
        text = text.replace(place, "@FOLDER@")
    for port in sorted(set(re.findall(r":(\d{4})\b", text))):
        text = text.replace(f":{port}", f":{free_port()}")
    files = {s: os.urandom(32).hex() + "\n" for s in compose()["services"][name]["secrets"]}
    with Daemon(name, text, files=files, prefix=["setpriv", "--no-new-privs", "--bounding-set=-all"]) as d:
        yield d


@pytest.mark.parametrize("name", DAEMONS)
def test_starts_and_is_healthy_without_any_privilege(name):
    check = re.search(r'CMD \["/usr/bin/(\S+)"', dict(stages()[name])["HEALTHCHECK"]).group(1)
    with as_in_compose(name) as d:
        words = [os.path.join(BUILD, check), "--socket", os.path.join(d.folder, "control"), "status"]
        deadline = time.monotonic() + 10
        while subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10,
                             check=False).returncode != 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)

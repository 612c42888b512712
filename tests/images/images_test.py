"""The images of deploy/docker and the Debian package, built and run for real: make test-images.

The base is made by debootstrap, since no registry of images may be within reach; buildah builds in a chroot and
podman runs each service as compose.yaml says, in a network of its own. Root only, and it takes minutes, so it is
no part of make test, which has tests/e2e/docker_test.py. SPDX-License-Identifier: BSD-3-Clause
"""
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time

import pytest
import yaml

ROOT = os.environ["SORI_ROOT"]
DOCKER = os.path.join(ROOT, "deploy/docker")
WORK = os.path.join(ROOT, "build/images")
BASE = os.path.join(WORK, "base")
ARCHIVE = os.environ.get("SORI_ARCHIVE", "http://deb.debian.org/debian")
DAEMONS = ["sori-server", "sori-turn", "sori-sfu"]
USER = 10001
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
# podman raises both, which takes a privilege that root of a sandbox may lack.
LIMITS = [f"--ulimit=nofile={FILES}:{FILES}", "--ulimit=nproc=4096:4096"]

with open(os.path.join(DOCKER, "compose.yaml"), encoding="utf-8") as compose:
    SERVICES = yaml.safe_load(compose)["services"]


def run(*words, limit=1500, **kw):
    p = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=limit, check=False, **kw)
    assert p.returncode == 0, p.stdout.decode("utf-8", "replace")[-4000:]
    return p.stdout.decode()


def fails(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          timeout=60, check=False).returncode != 0


@pytest.fixture(scope="session")
def store():
    """Options of buildah and podman. Layers are copied (vfs) where the file system bears no overlay."""
    layers = os.path.join(WORK, "try")
    for name in ("low", "up", "work", "all"):
        os.makedirs(f"{layers}/{name}", exist_ok=True)
    mount = f"mount -t overlay -o lowerdir={layers}/low,upperdir={layers}/up,workdir={layers}/work try {layers}/all"
    driver = "vfs" if fails("unshare", "-m", "sh", "-c", mount) else "overlay"
    shutil.rmtree(layers)
    return ["--root", f"{WORK}/{driver}", "--runroot", f"{WORK}/run-{driver}", "--storage-driver", driver]


@pytest.fixture(scope="session")
def base(store):
    if not os.path.exists(f"{BASE}/etc/debian_version"):
        shutil.rmtree(BASE, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "bookworm", BASE, ARCHIVE)
        shutil.rmtree(f"{BASE}/var/cache/apt")
    if not fails("buildah", *store, "inspect", "--type", "image", "localhost/sori-base"):
        return "localhost/sori-base"
    name = run("buildah", *store, "from", "scratch").split()[-1]
    run("buildah", *store, "copy", "-q", name, BASE, "/")
    run("buildah", *store, "commit", "-q", "--rm", name, "localhost/sori-base")
    return "localhost/sori-base"


@pytest.fixture(scope="session", params=DAEMONS)
def image(request, base, store):
    name = request.param
    run("buildah", *store, "build", "--isolation", "chroot", "--layers", "--format", "docker",
        "--ignorefile", "deploy/docker/Dockerfile.dockerignore", "--build-arg", f"BASE={base}", "--target", name,
        "-f", "deploy/docker/Dockerfile", "-t", f"localhost/{SERVICES[name]['image']}", ".", cwd=ROOT)
    return name


def as_composed(name, folder):
    """Words for podman run that do what compose.yaml asks an engine for."""
    service = SERVICES[name]
    words = ["--network", "host", *[f"--cap-drop={c}" for c in service["cap_drop"]],
             *[f"--security-opt={o.split(':')[0]}" for o in service["security_opt"]]]
    if service["read_only"]:
        words += ["--read-only", "--read-only-tmpfs=false"]
    # podman takes owner and mode of a tmpfs from the image's folder, docker from options.
    words += [f"--tmpfs={t.split(':')[0]}" for t in service["tmpfs"]]
    for volume in service["volumes"]:
        source, where = volume.split(":", 1)
        if source.startswith("."):
            source = os.path.join(DOCKER, source)
        words.append(f"--volume={source}:{where}")
    for secret in service["secrets"]:
        path = folder / secret
        path.write_text(os.urandom(32).hex() + "\n")
        path.chmod(0o400)
        os.chown(path, USER, USER)
        words.append(f"--volume={path}:/run/secrets/{secret}:ro")
    return words


@pytest.fixture
def service(image, store, tmp_path):
    """The running service: podman with a container's name, and that container's process.

    Health checks are asked for here: podman leaves that to systemd, which may be missing."""
    podman = ["podman", *store, "--cgroup-manager", "cgroupfs", "--runtime", "crun"]
    name = f"{image}-test"
    words = [*podman, "run", "--name", name, "--cgroups=disabled", "--pull=never", *LIMITS,
             *as_composed(image, tmp_path), f"localhost/{SERVICES[image]['image']}"]
    with open(tmp_path / "log", "wb") as log:
        engine = subprocess.Popen(["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while fails(*podman, "healthcheck", "run", name):
            assert engine.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield podman, name, int(run(*podman, "inspect", "--format", "{{.State.Pid}}", name).split()[-1]), engine
    finally:
        with contextlib.suppress(AssertionError):
            run(*podman, "rm", "--force", "--time", "0", name)
            run(*podman, "volume", "prune", "--force")
        engine.wait(60)


def test_image_says_how_it_runs(image, store):
    config = json.loads(run("buildah", *store, "inspect", "--type", "image",
                            f"localhost/{SERVICES[image]['image']}"))["Docker"]["config"]
    assert config["User"] == f"{USER}:{USER}" and config["Entrypoint"][0] == f"/usr/bin/{image}"
    assert config["Healthcheck"]["Test"][0] == "CMD" and config["Healthcheck"]["Interval"] == 10_000_000_000
    assert config["StopSignal"] == "SIGTERM"


def test_service_is_healthy_and_stops_when_told(service):
    """Healthy: the fixture saw to that."""
    podman, name, pid, engine = service
    os.kill(pid, signal.SIGSTOP)
    assert fails(*podman, "healthcheck", "run", name)
    os.kill(pid, signal.SIGCONT)
    run(*podman, "kill", "--signal", "TERM", name)
    assert engine.wait(60) == 0


def test_service_has_no_privilege_and_writes_nowhere_but_where_it_may(service, image):
    podman, name, pid, _ = service
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        status = dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(USER)}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
    may = ["/run/sori"] + ["/var/lib/sori"] * (image == "sori-server")
    for place in ["/", "/etc/sori", "/run", "/tmp", "/usr/bin", "/var/tmp", "/run/sori", "/var/lib/sori"]:
        as_root = ["--user", "0"] if place not in may else []
        assert fails(*podman, "exec", *as_root, name, "touch", f"{place}/written") == (place not in may), place
    assert fails(*podman, "exec", name, "sh", "-c", "command -v gcc || command -v make || command -v curl")


def test_package_is_installed_and_purged_by_apt(base, store):
    """On the bare base: what it depends on is said, and its scripts do without a service manager."""
    os.makedirs(f"{WORK}/deb", exist_ok=True)
    made = re.search(r"in '(\S+\.deb)'", run("make", "deb", cwd=ROOT)).group(1)
    shutil.copy(made, f"{WORK}/deb/sori.deb")
    name = run("buildah", *store, "from", base).split()[-1]

    def inside(script):
        return run("buildah", *store, "run", "--isolation", "chroot", "--volume", f"{WORK}/deb:/deb:ro", name, "--",
                   "sh", "-ec", script)

    try:
        inside("apt-get update && apt-get install -y --no-install-recommends /deb/sori.deb")
        for daemon in DAEMONS:
            assert daemon in inside(f"{daemon} --version && ! ldd /usr/bin/{daemon} | grep 'not found'")
        assert "/lib/systemd/system/sori-server.service" in inside("dpkg --verify sori && dpkg -L sori")
        inside("echo mine >/etc/sori/server.secrets/own && apt-get purge -y sori && dpkg --audit")
        assert inside("find /etc/sori").split() == ["/etc/sori", "/etc/sori/server.secrets", "/etc/sori/server.secrets/own"]
        inside("! test -e /usr/bin/sori-server")
    finally:
        run("buildah", *store, "rm", name)

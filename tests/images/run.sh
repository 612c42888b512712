#!/bin/sh
# Runs images_test.py with mounts of its own, of which nothing is left behind: called by make test-images, as root.
# crun runs nothing where both kinds of control groups are mounted, so the newer kind goes, for these processes.
# SPDX-License-Identifier: BSD-3-Clause
set -eu
cd "$(dirname "$0")/../.."
SORI_ROOT=$PWD PYTHONDONTWRITEBYTECODE=1 exec unshare -m sh -c '
    umount /sys/fs/cgroup/unified 2>/dev/null || true
    exec /usr/bin/python3 -m pytest -q -p no:cacheprovider "$@"' sh tests/images/images_test.py "$@"

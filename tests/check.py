#!/usr/bin/python3
"""The gate that needs no compiler: format, layers, banned calls, contracts, names, option tables.

    tests/check.py             all but the option tables
    tests/check.py --options   config/*.ini against the daemons' tables (needs BUILD)

Sizes are reported, not enforced. SPDX-License-Identifier: BSD-3-Clause
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.chdir(ROOT)
errors = []

CODE = sorted(f for d in ("common", "server", "turn", "sfu") for f in
              glob.glob(f"{d}/**/*.[ch]", recursive=True))
ALL_C = CODE + sorted(glob.glob("tests/**/*.[ch]", recursive=True) + glob.glob("bench/**/*.[ch]", recursive=True))

BANNED = ["sprintf", "vsprintf", "strcpy", "strcat", "strncpy", "strncat", "strtok", "atoi", "atol",
          "sscanf", "alloca", "gets", "system", "popen"]
# Only these may touch libc's allocator, sockets, libraries. The name is the licence.
SHELL = re.compile(r"(main|_listener|_link|_sock|_store_\w+)\.c$")
CONFINED = {
    r"event2/": r"^common/net/|_listener\.c$|_link\.c$|_sock\.c$|main\.c$",
    r"openssl/ssl\.h|openssl/err\.h": r"^common/net/(tls|dtls|dtls_srtp)\.c$|^common/base/(crypto|packet_cipher)\.c$",
    r"openssl/": r"^common/base/(crypto|rand|packet_cipher)\.c$|^common/net/(tls|dtls|dtls_srtp)\.c$",
    r"sqlite3\.h": r"^server/ledger_store_sqlite\w*\.[ch]$",
    r"libpq": r"^server/ledger_store_pg\w*\.[ch]$",
    r"usrsctp\.h": r"^sfu/sctp\.c$",
    r"srtp2/": r"^sfu/srtp_libsrtp\.c$",
    r"jansson\.h": r"^server/token_json\.[ch]$|^common/proto/(sig|ctl)\.c$",
    r"microhttpd\.h": r"^common/net/admin_http\.c$",
    r"uninorm\.h|unistr\.h": r"^common/proto/opaque_string\.c$",
    r"ini\.h": r"^common/base/conf\.c$",
    r"liburing\.h": r"^common/net/uring_bufs\.h$",
    r"nghttp2/": r"^server/h2_session\.c$",
    r"bpf/": r"^turn/offload_sock\.c$|^turn/bpf/",
    r"hiredis/": r"^common/proto/resp\.c$|^turn/(turn_redis|redis_conn)_link\.c$",
    r"sys/socket\.h|netinet/|arpa/inet\.h|sys/epoll\.h|poll\.h": r"^common/net/|^common/base/addr\.c$|" + SHELL.pattern,
}
LAYER = {"common/base": 0, "common/proto": 1, "common/net": 2, "server": 3, "turn": 3, "sfu": 3}


def fail(where, what):
    errors.append(f"{where}: {what}")


def layer_of(path):
    return next((k for k in LAYER if path.startswith(k + "/")), None)


def no_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def check_file(path, text):
    own = layer_of(path)
    for n, line in enumerate(text.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if not m:
            continue
        inc = m.group(1)
        if own:
            target = layer_of("common/" + inc) or layer_of(inc)
            if target and (LAYER[target] > LAYER[own] or (LAYER[target] == 3 and target != own)):
                fail(f"{path}:{n}", f"layer: {own} must not include {inc}")
            for lib, where in CONFINED.items():
                if re.match(lib, inc) and not re.search(where, path):
                    fail(f"{path}:{n}", f"confined: <{inc}> belongs to {where}")
    code = no_comments(text)
    for n, line in enumerate(code.split("\n"), 1):
        for m in re.finditer(r"\b(" + "|".join(BANNED) + r")\s*\(", line):
            fail(f"{path}:{n}", f"banned call: {m.group(1)}")
        if own and not path.endswith("base/mem.c") and re.search(r"(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup)\s*\(", line):
            fail(f"{path}:{n}", "allocation goes through base/mem.h")
        if re.search(r"\btypedef\s+struct\b", line) and own:
            fail(f"{path}:{n}", "no typedef for a struct")
    if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text):
        fail(path, "an open TODO: do it now")
    if "SPDX-License-Identifier" not in text:
        fail(path, "no SPDX line")
    if own and not text.startswith("/* "):
        fail(path, "no header comment")


def check_contracts(path, text):
    """Each function prototype in a header has a comment right above it or in its group."""
    if not path.endswith(".h") or not layer_of(path):
        return
    lines = text.split("\n")
    covered = False
    for n, line in enumerate(lines):
        if line.strip() == "":
            covered = False
        elif line.lstrip().startswith(("/*", "*")) or "*/" in line or "/*" in line:
            covered = True
        m = re.match(r"^(?!static|typedef|#|extern|return)[\w][\w\s\*]*?\b(\w+)\(", line)
        if m and not covered:
            fail(f"{path}:{n + 1}", f"no contract: {m.group(1)}()")


def check_names():
    seen = {}
    for f in CODE:
        base = os.path.basename(f)
        if base in ("main.c",):
            continue
        if base in seen:
            fail(f, f"file name used twice: {seen[base]}")
        seen[base] = f
        if re.search(r"(util|misc|helper|manager)", base):
            fail(f, "a name that says nothing")


def check_format():
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *ALL_C], capture_output=True, text=True)
    if run.returncode:
        for f in sorted({m.group(1) for m in re.finditer(r"^(\S+?):\d+:\d+: error", run.stderr, re.M)}):
            fail(f, "layout: run `make format`")


def sizes():
    big = [(len(open(f, encoding="utf-8").read().split("\n")), f) for f in CODE if f.endswith(".c")]
    for n, f in sorted(big, reverse=True):
        if n > 600:
            print(f"note: {f} has {n} lines (one idea, or several?)")


def check_rfc_table():
    """Each file and test that docs/RFC.md names is there."""
    there = {os.path.basename(f) for f in CODE + glob.glob("tests/e2e/*.py")}
    there |= {os.path.splitext(os.path.basename(f))[0] for f in
              glob.glob("tests/unit/*/*.c") + glob.glob("tests/fuzz/*.c")}
    for n, line in enumerate(open("docs/RFC.md", encoding="utf-8"), 1):
        for name in re.findall(r"\w+\.(?:[ch]|py)\b|\b\w+_test\b(?!\.py)|\bfuzz_\w+", line):
            if name not in there:
                fail(f"docs/RFC.md:{n}", f"no such file or test: {name}")


def options():
    build = os.environ.get("BUILD", "build/gcc")
    for daemon, ini in (("sori-server", "config/server.ini"), ("sori-turn", "config/turn.ini"), ("sori-sfu", "config/sfu.ini"),
                        ("sori-report", "config/report.ini")):
        if not os.path.exists(f"{build}/{daemon}"):
            continue
        printed = subprocess.run([f"{build}/{daemon}", "--print-config"], capture_output=True, text=True).stdout
        if not os.path.exists(ini) or open(ini, encoding="utf-8").read() != printed:
            fail(ini, f"differs from the option table: {daemon} --print-config > {ini}")


if "--options" in sys.argv:
    options()
else:
    for path in ALL_C:
        text = open(path, encoding="utf-8").read()
        check_file(path, text)
        check_contracts(path, text)
    check_names()
    check_format()
    check_rfc_table()
    sizes()
for e in errors:
    print(e)
print(f"check: {len(errors)} problem{'s' if len(errors) != 1 else ''}")
sys.exit(1 if errors else 0)

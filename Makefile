# Sori: one Makefile for everything. `make help` lists the targets.
#
#   CC=clang            the other compiler          SAN=address,undefined | thread   sanitizers
#   V=1                 show the commands           BUILD=dir                        where objects go

CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
SAN     ?=
V       ?=
VERSION := 0.1.0
comma   := ,
VARIANT := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
BUILD   ?= build/$(VARIANT)
PREFIX  ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system
Q       := $(if $(V),,@)
PY      := /usr/bin/python3

PKGS    := libevent libevent_pthreads openssl jansson libmicrohttpd hiredis liburing
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
           -Wformat=2 -Wformat-nonliteral -Wundef -Wvla -Werror
CFLAGS  ?= -O2 -g
HARDEN  := $(if $(SAN),,-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection \
           -fcf-protection -fPIE)
ALLC    := -std=c11 -D_GNU_SOURCE -DSORI_VERSION=\"$(VERSION)\" -I. -Icommon -I$(BUILD)/gen $(WARN) \
           $(HARDEN) $(CFLAGS) -fno-omit-frame-pointer -pthread -MMD -MP
ALLC    += $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
PKG_C    = $(shell pkg-config --cflags $(PKGS) libpq 2>/dev/null)
PKG_L    = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -linih -lunistring -lm
ALLL    := -pthread $(if $(SAN),-fsanitize=$(SAN),-pie -Wl,-z,relro,-z,now)

# The relay's program for the kernel is built where clang and libbpf are; elsewhere sori-turn does
# without ([turn] offload is refused then).
BPF_CC  := clang
HAVE_BPF := $(shell command -v $(BPF_CC) >/dev/null && pkg-config --exists libbpf 2>/dev/null && echo yes)
ifeq ($(HAVE_BPF),yes)
BPF_OBJ := $(BUILD)/turn/bpf/relay.bpf.o
PKG_L   += -Wl,--as-needed -lbpf -Wl,--no-as-needed
$(BUILD)/turn/offload_sock.o: ALLC += -DSORI_OFFLOAD=\"$(BPF_OBJ)\"
$(BUILD)/turn/offload_sock.o: $(BPF_OBJ)
endif

SRC_common := $(wildcard common/base/*.c common/proto/*.c common/net/*.c)
SRC_server := $(filter-out server/main.c server/report_main.c server/ledger_main.c \
              server/sorictl_main.c,$(wildcard server/*.c))
SRC_turn   := $(filter-out turn/main.c turn/turnctl_main.c,$(wildcard turn/*.c))
SRC_sfu    := $(filter-out sfu/main.c sfu/sfuctl_main.c,$(wildcard sfu/*.c))
TESTS      := $(wildcard tests/unit/*/*_test.c)
FUZZ       := $(wildcard tests/fuzz/fuzz_*.c)
BENCH      := $(wildcard bench/micro/*.c bench/load/*.c)
SIMS       := $(wildcard tests/sim/*_sim.c)
obj         = $(patsubst %.c,$(BUILD)/%.o,$(1))
bin         = $(patsubst %.c,$(BUILD)/%,$(1))
LIB_common := $(BUILD)/libcommon.a
LIB_server := $(BUILD)/libserver.a
LIB_turn   := $(BUILD)/libturn.a
LIB_sfu    := $(BUILD)/libsfu.a
DAEMONS    := $(BUILD)/sori-server $(BUILD)/sorictl $(BUILD)/sori-report $(BUILD)/sori-ledger $(BUILD)/sori-turn $(BUILD)/sori-turnctl \
              $(BUILD)/sori-sfu $(BUILD)/sori-sfuctl
WEB        := $(wildcard server/web/*)

.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
.PHONY: all run cluster test test-oom test-unit fuzz-smoke sim faults chaos check format deps install deb test-images clean help print-% \
        bench-signal bench-cluster bench-turn bench-sfu bench-sfu-quality bench-push bench-ledger

all: $(DAEMONS) ## build the daemons

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | \
	  awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALLC) $(PKG_C) -c -o $@ $<

$(BUILD)/%.bpf.o: %.bpf.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  BPF $<")
	$(Q)$(BPF_CC) -target bpf -mcpu=v2 -O2 -g -ffreestanding -Wall -Wextra -Werror -MMD -MP \
	  -idirafter /usr/include/$(shell $(BPF_CC) -print-multiarch) -Iturn/bpf -c -o $@ $<

$(LIB_common): $(call obj,$(SRC_common))
$(LIB_server): $(call obj,$(SRC_server))
$(LIB_turn):   $(call obj,$(SRC_turn))
$(LIB_sfu):    $(call obj,$(SRC_sfu))
$(LIB_common) $(LIB_server) $(LIB_turn) $(LIB_sfu):
	$(Q)rm -f $@ && ar rcs $@ $^

# The page is compiled into sori-server with .incbin.
$(BUILD)/server/web_files.o: $(WEB)

$(BUILD)/sorictl: $(BUILD)/server/sorictl_main.o $(LIB_common)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)

$(BUILD)/sori-turnctl: $(BUILD)/turn/turnctl_main.o $(LIB_turn) $(LIB_common)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)

$(BUILD)/sori-sfuctl: $(BUILD)/sfu/sfuctl_main.o $(LIB_sfu) $(LIB_common)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)

# Data channels (usrsctp) and the second SRTP back end (libsrtp2) are the SFU's only.
SFU_L := $(shell pkg-config --libs usrsctp libsrtp2 2>/dev/null)
# Sanitizers bring an allocator of their own.
$(BUILD)/sori-sfu: PKG_L += $(SFU_L) $(if $(SAN),,-ljemalloc)
# HTTP/2 to push services (nghttp2) and the ledger (SQLite, PostgreSQL) are the server's only.
SERVER_L := $(shell pkg-config --libs libnghttp2 sqlite3 libpq 2>/dev/null)
$(BUILD)/sori-server $(BUILD)/sori-report $(BUILD)/sori-ledger: PKG_L += $(SERVER_L)
$(BUILD)/sori-report: $(BUILD)/server/report_main.o $(LIB_server) $(LIB_common)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)

$(BUILD)/sori-ledger: $(BUILD)/server/ledger_main.o $(LIB_server) $(LIB_common)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)

$(BUILD)/sori-%: $(BUILD)/%/main.o $(BUILD)/lib%.a $(LIB_common)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)

$(BUILD)/tests/unit/server/%: $(BUILD)/tests/unit/server/%.o $(LIB_server) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) $(SERVER_L) -lcmocka
$(BUILD)/tests/unit/turn/%: $(BUILD)/tests/unit/turn/%.o $(LIB_turn) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) -lcmocka
$(BUILD)/tests/unit/sfu/%: $(BUILD)/tests/unit/sfu/%.o $(LIB_sfu) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) $(SFU_L) -lcmocka
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) -lcmocka
$(BUILD)/tests/sim/%: $(BUILD)/tests/sim/%.o $(LIB_server) $(LIB_sfu) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) $(SFU_L) $(SERVER_L)
$(BUILD)/bench/%: $(BUILD)/bench/%.o $(LIB_server) $(LIB_turn) $(LIB_sfu) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) $(SFU_L) $(SERVER_L)
# The impairer of tests and benches: a bad network in user space.
IMPAIR := $(BUILD)/tests/lib/impair/impair
$(IMPAIR): $(call obj,$(wildcard tests/lib/impair/*.c)) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)
# A core whose figures an implementation in another language checks.
EMODEL_GRID := $(BUILD)/tests/lib/emodel_grid
$(EMODEL_GRID): $(BUILD)/tests/lib/emodel_grid.o $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L)
# What every presence store promises, asked of one.
PRESENCE_CONFORM := $(BUILD)/tests/lib/presence_conform
$(PRESENCE_CONFORM): $(BUILD)/tests/lib/presence_conform.o $(LIB_server) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) $(SERVER_L)
# Counts allocations and locks of a daemon under load.
$(BUILD)/bench/preload/%.so: bench/preload/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALLC) -fPIC -shared -o $@ $<
# Fuzz targets with the replay driver: run the corpus under any compiler and sanitizer.
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(LIB_server) $(LIB_turn) $(LIB_sfu) $(LIB_common)
	$(Q)$(CC) $(ALLL) -o $@ $^ $(PKG_L) $(SFU_L) $(SERVER_L)

TEST_BINS := $(call bin,$(TESTS)) $(call bin,$(FUZZ)) $(call bin,$(SIMS)) $(IMPAIR) $(EMODEL_GRID) \
             $(PRESENCE_CONFORM) \
             $(call bin,$(BENCH))
-include $(wildcard $(BUILD)/*/*.d $(BUILD)/*/*/*.d $(BUILD)/*/*/*/*.d)

deps: ## install Debian and npm packages that build, tests and gate need and are missing
	@deploy/deps.sh build test check

run: ## build, make a development set-up under run/, start everything, print the page's address
	@deploy/deps.sh build
	$(Q)$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) deploy/dev/run.sh

cluster: ## the same on three make-believe machines with Redis, Sentinels and PostgreSQL: kill one, see what happens
	@deploy/deps.sh build cluster
	$(Q)$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) deploy/dev/cluster.sh

test: ## run every test: unit, fuzz corpora, simulator, end to end
	@deploy/deps.sh build test
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all $(TEST_BINS)
	@BUILD=$(BUILD) SAN=$(SAN) $(PY) tests/run.py

test-unit: $(TEST_BINS) ## unit tests, fuzz corpora and simulator only
	@BUILD=$(BUILD) SAN=$(SAN) $(PY) tests/run.py unit fuzz sim

test-oom: ## unit tests of failing allocations, under the address sanitizer
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined BUILD=$(BUILD)-oom -j$$(nproc) \
	  $(patsubst %.c,$(BUILD)-oom/%,$(TESTS))
	@BUILD=$(BUILD)-oom $(PY) tests/run.py oom

FAULT_DAEMONS := $(BUILD)/sori-server $(BUILD)/sori-turn $(BUILD)/sori-sfu $(IMPAIR) $(BUILD)/bench/load/ledger_driver
faults: $(FAULT_DAEMONS) ## every promise about faults under its full load: make faults SEED=1 ONLY=turn
	@deploy/deps.sh build test
	@BUILD=$(BUILD) $(PY) tests/faults/faults.py -k "$(ONLY)" --seed "$(SEED)"

chaos: $(FAULT_DAEMONS) ## a random fault each minute: make chaos MINUTES=60 SEED=1
	@deploy/deps.sh build test
	@SORI_BUILD=$(abspath $(BUILD)) PYTHONPATH=tests/lib PYTHONDONTWRITEBYTECODE=1 unshare -rn sh -c \
	  'ip link set lo up && exec $(PY) -u tests/faults/chaos.py $(or $(MINUTES),60) $(SEED)'

sim: $(call bin,$(SIMS)) ## simulate calls: make sim SEEDS=1000000
	@for s in $(call bin,$(SIMS)); do $$s --seeds $(or $(SEEDS),10000) --start $(or $(START),1) || exit 1; done

FUZZ_SECONDS ?= 30
fuzz-smoke: ## coverage-guided fuzzing with libFuzzer: make fuzz-smoke FUZZ_SECONDS=30
	@deploy/deps.sh build fuzz
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz SAN=address,undefined \
	  CFLAGS="-O1 -g -fsanitize=fuzzer-no-link" fuzz-bins
	@BUILD=build/fuzz tests/fuzz/smoke.sh $(FUZZ_SECONDS)
.PHONY: fuzz-bins
fuzz-bins: $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/lf_%,$(FUZZ))
$(BUILD)/tests/fuzz/lf_%: $(BUILD)/tests/fuzz/fuzz_%.o $(LIB_server) $(LIB_turn) $(LIB_sfu) $(LIB_common)
	$(Q)$(CC) $(ALLL) -fsanitize=fuzzer -o $@ $^ $(PKG_L) $(SFU_L) $(SERVER_L)

C_FILES := $(wildcard */*.[ch] */*/*.[ch] */*/*/*.[ch])
format: ## lay out all C files with clang-format
	$(Q)clang-format -i $(filter-out build/% run/%,$(C_FILES))

check: ## the gate: format, layers, banned calls, option tables, gcc and clang, cppcheck
	@deploy/deps.sh build check
	@$(PY) tests/check.py
	$(Q)$(MAKE) --no-print-directory CC=clang -j$$(nproc) all
	$(Q)$(MAKE) --no-print-directory CC=gcc -j$$(nproc) all
	@BUILD=build/gcc $(PY) tests/check.py --options
	$(Q)cppcheck -q -j2 --std=c11 --error-exitcode=1 --enable=warning,portability --inline-suppr \
	  --suppress=missingIncludeSystem -i turn/bpf -I. -Icommon common server turn sfu

bench-signal: $(BUILD)/sori-server $(call bin,$(filter bench/load/sig%,$(BENCH))) ## signaling server against npm ws
	@deploy/deps.sh build bench
	@BUILD=$(BUILD) $(PY) bench/signal.py
bench-cluster: $(BUILD)/sori-server $(BUILD)/bench/load/sig_calls ## calls between two nodes over Redis, beside those of one
	@deploy/deps.sh build bench
	@BUILD=$(BUILD) $(PY) bench/cluster.py
bench-turn: $(BUILD)/sori-turn $(call bin,$(filter bench/load/turn%,$(BENCH))) ## relay against Debian's coturn
	@deploy/deps.sh build bench
	@BUILD=$(BUILD) $(PY) bench/turn.py
bench-push: $(BUILD)/sori-server $(BUILD)/bench/load/h2_push $(BUILD)/bench/load/push_wire ## HTTP/2 client of pushes against nghttpd, beside npm @parse/node-apn
	@deploy/deps.sh build bench
	@BUILD=$(BUILD) $(PY) bench/push.py

bench-sfu: $(BUILD)/sori-sfu $(BUILD)/bench/preload/hot_count.so $(call bin,$(filter bench/load/sfu%,$(BENCH)) $(filter bench/micro/srtp% bench/micro/calls%,$(BENCH))) ## SFU against Debian's Janus and the bare limit
	@deploy/deps.sh build bench
	@BUILD=$(BUILD) $(PY) bench/sfu.py
bench-sfu-quality: $(BUILD)/sori-sfu $(BUILD)/sori-server $(IMPAIR) $(call bin,$(filter bench/load/sfu%,$(BENCH))) ## what calls through bad networks sound and look like
	@deploy/deps.sh build test bench
	@BUILD=$(BUILD) $(PY) bench/sfu_quality.py

bench-ledger: $(BUILD)/bench/load/ledger_driver ## durable records a second, beside the disk's own syncs
	@deploy/deps.sh build bench
	@BUILD=$(BUILD) $(PY) bench/ledger.py

# Tools and daemons, in the order of their names.
INSTALLED := $(sort $(notdir $(DAEMONS)))
install: all ## install daemons, units and (where none is) configuration: PREFIX, DESTDIR
	for b in $(INSTALLED); do install -Dm755 $(BUILD)/$$b $(DESTDIR)$(PREFIX)/bin/$$b || exit 1; done
	for f in server turn sfu report; do [ -e $(DESTDIR)/etc/sori/$$f.ini ] || \
	  install -Dm644 config/$$f.ini $(DESTDIR)/etc/sori/$$f.ini || exit 1; done
	for d in server turn sfu; do [ -d $(DESTDIR)/etc/sori/$$d.secrets ] || \
	  install -dm700 $(DESTDIR)/etc/sori/$$d.secrets || exit 1; done
	install -dm755 $(DESTDIR)$(UNITDIR)
	for u in deploy/systemd/*; do sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $$u \
	  >$(DESTDIR)$(UNITDIR)/$${u##*/} && chmod 644 $(DESTDIR)$(UNITDIR)/$${u##*/} || exit 1; done
	for d in sysctl prometheus grafana; do install -Dm644 -t $(DESTDIR)$(PREFIX)/share/sori/$$d \
	  deploy/$$d/* || exit 1; done
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/sori docs/*.md

test-images: ## images of deploy/docker and the package, built and run by buildah, podman, apt: as root, takes minutes
	@deploy/deps.sh build images
	@tests/images/run.sh

deb: all ## a Debian package of what is built: $(BUILD)/sori_VERSION_ARCH.deb
	@BUILD=$(abspath $(BUILD)) VERSION=$(VERSION) MAKE="$(MAKE)" deploy/debian/build.sh

clean: ## remove what was built
	rm -rf build

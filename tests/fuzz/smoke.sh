#!/bin/sh
# Fuzzes each target for SECONDS with libFuzzer, from its corpus and, where present, public seeds.
# SPDX-License-Identifier: BSD-3-Clause
set -eu
seconds=${1:-30}
vectors=${SORI_VECTORS:-../shared/vectors}
bad=0
for bin in "$BUILD"/tests/fuzz/lf_*; do
    case $bin in *.o | *.d) continue ;; esac
    name=${bin##*/lf_}
    seeds="tests/fuzz/corpus/$name"
    case $name in
    stun | turn) more="$vectors/fuzz-seeds/webrtc/stun-corpus $vectors/fuzz-seeds/coturn/FuzzStun" ;;
    json | sig) more="$vectors/json-parsing" ;;
    sdp | negotiate) more="$vectors/fuzz-seeds/webrtc/sdp-corpus $vectors/fuzz-seeds/janus/sdp_fuzzer" ;;
    rtp | video_desc) more="$vectors/fuzz-seeds/webrtc/rtp-corpus $vectors/fuzz-seeds/janus/rtp_fuzzer" ;;
    rtcp) more="$vectors/fuzz-seeds/webrtc/rtcp-corpus $vectors/fuzz-seeds/janus/rtcp_fuzzer" ;;
    *) more="" ;;
    esac
    work="$BUILD/fuzz-work/$name"
    mkdir -p "$work"
    set -- "$work"
    for d in $seeds $more; do [ -d "$d" ] && set -- "$@" "$d"; done
    printf '%-10s ' "$name"
    if "$bin" -max_total_time="$seconds" -max_len=8192 -timeout=5 -print_final_stats=1 \
        -artifact_prefix="$work/" "$@" >"$work.log" 2>&1; then
        awk '/number_of_executed_units/ {n=$2} /average_exec_per_sec/ {r=$2} END {print n " inputs, " r "/s"}' "$work.log"
    else
        echo "FAILED: $work.log"
        bad=1
    fi
done
exit $bad

#!/usr/bin/env bash
# Where the processor time of a transaction goes: samples a running bench and sums the samples by what the code is for.
# Usage: benches/profile.sh [bench flags]      e.g. benches/profile.sh --clients 256
# Needs perf (Debian: linux-perf) and the right to sample all processes (root, or kernel.perf_event_paranoid <= 0).
set -euo pipefail
cd "$(dirname "$0")/.."

command -v perf >/dev/null || { echo "skipped: perf is not installed (Debian: apt-get install linux-perf)"; exit 0; }
cargo build --release --quiet
samples=$(mktemp)
figures=$(mktemp)
trap 'rm -f "$samples" "$figures"' EXIT

target/release/assent bench --duration 12s "$@" >"$figures" &
bench=$!
sleep 4
perf record --quiet -F 997 -a -o "$samples" -- sleep 6 >/dev/null 2>&1 ||
    { echo "skipped: perf may not sample all processes here"; kill "$bench"; wait "$bench" || true; exit 0; }
wait "$bench"
cat "$figures"
echo
echo "Samples of all processes of the bench, by what the code is for (%):"
perf report -i "$samples" --no-children --comm assent --sort symbol -g none --stdio 2>/dev/null |
    awk '
    /^ +[0-9.]+%/ {
        share = $1 + 0; space = $2; name = $0; sub(/^ *[0-9.]+% +\[.\] +/, "", name)
        if (space == "[k]") {
            if (name ~ /tcp|inet|skb|sock|ip_|__ip|net_|napi|loopback|nf_|qdisc|dev_|softirq|copy_(to|from)_iter|_copy|csum/) part = "kernel: sockets"
            else if (name ~ /io_|blk|bio|virtio|virtqueue|ext4|jbd|iomap|nvme|dio|submit|queue_work|worker/) part = "kernel: disk and ring"
            else if (name ~ /sched|switch|wake|futex|epoll|ep_|schedule|enqueue|dequeue|pick_next|update_|idle|hrtimer|timer/) part = "kernel: scheduling and waking"
            else part = "kernel: other (system call entry, memory)"
        }
        else if (name ~ /malloc|_int_free|cfree|realloc|calloc|unlink_chunk|consolidate|__rust_(de)?alloc/) part = "memory allocation"
        else if (name ~ /memcmp|memmove|memcpy|memset/) part = "comparing and copying bytes"
        else if (name ~ /crc32c/) part = "checksums"
        else if (name ~ /participant::/) part = "participant: locks, execution, votes"
        else if (name ~ /coordinator::/) part = "coordinator: votes, decisions"
        else if (name ~ /engine::/) part = "engine: log and table"
        else if (name ~ /protocol::|bytes::/) part = "protocol: encoding, decoding, retention"
        else if (name ~ /node::/) part = "node: driver, gate, connections"
        else if (name ~ /client::|assent::|hdrhistogram/) part = "load generator and client"
        else if (name ~ /tokio|io_uring|epoll/) part = "runtime"
        else part = "other"
        sum[part] += share; total += share
    }
    END { for (part in sum) printf "%5.1f  %s\n", 100 * sum[part] / total, part }' | sort -rn

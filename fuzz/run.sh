#!/usr/bin/env bash
# Fuzzes each decoder for SECONDS (default 60), two at a time:   fuzz/run.sh [SECONDS] [TARGET...]
# What is found new is kept in target/fuzz/corpus; the committed corpus is only read. Minimise into it with:
#   fuzz/run.sh --minimise
# Needs a C++ compiler (libFuzzer is built from source) and, the first time, the network for cargo-fuzz, which is installed
# under target/. No sanitizer: the code is safe Rust and the question is what the decoders accept; the cold build takes 89 s of
# processor time instead of 127.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd .. && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/fuzz
all=(group segment_header superblock frame record)
# Longer inputs reach nothing new, shorter ones are tried more often.
input_bytes_max=8192
# Committed for each target, besides the seeds.
inputs_kept_max=16
cargo_fuzz_version=0.13.2

seconds=60
minimise=
case "${1:-}" in
--minimise) minimise=1 && shift ;;
'' | *[!0-9]*) ;;
*) seconds=$1 && shift ;;
esac
targets=("${@:-${all[@]}}")
[ $# -gt 0 ] || targets=("${all[@]}")

if ! command -v c++ >/dev/null; then
    echo "fuzz: skipped: there is no C++ compiler (c++), and libFuzzer is built with one"
    exit 0
fi
export PATH="$out/tools/bin:$PATH"
if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz: installing cargo-fuzz $cargo_fuzz_version under $out/tools"
    if ! cargo install cargo-fuzz --version "$cargo_fuzz_version" --locked --quiet --root "$out/tools"; then
        echo "fuzz: skipped: cargo-fuzz is not installed and cannot be (is there a network?)"
        exit 0
    fi
fi

# The compiler's coverage options need this on a stable toolchain.
export RUSTC_BOOTSTRAP=1
CARGO_TARGET_DIR=$out/build cargo fuzz build --fuzz-dir . --sanitizer none --target-dir "$out/build"
bin=$out/build/$(rustc -vV | sed -n 's/^host: //p')/release

if [ -n "$minimise" ]; then
    for target in "${targets[@]}"; do
        mkdir -p "$out/corpus/$target" "$out/minimised"
        rm -rf "$out/minimised/$target" && mkdir "$out/minimised/$target"
        "$bin/$target" -set_cover_merge=1 -use_counters=0 -max_len=$input_bytes_max "$out/minimised/$target" "corpus/$target" "$out/corpus/$target" \
            >"$out/$target.log" 2>&1
        find "corpus/$target" -type f ! -name 'seed-*' -delete
        # The largest: they reach most.
        find "$out/minimised/$target" -type f -printf '%s %p\n' | sort -rn | head -n "$inputs_kept_max" | cut -d' ' -f2 |
            xargs -r cp -t "corpus/$target"
        echo "fuzz: $target: $(find "corpus/$target" -type f | wc -l) inputs, $(du -sb "corpus/$target" | cut -f1) bytes"
    done
    exit 0
fi

run() { # target
    local log=$out/$1.log
    mkdir -p "$out/corpus/$1" "$out/artifacts/$1"
    if "$bin/$1" -max_total_time="$seconds" -max_len=$input_bytes_max -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$out/artifacts/$1/" "$out/corpus/$1" "corpus/$1" >"$log" 2>&1; then
        echo "fuzz: $1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
    else
        echo "fuzz: $1: FAILED; the end of $log:"
        grep -v '^#' "$log" | tail -n 30
        echo "fuzz: again: $bin/$1 <the artifact named above>"
        return 1
    fi
}

failed=0
for ((first = 0; first < ${#targets[@]}; first += 2)); do
    pids=()
    for target in "${targets[@]:first:2}"; do
        run "$target" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
done
exit $failed

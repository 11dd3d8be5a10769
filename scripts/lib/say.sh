# shellcheck shell=bash
# What every script here prints, in one style: one line for each step, how long it took, and the end of its
# output when it fails. Sourced, never run.

say() { printf '  %s\n' "$*" >&2; }
title() { printf '\n%s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# step "what happens" command...: runs the command with its output kept aside. On a terminal the elapsed seconds count
# up; elsewhere (CI, a file) a dot appears every few seconds, so that nothing looks dead. A failure shows the output.
step() {
    local what=$1 log pid started=$SECONDS status=0
    shift
    log=$(mktemp)
    printf '  %s ' "$what" >&2
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        _show_progress "$what" $((SECONDS - started))
    done
    wait "$pid" || status=$?
    if ((status == 0)); then
        _end_progress "$what" "done in $((SECONDS - started)) s"
    else
        _end_progress "$what" "FAILED after $((SECONDS - started)) s; the end of its output:"
        tail -n 25 "$log" | sed 's/^/    | /' >&2
    fi
    rm -f "$log"
    return "$status"
}

_show_progress() {
    if [[ -t 2 ]]; then
        printf '\r  %s (%s s) ' "$1" "$2" >&2
    elif (($2 / 5 > ${_dots:-0})); then
        _dots=$(($2 / 5))
        printf '.' >&2
    fi
}

_end_progress() {
    _dots=0
    if [[ -t 2 ]]; then printf '\r\033[K  %s: %s\n' "$1" "$2" >&2; else printf '%s\n' "$2" >&2; fi
}

# shellcheck shell=bash
# Load on the stack of this machine, from containers in its network: a master, which has the verdict, and workers, which have the users.
# Sourced by scripts/stack; docs/load-tests.md tells it for people.

in_loadtest() { docker compose --profile loadtest "$@"; }
end_loadtest() { in_loadtest rm --force --stop --volumes locust-master locust-worker; }

# loadtest [--ui]: its exit status is the master's.
loadtest() {
    local master status=0 name
    case ${1:-} in
        "") ;;
        --ui) export LOADTEST_UI=1 ;;
        *) fail "unknown option of loadtest: $1" "Use: scripts/stack loadtest [--ui]" ;;
    esac
    for name in LOADTEST_WORKERS LOADTEST_PORT; do from_env_file "$name"; done
    require_stack
    prepare
    step "Image of the generators" in_loadtest --progress plain build locust-master
    docker image prune --force --filter label=org.opencontainers.image.title=pronghorn-loadtest >/dev/null
    if [[ ${LOADTEST_UI:-} != 1 ]]; then
        # Nobody looks, so any port will do.
        export LOADTEST_PORT=0
    fi
    # Whatever ends this: Ctrl-C as well.
    trap 'step "Taking the generators away" end_loadtest' EXIT
    step "Starting a master and ${LOADTEST_WORKERS:-2} workers" in_loadtest up --detach --no-deps --no-build --force-recreate \
        --scale "locust-worker=${LOADTEST_WORKERS:-2}" locust-master locust-worker
    master=$(in_loadtest ps --all --quiet locust-master)
    if [[ ${LOADTEST_UI:-} == 1 ]]; then
        title "Locust's web UI: http://$(in_loadtest port locust-master 8089)/ (Ctrl-C ends it)"
    fi
    docker logs --follow "$master"
    status=$(docker wait "$master")
    if [[ ${LOADTEST_UI:-} != 1 ]]; then
        rm -rf build/loadtest && mkdir -p build
        docker cp "$master:/reports" build/loadtest >/dev/null
    fi
    trap - EXIT
    step "Taking the generators away" end_loadtest
    if [[ -s build/loadtest/report.html && ${LOADTEST_UI:-} != 1 ]]; then say "The report: build/loadtest/report.html"; fi
    return "$status"
}

require_stack() {
    docker info >/dev/null 2>&1 && [[ -n $(running nginx) ]] ||
        fail "the stack does not run" "Start it: make up APP=examples/shop. Load on another deployment: make loadtest URL=https://..."
}

# shellcheck shell=bash
# Load on the stack of this machine, from containers in its network: a master, which has the verdict, and workers, which have the users.
# Sourced by scripts/stack; docs/load-tests.md tells it for people.

in_loadtest() { docker compose --profile loadtest "$@"; }

# loadtest [--ui]: its exit status is the verdict, 0 or 1 of the master; 2 where none came to pass. With the web UI there is none to be had.
loadtest() {
    local name master
    verdict=2 generators=''
    # Whatever ends this: Ctrl-C as well.
    trap leave_loadtest EXIT
    case ${1:-} in
        "") ;;
        --ui) export LOADTEST_UI=1 ;;
        *) fail "unknown option of loadtest: $1" "Use: scripts/stack loadtest [--ui]" ;;
    esac
    for name in LOADTEST_WORKERS LOADTEST_PORT; do from_env_file "$name"; done
    docker info >/dev/null 2>&1 && [[ -n $(running nginx) ]] ||
        fail "the stack does not run" "Start it: make up APP=examples/shop. Load on another deployment: make loadtest URL=https://..."
    prepare
    step "Image of the generators" in_loadtest --progress plain build locust-master
    prune_images pronghorn-loadtest
    # Without the web UI nobody comes, so any port will do.
    if [[ ${LOADTEST_UI:-} != 1 ]]; then export LOADTEST_PORT=0; fi
    generators=yes
    step "Starting a master and ${LOADTEST_WORKERS:-2} workers" in_loadtest up --detach --no-deps --no-build --force-recreate \
        --scale "locust-worker=${LOADTEST_WORKERS:-2}" locust-master locust-worker
    master=$(in_loadtest ps --all --quiet locust-master)
    if [[ ${LOADTEST_UI:-} == 1 ]]; then
        verdict=0
        title "Locust's web UI: http://$(in_loadtest port locust-master 8089)/ (Ctrl-C ends it)"
        docker logs --follow "$master"
    else
        docker logs --follow "$master"
        rm -rf build/loadtest
        mkdir -p build
        docker cp "$master:/reports" build/loadtest >/dev/null
        verdict=$(docker wait "$master")
    fi
}

leave_loadtest() {
    trap - EXIT
    if [[ -n $generators ]]; then
        step "Taking the generators away" in_loadtest rm --force --stop --volumes locust-master locust-worker
        if [[ ${LOADTEST_UI:-} != 1 && -s build/loadtest/report.html ]]; then say "The report: build/loadtest/report.html"; fi
    fi
    exit "$verdict"
}

# shellcheck shell=bash
# Two slots that take turns: blue is the service app, green is app-green. nginx connects to app.sock, a link in the volume of the
# sockets to blue.sock or green.sock, and connect(2) follows it: who is live is one name, and another one is one rename.
# Sourced by scripts/stack; docs/deploys.md tells it for people.

slot_of() { if [[ $1 == app-green ]]; then printf green; else printf blue; fi; }
other_than() { if [[ $1 == app-green ]]; then printf app; else printf app-green; fi; }
in_both_slots() { docker compose --profile green "$@"; }

# container_of SERVICE [OPTION...]: its id. With --all one that has ended, too.
container_of() { in_both_slots ps --quiet "${@:2}" "$1"; }
running() { container_of "$1" --status running; }

# The service that nginx leads to. What is no link is a socket from before there were slots, when there was one service.
live() {
    local service container
    for service in nginx app app-green; do
        container=$(running "$service")
        if [[ -n $container ]]; then
            if [[ $(docker exec "$container" readlink /run/pronghorn/app.sock) == green.sock ]]; then
                printf app-green
            else
                printf app
            fi
            return
        fi
    done
    printf app
}

# lead_to SERVICE, which runs. A rename is atomic, and replaces a socket as well as a link.
# shellcheck disable=SC2016 # for the shell in the container
lead_to() {
    docker exec "$(running "$1")" sh -c 'cd /run/pronghorn && ln -sfn "$0" .next && mv -T .next app.sock' "$(slot_of "$1").sock"
}

# What ends is started again by the engine, so that it ended shows in a count.
is_alive() { [[ $(docker inspect --format '{{.State.Running}} {{.RestartCount}}' "$1") == "true $2" ]]; }
restarts() { docker inspect --format '{{.RestartCount}}' "$1"; }
is_ready() { docker exec "$1" pronghorn healthcheck --ready; }

# until_ready CONTAINER RESTARTS: true once it is; false as soon as it ends, or when its time is over.
until_ready() {
    local deadline=$((SECONDS + ${DEPLOY_TIMEOUT:-120}))
    until is_ready "$1"; do
        is_alive "$1" "$2" || return
        ((SECONDS < deadline)) || return
        sleep 0.3
    done
}

stays_ready() {
    local deadline=$((SECONDS + ${DEPLOY_WATCH:-5}))
    while ((SECONDS < deadline)); do
        is_alive "$1" "$2" && is_ready "$1" || return
        sleep 0.3
    done
}

# What a server has under way, requests and WebSockets. Nobody tells where there is no admin listener, or it is a socket.
under_way='
import json, os, urllib.request
port = os.environ["PRONGHORN_ADMIN"].rpartition(":")[2]
with urllib.request.urlopen(f"http://127.0.0.1:{int(port)}/workers", timeout=5) as answer:
    print(sum(one["in_flight"] + one["websockets"] for one in json.load(answer)["workers"]))
'

until_done() {
    local deadline=$((SECONDS + ${DEPLOY_DRAIN:-30}))
    while ((SECONDS < deadline)); do
        [[ $(docker exec "$1" python3 -c "$under_way") =~ ^[1-9] ]] || return 0
        sleep 0.5
    done
}

require_a_turn() {
    local project
    project=$(docker compose config | sed -n 's/^name: //p')
    # Opened to append: what somebody else may have put there is not emptied.
    exec 9>>"${TMPDIR:-/tmp}/pronghorn-deploy-$project.lock"
    flock --nonblock 9 || fail "somebody else deploys $project at this moment" "Try again when that is over."
}

# The name that an image was built under goes with what is live: what is started by that name later is the version that serves.
name_what_is_live() {
    local image name other
    name=$(docker inspect --format '{{.Config.Image}}' "$1")
    image=$(docker inspect --format '{{.Image}}' "$1")
    other=$(docker inspect --format '{{.Config.Image}}' "$2")
    if [[ $name == "$other" ]]; then docker tag "$image" "$name"; fi
}

# switch NEW OLD BACK: traffic from a service to the other one, which has been started. BACK is what ends the new one where it is
# no good: `rm --force --stop` or `stop`.
switch() {
    local new=$1 old=$2 back=$3 newcomer veteran restarts
    newcomer=$(container_of "$new" --all)
    veteran=$(running "$old")
    restarts=$(restarts "$newcomer")
    # Whatever ends this before its time: Ctrl-C as well.
    # shellcheck disable=SC2064 # as they are now
    trap "take_back $new $old '$back' $newcomer $veteran" EXIT
    if ! step "Slot $(slot_of "$new"), until it is ready" until_ready "$newcomer" "$restarts"; then
        # It has nobody to be kind to, and may not even hear that it should go.
        docker kill "$newcomer" >/dev/null 2>&1 || true
        refuse "$newcomer" "did not become ready"
    fi
    lead_to "$new"
    say "nginx leads to slot $(slot_of "$new")"
    step "Watching it for ${DEPLOY_WATCH:-5} s" stays_ready "$newcomer" "$restarts" || refuse "$newcomer" "did not stay ready"
    trap - EXIT
    name_what_is_live "$newcomer" "$veteran"
    step "Slot $(slot_of "$old"), until what has begun there is done (at most ${DEPLOY_DRAIN:-30} s)" until_done "$veteran"
    step "Stopping it" docker stop "$veteran"
}

refuse() {
    say "Its last lines:"
    docker logs --tail 20 "$1" 2>&1 | sed 's/^/    | /' >&2
    fail "the version in the other slot $2" "Nothing has changed: the version from before serves."
}

take_back() {
    local new=$1 old=$2 back=$3 newcomer=$4 veteran=$5
    trap - EXIT
    lead_to "$old"
    name_what_is_live "$veteran" "$newcomer"
    # shellcheck disable=SC2086 # words
    step "Slot $(slot_of "$new") is given up" in_both_slots $back "$new" || true
}

# The newest version into a slot, in the place of what was there. Its static files are published before it starts: not with --no-deps,
# which besides makes another container than `up` would, so that the next `up` would make it again.
fill() {
    step "Emptying slot $(slot_of "$1")" in_both_slots rm --force --stop "$1"
    step "Starting slot $(slot_of "$1")" in_both_slots up --detach --no-build "$1"
}

deploy() {
    local old new began=$SECONDS
    case ${1:-} in
        "" | --no-build) ;;
        *) fail "unknown option of deploy: $1" "Use: scripts/stack deploy [--no-build]" ;;
    esac
    read_settings
    require_a_turn
    old=$(live)
    new=$(other_than "$old")
    [[ -n $(running "$old") ]] || fail "nothing runs, so there is nothing to take turns with" "Start it: make up."
    if [[ -z ${1:-} ]]; then
        title "Engine and base images"
        prepare
        title "Building"
        build_images app
    fi
    title "Deploying into slot $(slot_of "$new")"
    fill "$new"
    switch "$new" "$old" "rm --force --stop"
    say "It is live ($((SECONDS - began)) s in all). The version from before is one step away: make rollback"
}

rollback() {
    local old new container
    read_settings
    require_a_turn
    old=$(live)
    new=$(other_than "$old")
    container=$(container_of "$new" --all)
    [[ -n $container ]] || fail "there is no version from before" "A deploy leaves the one it replaces, until the next deploy."
    [[ -n $(running "$old") ]] || fail "slot $(slot_of "$old") does not run, so there is nothing to go back from" "Start it: make up."
    title "Back to the version in slot $(slot_of "$new")"
    step "Starting slot $(slot_of "$new")" docker start "$container"
    switch "$new" "$old" stop
    say "It is live again. The version that it replaced is one step away: make rollback"
}

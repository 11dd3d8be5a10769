# shellcheck shell=bash
# Debian packages that a script cannot do without. Sourced after say.sh and debian.sh.

# install_packages "what is missing" PACKAGE...: where root sits on Debian, installs them, saying so; elsewhere names
# them, and ends the script.
install_packages() {
    local missing=$1
    shift
    if ! is_debian || ! is_root || ! command -v apt-get >/dev/null; then
        fail "$missing" "On Debian or Ubuntu: apt-get install $*"
    fi
    say "$missing"
    step "Installing $* with apt-get" \
        alone sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "$@"' - "$@" ||
        fail "apt-get could not install $*" "Its own words are above."
}

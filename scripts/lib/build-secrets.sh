# shellcheck shell=bash
# What a build needs to reach a package index as this machine reaches it: handed in as secrets, never a layer. Sourced by
# a script that stands in the root of the repository.

_system_bundle=/etc/ssl/certs/ca-certificates.crt

# The certificates this machine trusts: those an inspecting proxy put there are among them.
choose_ca_bundle() {
    local bundle
    for bundle in "${BUILD_CA_BUNDLE:-}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "$_system_bundle"; do
        if [[ -n $bundle && -s $bundle ]]; then
            export BUILD_CA_BUNDLE=$bundle
            return
        fi
    done
}

# A machine whose pip is pointed at an index of its own builds with that index. The file may hold a password: mode 600, in
# a folder that neither git nor the build's context takes in.
choose_pip_conf() {
    local index=${PIP_INDEX_URL:-}
    [[ -z ${BUILD_PIP_CONF:-} ]] || return 0
    [[ -n $index ]] || index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
    [[ -n $index ]] || return 0
    mkdir -p build
    (umask 077 && printf '[global]\nindex-url = %s\n' "$index" >build/pip.conf)
    export BUILD_PIP_CONF=$PWD/build/pip.conf
}

# shellcheck shell=bash
# Images of a plain Debian release: which are here, which a registry has, and how one is made by debootstrap from this machine's
# own mirror. Sourced after say.sh and debian.sh.
#
#   choose_debian RELEASE [IMAGE]   sets debian_image; where no image of the release is to be had, it is made

have_image() { docker image inspect "$1" >/dev/null 2>&1; }
# A few seconds decide: a machine without a registry fails at the name, one behind a silent firewall at the timeout.
registry_has() { timeout 15 docker manifest inspect "$1" >/dev/null 2>&1; }

# require_debootstrap WHY WHAT-ELSE-TO-DO
require_debootstrap() {
    is_root || fail "$1, and making an image with debootstrap needs root" "$2"
    is_debian || fail "$1, and this machine has no Debian mirror to make an image from" "$2"
    command -v debootstrap >/dev/null && return
    step "Installing debootstrap" alone sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap'
}

# debootstrap of an older release may not have heard of a newer one; every Debian since trixie is made the way sid is.
_debootstrap_script() {
    local scripts=/usr/share/debootstrap/scripts
    if [[ -e $scripts/$1 ]]; then printf '%s/%s' "$scripts" "$1"; else printf '%s/sid' "$scripts"; fi
}

_bootstrap() {
    debootstrap --variant=minbase --keyring="$(debian_keyring)" "$1" "$2" "$(debian_mirror)" "$(_debootstrap_script "$1")"
}

# What an image never shows anybody. The same list goes to dpkg, so that packages installed later leave it out as well.
_without_documentation() {
    local root=$1
    printf 'path-exclude /usr/share/%s/*\n' doc man info locale lintian groff >"$root/etc/dpkg/dpkg.cfg.d/pronghorn-slim"
    printf 'path-include /usr/share/doc/*/copyright\n' >>"$root/etc/dpkg/dpkg.cfg.d/pronghorn-slim"
    find "$root/usr/share/doc" -mindepth 1 ! -type d ! -name copyright -delete
    find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
    rm -rf "$root"/usr/share/{man,info,locale,lintian,groff}/*
}

# The release's security updates come from the archive this machine takes its own from; without one, the plain release.
_with_security_updates() {
    local root=$1 release=$2 security
    security=$(debian_security_mirror)
    [[ -z $security ]] || printf 'deb %s %s-security main\n' "$security" "$release" >>"$root/etc/apt/sources.list"
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/pronghorn-slim"
    chroot "$root" sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -q'
}

_without_leftovers() {
    local root=$1
    chroot "$root" apt-get clean
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old \
        "$root"/var/log/{apt,dpkg.log,alternatives.log,bootstrap.log} "$root"/etc/{resolv.conf,hostname} "$root"/tmp/*
}

_import_image() {
    tar --numeric-owner -C "$1" -c . |
        docker import --change 'CMD ["bash"]' --change 'LABEL org.pronghorn.base=true' - "$2"
}

# make_debian RELEASE IMAGE
make_debian() {
    local release=$1 image=$2 root
    root=$(mktemp -d /var/tmp/pronghorn-base.XXXXXX)
    # shellcheck disable=SC2064 # the folder's name is wanted as it is now
    trap "rm -rf '$root'" EXIT
    chmod 755 "$root" # it becomes the image's /, which everybody must be able to enter
    step "Debian $release by debootstrap, from this machine's own mirror" _bootstrap "$release" "$root"
    _without_documentation "$root"
    step "Security updates of $release" _with_security_updates "$root" "$release"
    _without_leftovers "$root"
    step "Importing it as $image" _import_image "$root" "$image"
    rm -rf "$root"
}

# choose_debian RELEASE [IMAGE]: sets debian_image to an image of the plain release, the first of these: IMAGE, which somebody has
# asked for; one made here earlier; the one of the registry, if it is here or the registry answers (PRONGHORN_REGISTRY=never skips
# the question); one that is made now, which takes root.
choose_debian() {
    local release=$1 default=debian:$1-slim
    debian_image=${2:-pronghorn/base-debian:$release}
    if [[ -n ${2:-} ]] || have_image "$debian_image"; then return; fi
    if have_image "$default" || { [[ ${PRONGHORN_REGISTRY:-} != never ]] && registry_has "$default"; }; then
        debian_image=$default
        return
    fi
    require_debootstrap "no container registry answers" "Set ${release^^}_IMAGE to an image of Debian $release that you have."
    make_debian "$release" "$debian_image"
}

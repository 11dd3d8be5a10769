# shellcheck shell=bash
# What the scripts need to know of the Debian machine they run on. Everything comes from its own configuration: the
# mirror it already trusts is the mirror we use, and no host is named in this repository. Sourced after say.sh.

is_debian() { [[ -r /etc/os-release ]] && (. /etc/os-release && [[ $ID == debian ]]); }
debian_codename() { (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}"); }
# testing and unstable have no number, and are newer than any that has.
is_older_debian() { (. /etc/os-release && ((${VERSION_ID:-99} < 12))); }
is_root() { [[ $(id -u) == 0 ]]; }

# alone COMMAND...: not beside another one of our scripts. apt fails at once where somebody else reads its lists, and tests of several
# kinds install what they need at the same time.
alone() { flock --timeout 900 /tmp/pronghorn-apt.lock "$@"; }

# One line for each index apt knows: "repository-uri release file:line-of-its-source". apt itself parses sources.list
# and the deb822 files, so we need not.
_apt_sources() {
    # shellcheck disable=SC2016 # the dollar signs are apt's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(SOURCESENTRY)' 'Created-By: Packages' 'Component: main'
}

# The mirror of the machine's own release: first choice the plain suite ("bookworm"), never its security archive.
debian_mirror() {
    _apt_sources | awk -v release="$(debian_codename)" '$2 == release || $2 == "stable" || $2 == "oldstable" { print $1; exit }'
}

# The key file named by that source (Signed-By: or [signed-by=]), else Debian's own, which has every current release.
debian_keyring() {
    local entry file key=""
    entry=$(_apt_sources | awk -v release="$(debian_codename)" '$2 == release { print $3; exit }')
    file=${entry%:*}
    if [[ -r $file ]]; then
        key=$(grep -ioE 'signed-by[:=] */[^] ]+' "$file" | head -n 1 | sed -E 's/^[^/]*//' || true)
    fi
    [[ -n $key && -r $key ]] || key=/usr/share/keyrings/debian-archive-keyring.gpg
    printf '%s' "$key"
}

# Early bookworm images carry a keyring from before trixie's keys were published; its own update has them.
ensure_trixie_key() {
    [[ -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ]] && return
    step "Updating debian-archive-keyring: it does not know trixie's key yet" \
        alone sh -c 'apt-get update -q && apt-get install -y -q debian-archive-keyring'
    [[ -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ]] ||
        fail "debian-archive-keyring has no key of trixie" "Update it from your mirror, then try again."
}

# The security archive the machine uses, if it has one; trixie's own lives beside bookworm's.
debian_security_mirror() { _apt_sources | awk -v release="$(debian_codename)-security" '$2 == release { print $1; exit }'; }

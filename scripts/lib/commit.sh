# shellcheck shell=bash
# What the labels of an image say of the commit it is built from; what somebody has set already stays (a CI knows better). Sourced
# by a script that stands in the root of the repository.

# A remote may hold a password, and a path on this machine is nobody's source.
_public_source() {
    case $(git remote get-url origin 2>/dev/null) in
        https://* | http://*) git remote get-url origin | sed -E 's|//[^/@]*@|//|' ;;
        *) ;;
    esac
}

# The date is the commit's, so that the same commit makes the same image. Without git, of what a release has in its files.
describe_commit() {
    local epoch="" revision=""
    if git rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
        epoch=$(git log -1 --format=%ct)
        revision=$(git rev-parse HEAD)
        [[ -z $(git status --porcelain --untracked-files=no) ]] || revision+=-dirty
    fi
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$epoch}
    export IMAGE_VERSION=${IMAGE_VERSION:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' server/pronghorn/_version.py)}
    export IMAGE_REVISION=${IMAGE_REVISION:-$revision}
    export IMAGE_SOURCE=${IMAGE_SOURCE:-$(_public_source)}
    [[ -z $SOURCE_DATE_EPOCH ]] || export IMAGE_CREATED=${IMAGE_CREATED:-$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)}
}

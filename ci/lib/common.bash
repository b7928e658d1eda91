# shellcheck shell=bash
# Sourced by ci/on and ci/test: messages and Debian packages.

say() { printf 'ci/%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }
usage_error() { say "$* (see ci/${0##*/} --help)"; exit 2; }

# The version of an installed Debian package; fails if it is not installed.
package_version() {
    local state
    state=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}' "$1" 2>/dev/null) || return 1
    [[ $state == 'installed '* ]] && printf '%s\n' "${state#installed }"
}

# Prints those of the packages that are not installed.
missing_packages() {
    local package
    for package; do
        package_version "$package" >/dev/null || printf '%s\n' "$package"
    done
}

# Installs what is missing of the packages, or says how to.
need_packages() {
    local missing log
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "packages are missing: sudo apt-get install --no-install-recommends ${missing[*]}"
    command -v apt-get >/dev/null || die "packages are missing, and there is no apt-get here: ${missing[*]}"
    say "installing ${missing[*]}"
    log=$(mktemp)
    # A failing update is not the end: one unreachable source is enough for it.
    if ! {
        apt-get update || true
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "${missing[@]}"
    } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        die "apt-get install ${missing[*]} failed"
    fi
    rm -f "$log"
}

# shellcheck shell=bash
# Sourced by the scripts beside it: where the checkout is, and how a script that was started as root goes on
# as the unprivileged user, for whom all of this is made.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
ACCOUNT=scratch
# What a host sets so that pip gets through; everything else of root's environment stays behind.
PASSED_ON=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,SSL_CERT_FILE
PASSED_ON+=,PIP_CERT,PIP_CONFIG_FILE,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL,PIP_FIND_LINKS,PIP_DEFAULT_TIMEOUT

# The tests that need nothing but Python.
# shellcheck disable=SC2034 # for scripts/test
WITHOUT_TOOLS='not (buildah or podman or registry or compiler or root)'

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

is_root() { [[ $(id -u) -eq 0 ]]; }

# The copy of the checkout that the unprivileged user works in.
copy_dir() { printf '%s/rootless-scratch' "$(getent passwd "$ACCOUNT" | cut -d: -f6)"; }

# as_user COMMAND...: runs it in the copy, in a clean login environment. The words travel as arguments of the
# shell, never as part of its command.
as_user() {
    # shellcheck disable=SC2016 # for the shell of that user
    su -w "$PASSED_ON" -s /bin/bash -c 'cd "$0" && exec "$@"' - "$ACCOUNT" -- "$(copy_dir)" "$@"
}

# A checkout of root's may lie where no other user can look, so its files are sent through a pipe. Nothing is
# left of files that the checkout no longer has; the venv and the caches of the tools stay.
copy_checkout() {
    local copy receive
    copy=$(copy_dir)
    [[ $ROOT != "$copy" ]] || return 0
    # shellcheck disable=SC2016 # for the shell of that user
    receive='umask 022 && mkdir -p "$0" && cd "$0" &&
        find . -mindepth 1 -maxdepth 1 ! -name .venv ! -name ".*_cache" -exec rm -rf {} + &&
        tar -xf -'
    tar -C "$ROOT" --anchored --exclude=./.git --exclude=./.venv --exclude=./.nox --exclude='./.*_cache' --exclude=./dist \
        --no-anchored --exclude=__pycache__ -cf - . | su -s /bin/bash -c "$receive" - "$ACCOUNT" -- "$copy"
}

# go_on_as_user SCRIPT ARG...: as root the rest of the script happens in the copy; otherwise it just goes on.
go_on_as_user() {
    is_root || return 0
    local status=0
    as_user "scripts/$1" "${@:2}" || status=$?
    exit "$status"
}

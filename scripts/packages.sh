# shellcheck shell=bash
# Sourced by setup: which packages of the host are missing, and how they are installed.

# Program, or path of a file -> its package for apt and for dnf. A line whose first word is `test` is for the tests only.
NEEDED='
     podman podman podman
     buildah buildah buildah
     runc runc runc
     crun crun crun
     conmon conmon conmon
     newuidmap uidmap shadow-utils
     slirp4netns slirp4netns slirp4netns
     pasta passt passt
     skopeo skopeo skopeo
     gcc gcc gcc
     libc.a libc6-dev glibc-static
     python python3-venv python3
     su util-linux util-linux
     tar tar tar
     awk mawk gawk
test go golang-go golang
test busybox busybox-static busybox
test g++ g++ gcc-c++
test catatonit catatonit catatonit
test curl curl curl
test git git git
test /usr/sbin/nginx nginx-light nginx
test sqlite3 sqlite3 sqlite
test musl-gcc musl-tools musl-gcc
test tmux tmux tmux
test systemd-analyze systemd systemd
test umoci umoci umoci
test rpmbuild rpm rpm-build
test qemu-aarch64-static qemu-user-static qemu-user-static
test docker-registry docker-registry docker-distribution
test openssl openssl openssl
test pipx pipx pipx
test ruby ruby ruby
test file file file
test tclsh tcl tcl
test ssh openssh-client openssh-clients
test /usr/sbin/sshd openssh-server openssh-server
test shellcheck shellcheck ShellCheck
test /etc/ssl/certs ca-certificates ca-certificates
test /usr/share/zoneinfo/UTC tzdata tzdata
test /etc/services netbase setup
test /etc/mime.types media-types mailcap
'

# The first Python from 3.11 on that can make a venv: the system's own before others in PATH, because a Python
# in somebody's home cannot be executed by other users.
usable_python() {
    local candidate
    for candidate in /usr/bin/python3 /usr/local/bin/python3 /usr/bin/python3.{14,13,12,11} python3 \
        python3.{14,13,12,11}; do
        # Root asks on behalf of the unprivileged user, who has no use for root's own installations.
        if is_root && [[ $candidate != /* ]]; then continue; fi
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

is_there() {
    case $1 in
    python) usable_python >/dev/null ;;
    libc.a) [[ $(gcc -print-file-name=libc.a 2>/dev/null) == /* ]] ;;
    # From version 5 on podman's rootless network is pasta's.
    pasta) command -v pasta >/dev/null || [[ $(podman --version 2>/dev/null) != *' '[5-9].* ]] ;;
    /*) [[ -e $1 ]] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# missing EXTRA COLUMN: the packages (COLUMN 1 for apt, 2 for dnf) whose program is not there.
missing() {
    local line words
    while read -r line; do
        read -ra words <<<"$line"
        if [[ ${words[0]-} == test ]]; then
            [[ $1 == test ]] || continue
            words=("${words[@]:1}")
        fi
        [[ -n ${words[0]-} ]] || continue
        is_there "${words[0]}" || printf '%s\n' "${words[$2]}"
    done <<<"$NEEDED"
}

# install_missing EXTRA: installs what is missing; says what an administrator must do where it may not.
install_missing() {
    local column=1 packages program rights=()
    local install=(apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends)
    if ! command -v apt-get >/dev/null; then
        column=2
        # strict=0: a distribution that lacks one of them still gets the rest.
        install=(dnf -q -y --setopt=install_weak_deps=False --setopt=strict=0 install)
    fi
    mapfile -t packages < <(missing "$1" "$column")
    ((${#packages[@]})) || return 0
    command -v "${install[0]}" >/dev/null ||
        die "neither apt-get nor dnf is here; install these by hand: ${packages[*]}"
    if ! is_root; then
        sudo -n true 2>/dev/null || die "missing: ${packages[*]}
  fix: have an administrator run: sudo ${install[*]} ${packages[*]}"
        rights=(sudo -n)
    fi
    rights+=(env DEBIAN_FRONTEND=noninteractive)
    [[ $column == 2 ]] || "${rights[@]}" apt-get -q update
    "${rights[@]}" "${install[@]}" "${packages[@]}"
    for program in podman buildah newuidmap; do
        is_there "$program" || die "$program is still missing after: ${install[*]} ${packages[*]}"
    done
    # What is needed beside podman depends on the version of podman that came.
    [[ ${2-} == again ]] || install_missing "$1" again
}

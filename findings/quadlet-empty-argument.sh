#!/usr/bin/env bash
# quadlet of podman 5.4.2 (Debian 13): an empty word of `Exec=` ends it. systemd.service(5) has such words, and what
# stands behind one is the program's too; quadlet writes neither it nor any word after it, and says nothing. PodmanArgs=
# loses the same. So a unit that is written from a command with an empty argument starts another command.
# Seen, of `Exec=tool first "" last` and of `PodmanArgs=--env=A=1 "" --env=B=1`: an ExecStart= that ends in
# `localhost/x tool first`, and one that has `--env=A=1` but not `--env=B=1`. Fails if that changes.
set -euo pipefail

version='5.4.2+ds1-2+b2'
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
curl -fsSLO "https://deb.debian.org/debian/pool/main/p/podman/podman_${version}_amd64.deb"
dpkg -x ./*.deb root
quadlet=$place/root/usr/libexec/podman/quadlet
[[ $("$quadlet" -version) == 5.4.2 ]]

mkdir units
printf '[Container]\nImage=localhost/x\nExec=tool first "" last\n' >units/words.container
printf '[Container]\nImage=localhost/x\nPodmanArgs=--env=A=1 "" --env=B=1\n' >units/options.container

started() { # UNIT: its ExecStart= as quadlet writes it
    QUADLET_UNIT_DIRS=$place/units "$quadlet" -dryrun -user 2>/dev/null |
        awk -v unit="---$1.service---" '/^---/ { found = $0 == unit } found && /^ExecStart=/'
}

words=$(started words)
options=$(started options)
printf '%s\n%s\n' "$words" "$options"
[[ $words == *' localhost/x tool first' && $options == *' --env=A=1'* && $options != *--env=B=1* ]]

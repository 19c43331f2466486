#!/bin/sh
# Two hosts: `connected`, which has a network, and one that has none. Only files cross, in the directory ./transfer.
set -eu
case $1 in
connected)
    # For a host with Python: the wheel and what it needs. Otherwise the image of the tool itself.
    python3 -m venv .pip
    .pip/bin/pip download --dest transfer "${ROOTLESS_SCRATCH:?a wheel, or the address of the repository}"
    scripts/image -o docker-archive:transfer/rootless-scratch.tar:rootless-scratch
    ;;
isolated)
    python3 -m venv .venv
    .venv/bin/pip install --no-index --find-links transfer rootless-scratch
    PATH=$PWD/.venv/bin:$PATH
    rootless-scratch build ./hello -o docker-archive:hello.tar:hello
    rootless-scratch check docker-archive:hello.tar
    rootless-scratch build ./hello -t hello
    rootless-scratch run --network none hello
    ;;
esac

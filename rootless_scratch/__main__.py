"""`python -m rootless_scratch` is the command line."""

from rootless_scratch.cli.main import main

main()

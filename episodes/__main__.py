"""`python -m episodes`."""

from episodes.cli import main

main(prog_name="episodes")

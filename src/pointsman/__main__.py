"""`python -m pointsman` is `pointsman`."""

from pointsman.cli.main import main

main()

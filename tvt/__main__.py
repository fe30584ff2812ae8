"""``python -m tvt``."""

from tvt.cli.main import main

main()

"""``python -m clustnet`` is the ``clustnet`` command."""

from clustnet.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

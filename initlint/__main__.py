"""`python -m initlint` and the `initlint` command."""

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from initlint.cli import run  # noqa: PLC0415 - nothing is imported before the process is known to be the command

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

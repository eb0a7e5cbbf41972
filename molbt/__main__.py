"""``python -m molbt``: the command line."""

from molbt.cli.main import main

if __name__ == "__main__":
    main()

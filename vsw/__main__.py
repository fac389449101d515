"""``python -m vsw``: the command line."""

from vsw.cli import main

if __name__ == "__main__":
    main()

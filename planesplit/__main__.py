"""`python -m planesplit`: the same as the command `planesplit`."""

from planesplit.cli import main

if __name__ == "__main__":
    main()

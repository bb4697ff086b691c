"""`python -m raysignal.cli` is `raysignal`."""

from raysignal.cli.main import main

if __name__ == "__main__":
    main()

"""``python -m hepgan``."""

from hepgan.cli import main

if __name__ == "__main__":
    main()

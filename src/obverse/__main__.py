"""`python -m obverse`: the command `obverse`, where it is not in the path."""

from obverse.cli import main

if __name__ == "__main__":
    main()

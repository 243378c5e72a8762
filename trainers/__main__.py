"""`python -m trainers`: the command line."""

from trainers.cli import main

if __name__ == "__main__":
    main()

"""`python -m gradninja`: the command line."""

from gradninja.cli import main

if __name__ == "__main__":
    main()

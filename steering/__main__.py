"""`python -m steering` is the `rudder` command."""

from .cli import main

if __name__ == "__main__":
    main()

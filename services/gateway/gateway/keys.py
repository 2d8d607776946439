"""The command `python -m gateway.keys`; see `gateway.commands.keys`."""

from gateway.commands.keys import main

if __name__ == "__main__":
    main()

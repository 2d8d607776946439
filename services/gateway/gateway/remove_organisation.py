"""The command `python -m gateway.remove_organisation`; see `gateway.commands.organisations`."""

from gateway.commands.organisations import main

if __name__ == "__main__":
    main()

"""The command `python -m gateway.audit`; see `gateway.commands.audit`."""

from gateway.commands.audit import main

if __name__ == "__main__":
    main()

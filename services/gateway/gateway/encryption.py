"""The command `python -m gateway.encryption`; see `gateway.commands.encryption`."""

from gateway.commands.encryption import main

if __name__ == "__main__":
    main()

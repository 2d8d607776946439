"""`swell`, the command line of Swell. See `docs/cli.md`."""

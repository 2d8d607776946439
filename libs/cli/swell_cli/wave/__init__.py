"""`swell wave …`: the command line of Wave's client 1.8.2, with its options, requests, output and exit codes."""

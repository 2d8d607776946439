"""One attempt of a build: its files, and how it is cancelled, continued or given up."""

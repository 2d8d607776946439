"""Seqera Platform: its users, the registry credentials of their workspaces, and whether their runs still live."""

"""Accounts of this server and their passwords."""

"""Notices at the end of builds, mirrors and scans: webhooks and e-mail."""

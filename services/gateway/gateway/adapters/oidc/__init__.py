"""OpenID Connect: tokens of issuers, and signing in with a browser."""

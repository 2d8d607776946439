"""Signed statements about images, as sigstore bundles that `cosign` verifies with a public key.

- `keys`: signers and trusted keys. - `statements`: what is signed, and how it is attached; it needs no keys.
- `bundles`: sign and verify. - `predicates`: what is said about a build.
"""

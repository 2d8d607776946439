"""Signed statements about images, as sigstore bundles that `cosign` verifies with a public key.

- `keys`: signers and trusted keys. - `dsse`: envelopes. - `statements`: what is signed. - `bundles`: how it is stored.
"""

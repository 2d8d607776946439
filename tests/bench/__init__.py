"""`python -m tests.bench [NAME …]` measures each performance target ("bar") beside its peer, in the same run.

`bar` defines bars and `place` prepares the stack. `builds`, `manifests`, `blobs`, `submits`, `polls` and `sizes` have
the bars and measure them, with `load` (wrk), `bare` (buildah alone) and `peers` (registries alone).
"""

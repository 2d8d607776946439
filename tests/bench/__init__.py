"""`python -m tests.bench [NAME …]`: each bar of the house beside its peer, measured in the same run.

`bar` says what a bar is, `place` where it is measured; `builds`, `manifests`, `blobs`, `submits`, `polls` and `sizes`
hold the bars and measure them, with `load` (wrk), `bare` (buildah alone) and `peers` (registries alone) for tools.
"""

"""The Kubernetes engine."""

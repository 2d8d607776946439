"""What operators see and change: workers, queues, dead letters, tokens, registries, storage."""

"""The engine that runs each build in a pod."""

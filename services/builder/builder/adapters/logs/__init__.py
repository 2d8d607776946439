"""Build logs: masked, stored and streamed."""

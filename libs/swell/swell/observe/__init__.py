"""What operators see of a service: metrics, spans, health, and the port that serves them."""

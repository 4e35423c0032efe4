"""What answers predictions: loaded models, their sessions, and the batching of requests."""

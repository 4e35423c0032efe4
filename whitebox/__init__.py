"""A white-box neural network that explains, attacks and certifies its answers."""

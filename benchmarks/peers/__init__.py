"""The same model behind other servers: how fast, how steady, how they take overload and bad input."""

"""How a network is judged: the evaluation harness, introspection, and the page of results."""

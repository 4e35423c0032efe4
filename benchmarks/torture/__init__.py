"""Whether one client can take the service from the others: `make torture`."""

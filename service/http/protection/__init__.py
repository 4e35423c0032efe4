"""What keeps one client, or a stranger, from costing the others their answers."""

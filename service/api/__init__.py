"""One file per group of endpoints; each parses, calls and answers."""

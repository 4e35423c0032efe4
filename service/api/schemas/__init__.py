"""The JSON of the REST contract."""

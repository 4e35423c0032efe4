"""Asking a model for one image file, whether it is loaded here or served elsewhere."""

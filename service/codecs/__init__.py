"""From JSON and image files to arrays, and back."""

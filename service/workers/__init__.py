"""Worker processes for what needs torch: attacks and certificates."""

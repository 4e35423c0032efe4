"""The networks that a recipe can train: the paper's, its ablations, and the baselines beside it."""

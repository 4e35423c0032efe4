"""Training: data sets, recipes, objectives, schedules, the training loop, and export to model packages."""

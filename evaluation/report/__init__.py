"""`whitebox report`: docs/RESULTS.md and its figures, from the cards of measurements alone.

`cards` reads them; `tables`, `accuracy_figures`, `network_figures`, `paper_comparison`, `training_log` and
`provenance` turn them into sections (`page`); `charts` and `image_grids` draw; `document` puts the page
together, writes it, and tells whether it is up to date.
"""

"""Where training and evaluation get their images from."""

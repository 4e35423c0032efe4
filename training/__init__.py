"""How the network comes to be: data, recipes, training, evaluation, export."""

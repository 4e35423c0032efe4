"""The layers of the network, each a kind of semantic feature (Satkiewicz 2024, sec. 3)."""

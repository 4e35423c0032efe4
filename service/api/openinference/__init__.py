"""The Open Inference Protocol V2 and its model repository extension."""

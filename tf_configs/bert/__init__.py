"""BERT's recipes."""

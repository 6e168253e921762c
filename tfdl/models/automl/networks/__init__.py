"""Discrete networks: one architecture each, built from its genotype."""

"""Recipes of biggan."""

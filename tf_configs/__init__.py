"""Recipes: one folder per model, one file per recipe."""

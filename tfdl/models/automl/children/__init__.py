"""Children: short trainings that score a proposed architecture."""

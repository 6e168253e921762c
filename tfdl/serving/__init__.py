"""SavedModels and how they are served."""

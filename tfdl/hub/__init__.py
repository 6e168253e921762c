"""TF Hub modules: packaging, documentation, publishing, a local module server."""

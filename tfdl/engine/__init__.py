"""The machinery every model shares; it knows no model."""

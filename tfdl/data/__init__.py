"""Data sources and tf.data pipelines that models share."""

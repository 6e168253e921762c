"""AutoML: architecture search by reinforcement learning and evolution (2016-2018)."""

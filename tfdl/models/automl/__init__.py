"""AutoML: architecture search by reinforcement learning and by evolution (2016-2018)."""

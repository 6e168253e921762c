"""BERT (Devlin, Chang, Lee, Toutanova 2018, arXiv 1810.04805)."""

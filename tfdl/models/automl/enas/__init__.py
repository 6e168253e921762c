"""ENAS (Pham et al. 2018): children that share their weights, and its controllers."""

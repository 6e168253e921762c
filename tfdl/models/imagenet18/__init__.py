"""ImageNet in 18 minutes (fast.ai and DIU, DAWNBench 2018): ResNets, trained fast."""

"""MZSR at test time: a few gradient steps from meta-learned weights."""

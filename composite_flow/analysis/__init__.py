"""Deviated fixed points (paper §4): what a trained denoiser's fixed points are off by, why, and by how much at most.

Read `local_model` (deviations, Jacobians and ranks of many pairs), `shift` and `first_layer` (Theorem 5), `surrogate`
(Definition 5, Theorem 6), `conformal` (a bound that holds) and `composite_error` (Theorems 7 and 8).
"""

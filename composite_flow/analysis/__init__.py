"""Deviated fixed points (paper §4): how far a trained denoiser's fixed points lie from the states, and why.

Read `local_model` (deviations, Jacobians and ranks of many pairs), `shift` and `shift_bound` (Theorem 5), `first_layer`
(Corollary 5.1), `surrogate` and `surrogate_bounds` (Definition 5, Theorem 6), `composite_error` (Theorems 7 and 8) and
`basin_gap` (Theorem 4). `report` computes all of it in one call.

Of samples of the joint posterior `sample_scores` has proper scores, `sample_ranks` rank histograms and TARP.
"""

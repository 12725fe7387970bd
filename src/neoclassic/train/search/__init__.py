"""A search for the best of many variants of a recipe, in a given time.

Optuna proposes the variants, by its tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24), and prunes
them by asynchronous successive halving (Li et al. 2020, MLSys, arXiv 1810.05934). Every trial is an ordinary training,
judged on the same validation images; the default recipe of each network comes first. Only the winner sees the test set.

The folder of a search holds `search.json`, Optuna's storage, and the runs that are still needed in `trials/`. In the
end it becomes the run of the winner.
"""

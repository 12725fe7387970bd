"""Measurements, comparisons, reviews, explanations and reports of runs and models, with their pictures."""

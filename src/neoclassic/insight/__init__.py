"""What runs and models tell: measurements, comparisons, reviews, explanations, reports, and their pictures."""

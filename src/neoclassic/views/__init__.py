"""What is shown: text tables, drawings, curves, maps. Views read trees, models and logs."""

"""What PyTorch does slowly on a CPU, done in other ways: convolutions in bfloat16, means of 2×2 pixels, the heap."""

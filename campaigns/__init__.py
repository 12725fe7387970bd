"""Campaigns: programs that look for faults by trying much, and count what they find. `make campaign` runs them all."""

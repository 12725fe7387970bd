"""The prediction server: one model over HTTP."""

"""The documentation site: `python -m docs.site`, or `make docs`, builds it into build/docs/html."""

"""The foundation of all other packages: errors, files, text, records, progress, and the machine."""

"""What everything else stands on: errors, files, text, records, progress, and what the machine has."""

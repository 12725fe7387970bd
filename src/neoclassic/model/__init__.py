"""A trained network: opened, asked, calibrated, exported. Nothing here trains or draws."""

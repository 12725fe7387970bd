"""Tables, drawings and formulas of a network, from its tree and its measure; no weights and no runs are needed."""

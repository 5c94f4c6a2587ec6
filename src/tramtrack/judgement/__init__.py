"""From finished runs to tables of results: what is chosen on validation, scored, compared, claimed and planned."""

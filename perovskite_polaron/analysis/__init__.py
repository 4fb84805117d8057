"""From data and shapes to numbers: scenarios, kinetics, shape ratio, heating."""

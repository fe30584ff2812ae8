"""Choosing the mixture: responses, the convex problem, its audit, stability and explanation."""

"""Pages across the papers: prices of deviations, distance to the optimum, costs."""

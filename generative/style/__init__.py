"""The look of another set: SPGAN (Deng et al. 2018), two generators in a circle, and a network that says who is still who."""

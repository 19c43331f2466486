"""`bake` on other machines: plans go there, images come back, and an engine that exists does the rest."""

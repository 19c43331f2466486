"""An image on its way: out of storage, layouts and archives, and to registries."""

"""How weights become small integers: the searches for scales, apart from the layout of any one format."""

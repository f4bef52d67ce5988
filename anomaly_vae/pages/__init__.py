"""Pages of HTML for people: one file each, without scripts, that loads nothing from a network."""

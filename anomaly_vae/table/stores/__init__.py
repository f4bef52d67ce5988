"""Tables in object stores: their files by name, how they are read, and how one is written."""

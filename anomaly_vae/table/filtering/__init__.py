"""Rows chosen by an expression like that after WHERE in SQL, before they are numbered and scored."""
